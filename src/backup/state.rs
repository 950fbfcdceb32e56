//! State of the backups of a running server, which the tasks write and `flowgate status` reads.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::domain::backup::objects::Generation;
use crate::domain::time::{Millis, Timestamp};

/// Time after which a backup that is behind is late.
pub const LATE_AFTER: Millis = Millis::from_secs(60);

/// State of the continuous backup and of the copies.
#[derive(Debug, Default)]
pub(super) struct BackupState(Mutex<Values>);

/// Values of the state at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) generation: Option<Generation>,
    /// Number of the last commit in the object store.
    pub(super) uploaded: u64,
    /// Time of the last successful upload or check.
    pub(super) reached_at: Option<Timestamp>,
    /// Start of the last complete base of this generation.
    pub(super) base_at: Option<Timestamp>,
    /// `true` if the bases of this generation were listed.
    pub(super) is_base_known: bool,
    /// `true` if a copy, or the search for the last one, has succeeded.
    pub(super) is_copy_known: bool,
    /// Time of the last copy.
    pub(super) copied_at: Option<Timestamp>,
    /// Last error of each task, until it succeeds again.
    pub(super) upload_error: Option<String>,
    pub(super) base_error: Option<String>,
    pub(super) copy_error: Option<String>,
    /// Reason for which nothing is uploaded until a person acts.
    pub(super) stopped: Option<String>,
    /// Error of the removal of old objects, until it succeeds again.
    pub(super) removal_error: Option<String>,
    /// Time and reason of the last gap in the log, until the next base is complete.
    pub(super) gap: Option<(Timestamp, &'static str)>,
}

/// Status of the backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Place of the continuous backup. `None`: there is none.
    pub url: Option<String>,
    /// Age of the oldest commit that can't be restored from the backup, in seconds, rounded up. 0:
    /// every commit can. `None` without a continuous backup.
    pub behind_seconds: Option<u64>,
    /// Start of the last complete base. `None`: there is none yet.
    pub base_at: Option<Timestamp>,
    /// Time of the last copy. `None`: there is none yet, or no copies are configured.
    pub copied_at: Option<Timestamp>,
    /// Problems, one sentence each.
    pub problems: Vec<String>,
}

impl BackupState {
    pub(super) fn read(&self) -> Values {
        self.0.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Values)) {
        change(&mut self.0.lock());
    }
}
