//! Backups: copies of the data file in a folder, continuous backups off the machine, and restored
//! files.
//!
//! ```text
//! writer ─▶ change log ─▶ log_upload ─▶ segments ─┐
//! store ── rows ────────▶ base_upload ─▶ bases ───┴─▶ remote_restore ─▶ data file
//! ```
//! | module | content |
//! |---|---|
//! | `copies` | copies in a folder, and the removal of old ones |
//! | `service` | the tasks of a server |
//! | `log_upload` | upload of the commits, and the owner of the objects |
//! | `base_upload` | upload of all rows, and the removal of old objects |
//! | `continuity` | comparison of the change log with its objects |
//! | `catalog` | lists of generations, bases and segments |
//! | `remote_restore` | the newest base at or before a time, and the commits after it |
//! | `restored_file` | the replacement of a data file by a restored one |
//! | `follower` | a second data file, a few seconds behind |
//! | `status`, `state` | problems, and the alerts about them |
//! | `remote`, `http_connector` | objects in a folder or in an S3-compatible store |
//! | `format` | content of the objects |
//! | `error` | errors with what to do |
//!
//! See [`crate::store::DataCopy`] for the copy of the rows, and [`crate::domain::backup`] for the
//! rules.

mod base_upload;
mod catalog;
mod context;
mod continuity;
mod copies;
mod error;
mod follower;
mod format;
mod http_connector;
mod log_upload;
mod remote;
mod remote_restore;
mod restored_file;
mod service;
mod state;
mod status;

pub use copies::{CopiedFile, copy_to_new_file, remove_old_copies};
pub use error::BackupError;
pub use follower::{FOLLOW_INTERVAL, FollowStatus, Follower, Promotion, is_promoted, promote_file};
pub use restored_file::{RestoreRequest, RestoreSource, RestoredFile, restore};
pub use service::BackupService;
pub use state::BackupStatus;
