//! Compacts the file of a stopped server to the size of its content. redb reuses freed pages, but
//! never returns them to the file system.

use std::path::Path;
use std::sync::Arc;

use crate::domain::time::Timestamp;
use crate::panic::catch_panic;

use super::format::{self, OpenedFile};
use crate::store::StoreError;
use crate::store::options::StoreOptions;
use crate::store::state::{OpenProgress, StoreState};

/// Free disk space that a compaction needs, in bytes, in addition to a tenth of the file. redb
/// copies pages before it frees them.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// Size of a file before and after a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactedSizes {
    /// Disk space of the file before the compaction, in bytes.
    pub before_bytes: u64,
    /// Disk space of the file after the compaction, in bytes.
    pub after_bytes: u64,
}

/// Compacts the file that `options` name. The compaction adds and removes no rows. The whole file
/// is verified first.
///
/// # Errors
/// [`StoreError`] for a file that is missing, in use, not a data file or damaged, and
/// [`StoreError::InsufficientSpace`].
pub fn compact(options: &StoreOptions, now: Timestamp) -> Result<CompactedSizes, StoreError> {
    let options = StoreOptions {
        is_serving: false,
        verify_always: true,
        ..options.clone()
    };
    let path = &options.path;
    let OpenedFile {
        mut database,
        faults,
        ..
    } = format::open_or_create(
        &options,
        now,
        &OpenProgress::new(Arc::new(StoreState::new())),
    )?;
    let before_bytes = allocated_bytes(path);
    let needed_bytes = (before_bytes / 10).saturating_add(FREE_BYTES_MIN);
    match crate::store::state::free_space(path) {
        Some(free_bytes) if free_bytes < needed_bytes => {
            return Err(StoreError::InsufficientSpace {
                needed_bytes,
                free_bytes,
            });
        }
        _ => {}
    }
    // A round may free space that the next round needs.
    let result = catch_panic(|| repeat_until_done(|| database.compact()))
        .unwrap_or_else(|panic| Err(StoreError::Damaged(panic)));
    result
        .and_then(|()| format::close_database(database))
        .map_err(|error| faults.cause_of(error))?;
    Ok(CompactedSizes {
        before_bytes,
        after_bytes: allocated_bytes(path),
    })
}

fn repeat_until_done(
    mut round: impl FnMut() -> Result<bool, redb::CompactionError>,
) -> Result<(), StoreError> {
    loop {
        match round() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(redb::CompactionError::Storage(error)) => return Err(error.into()),
            Err(error) => return Err(StoreError::Engine(error.to_string())),
        }
    }
}

/// Returns the disk space of a file in bytes. The file is sparse, so the disk space is less than
/// the file length.
pub(in crate::store) fn allocated_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // The system call counts units of 512 bytes for any block size of the file system (`st_blocks`
    // in stat(2)).
    std::fs::metadata(path).map_or(0, |metadata| metadata.blocks().saturating_mul(512))
}
