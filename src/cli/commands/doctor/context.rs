//! Defines the data that several checks need.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::unit::ServiceUnit;
use crate::admin::StatusRow;
use crate::clock::Clock;
use crate::config::Config;

/// Data that several checks need.
pub(super) struct Context {
    pub(super) config: Config,
    /// systemd unit of the service. `None` if there is none.
    pub(super) unit: Option<ServiceUnit>,
    /// Status of the server that runs on the data file of the config. `None` if none runs.
    pub(super) status: Option<StatusRow>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Returns the folder of the data file, or the nearest folder above that exists.
pub(super) fn data_folder(config: &Config) -> PathBuf {
    let absolute = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let existing = absolute.ancestors().skip(1).find(|folder| folder.is_dir());
    existing.unwrap_or(Path::new("/")).to_owned()
}
