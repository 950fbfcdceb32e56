//! Settings, store, clock and state that the tasks of a backup share.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::error::BackupError;
use super::remote::RemoteStore;
use super::state::BackupState;
use crate::clock::{Clock, Entropy};
use crate::config::{BackupLocation, BackupSettings};
use crate::store::Store;

/// Parts of the program that the tasks use.
#[derive(Clone)]
pub(super) struct BackupContext {
    pub(super) settings: Arc<BackupSettings>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) runtime: Handle,
    pub(super) state: Arc<BackupState>,
}

impl BackupContext {
    /// Opens the place of the continuous backup. The secrets are read again each time.
    pub(super) fn open_remote(
        &self,
        location: &BackupLocation,
    ) -> Result<RemoteStore, BackupError> {
        // The clients of the store belong to the runtime.
        let _guard = self.runtime.enter();
        RemoteStore::open(location, &self.settings.s3, true)
    }
}
