//! Makes a stopped server's file as small as what is in it. redb uses freed pages again, and never gives them back.

use std::path::Path;
use std::sync::Arc;

use crate::domain::time::Timestamp;
use crate::guard::guarded;

use super::StoreError;
use super::format::{self, Opened};
use super::options::StoreOptions;
use super::shared::{Progress, Shared};

/// Bytes that must be free on the disk, besides a tenth of the file: pages are copied before they are freed.
const ROOM: u64 = 64 << 20;

/// The size of a file before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes that the file took on the disk.
    pub before: u64,
    /// Bytes that it takes now.
    pub after: u64,
}

/// Compacts the file that `options` name; nothing is left out and nothing added. All of it is verified first.
///
/// # Errors
/// [`StoreError`] for a file that is missing, in use, foreign or damaged, and [`StoreError::NoRoom`].
pub fn compact(options: &StoreOptions, now: Timestamp) -> Result<Compacted, StoreError> {
    let options = StoreOptions { serving: false, verify_always: true, ..options.clone() };
    let path = &options.path;
    let Opened { mut database, faults, .. } = format::open(&options, now, &Progress::of(Arc::new(Shared::new())))?;
    let before = size_of(path);
    let needed = (before / 10).saturating_add(ROOM);
    match super::shared::free_space(path) {
        Some(free) if free < needed => return Err(StoreError::NoRoom { needed, free }),
        _ => {}
    }
    // One round may make room for another.
    let compacted =
        guarded(|| while_true(|| database.compact())).unwrap_or_else(|panic| Err(StoreError::Damaged(panic)));
    compacted.and_then(|()| format::close(database)).map_err(|error| faults.cause(error))?;
    Ok(Compacted { before, after: size_of(path) })
}

fn while_true(mut round: impl FnMut() -> Result<bool, redb::CompactionError>) -> Result<(), StoreError> {
    loop {
        match round() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(redb::CompactionError::Storage(error)) => return Err(error.into()),
            Err(error) => return Err(StoreError::Engine(error.to_string())),
        }
    }
}

/// Bytes that a file takes on the disk. It is sparse, so this is less than its length.
pub(super) fn size_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // `st_blocks` counts 512 bytes each, whatever the file system's own blocks are (stat(2)).
    std::fs::metadata(path).map_or(0, |metadata| metadata.blocks().saturating_mul(512))
}
