//! Compacts the file of a stopped server to the size of its content. The engine reuses freed pages,
//! but never returns them to the file system.

use std::path::Path;
use std::sync::Arc;

use crate::domain::time::Timestamp;

use super::data_file::{self, OpenedFile};
use super::engine::OpenObserver;
use super::options::StoreOptions;
use super::state::{OpenProgress, free_space};
use super::{StoreError, StoreResult};

/// Free disk space that a compaction needs, in bytes, in addition to a tenth of the file. The
/// engine copies pages before it frees them.
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
pub fn compact(options: &StoreOptions, now: Timestamp) -> StoreResult<CompactedSizes> {
    let options = StoreOptions {
        is_serving: false,
        verify_always: true,
        ..options.clone()
    };
    let path = &options.path;
    let observer: Arc<dyn OpenObserver> = Arc::new(OpenProgress(Arc::default()));
    let OpenedFile { mut database, .. } = data_file::open_or_create(&options, now, &observer)?;
    let before_bytes = allocated_bytes(path);
    let needed_bytes = (before_bytes / 10).saturating_add(FREE_BYTES_MIN);
    if let Some(free_bytes) = free_space(path)
        && free_bytes < needed_bytes
    {
        return Err(StoreError::InsufficientSpace {
            needed_bytes,
            free_bytes,
        });
    }
    database.compact()?;
    database.close()?;
    Ok(CompactedSizes {
        before_bytes,
        after_bytes: allocated_bytes(path),
    })
}

/// Returns the disk space of a file in bytes. The file is sparse, so the disk space is less than
/// the file length.
pub(super) fn allocated_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // The system call counts units of 512 bytes for any block size of the file system (`st_blocks`
    // in stat(2)).
    std::fs::metadata(path).map_or(0, |metadata| metadata.blocks().saturating_mul(512))
}
