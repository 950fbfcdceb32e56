//! Defines the options with which the store starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::time::Millis;
use crate::reloadable::Reloadable;

use super::engine::{self, BackendFactory};

/// Options with which the store starts.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct StoreOptions {
    /// Path of the data file.
    pub path: PathBuf,
    /// `true` if this process is a server. A server creates a missing file, and its shutdown counts
    /// as clean only if the store was closed.
    ///
    /// The command line opens the file of a stopped server and does neither.
    pub is_serving: bool,
    /// `true` if the file must stay unchanged: no transaction is possible. The store then ignores
    /// `is_serving`.
    pub is_read_only: bool,
    /// Maximum number of transactions in the intake queue. Minimum 1.
    pub intake_queue: usize,
    /// Maximum number of changes in one commit. Minimum 1.
    pub max_batch: usize,
    /// Memory for pages of the file, in bytes.
    pub page_cache_bytes: usize,
    /// Maximum number of idempotency keys in memory. Older keys stay on disk.
    pub max_idempotency_keys: usize,
    /// Maximum number of encrypted requests that the store remembers as answered. Minimum 1. Each
    /// request occupies about 65 bytes of the file.
    pub max_encrypted_requests: u64,
    /// Maximum size of the change log, in bytes. A larger log is given up.
    pub max_change_log_bytes: u64,
    /// Time for which the store finds the idempotency key of a form.
    pub idempotency_ttl: Millis,
    /// Time for which the store finds the key of a webhook message.
    pub message_id_ttl: Millis,
    /// Minimum free space on the disk, in bytes. Below this limit, the store accepts no new
    /// submission.
    pub min_free_bytes: u64,
    /// Maximum number of jobs in flight. After an unclean shutdown, the store treats this many jobs
    /// as suspects.
    pub max_jobs_in_flight: usize,
    /// `true` if every start verifies the whole file. Otherwise only a start after an unclean
    /// shutdown does.
    pub verify_always: bool,
    /// Maximum time to wait until another process closes the file. After this time, opening fails
    /// with [`super::StoreError::InUse`].
    pub lock_timeout: Duration,
    /// `true` if the store refuses to open a file whose server has used the real app secret.
    ///
    /// See [`super::RecordAppSecret`].
    pub refuses_known_secret: bool,
    /// Time zone of the business, in which daily limits of agents count.
    pub time_zone: Reloadable<TimeZone>,
    /// Subscriptions of destinations to events. A config reload replaces the subscriptions.
    pub subscriptions: Reloadable<Subscriptions>,
    /// Function that the writer thread calls when it makes progress: after a commit, during a long
    /// verification, and each second without work. The function must be fast.
    pub on_progress: Arc<dyn Fn() + Send + Sync>,
    pub(super) backend_factory: Arc<BackendFactory>,
}

impl StoreOptions {
    /// Returns the default options for the file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            path,
            is_serving: true,
            is_read_only: false,
            intake_queue: 4096,
            max_batch: 256,
            page_cache_bytes: 64 << 20,
            max_idempotency_keys: 10_000_000,
            max_encrypted_requests: 4_000_000,
            max_change_log_bytes: 1 << 30,
            idempotency_ttl: Millis::from_secs(DAY),
            message_id_ttl: Millis::from_secs(8 * DAY),
            min_free_bytes: 256 << 20,
            max_jobs_in_flight: 1024,
            verify_always: true,
            lock_timeout: Duration::ZERO,
            refuses_known_secret: false,
            time_zone: Reloadable::new(TimeZone::UTC),
            subscriptions: Reloadable::new(Subscriptions::default()),
            on_progress: Arc::new(|| ()),
            backend_factory: Arc::new(engine::file_backend),
        }
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
