//! Makes copies of the data file in a folder, and removes old ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::error::BackupError;
use crate::clock::Clock;
use crate::domain::backup::copies::{copy_name, expired_copies, is_part_of_copy};
use crate::domain::time::Timestamp;
use crate::store::{
    ChangeLogHeader, CopyEnd, DataCopy, FileSummary, NewFile, Replaces, Store, StoreError,
    StoreOptions, require_unused,
};

/// Maximum pause after a slice of a copy beside a running server. The copy pauses for as long as
/// the slice took, so that it uses at most half of one core.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Complete copy of the data.
#[derive(Clone, Debug)]
pub struct CopiedFile {
    /// Path of the copy.
    pub file: PathBuf,
    /// Time of the last commit in the copy.
    pub committed_at: Timestamp,
    /// Result of the verification.
    pub summary: FileSummary,
}

/// Builds a new file at `path`, or in the folder `path`, from the changes that `feed` passes on.
/// `feed` returns the end of the copy.
///
/// # Errors
/// [`BackupError`] if the file exists, can't be written, or differs from its source.
pub fn copy_to_new_file<E: From<BackupError>>(
    path: &Path,
    clock: &Arc<dyn Clock>,
    feed: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), StoreError>) -> Result<CopyEnd, E>,
) -> Result<CopiedFile, E> {
    let file = if path.is_dir() {
        path.join(copy_name(clock.now()))
    } else {
        path.to_owned()
    };
    if fs::symlink_metadata(&file).is_ok() {
        return Err(BackupError::Exists(file).into());
    }
    let mut new = NewFile::create(&file, Arc::clone(clock)).map_err(BackupError::from)?;
    let end = feed(&mut |changes| new.apply(changes))?;
    let header = ChangeLogHeader {
        lineage: end.lineage,
        ..ChangeLogHeader::default()
    };
    let summary = new.complete(&header, Some(&end.row_counts));
    let summary = summary.map_err(BackupError::from)?;
    new.publish(Replaces::Nothing).map_err(BackupError::from)?;
    Ok(CopiedFile {
        file,
        committed_at: end.committed_at,
        summary,
    })
}

/// Copies the data of an open store to a new file at `path`, or in the folder `path`.
///
/// # Errors
/// [`BackupError`] as [`copy_to_new_file`], or if the store can't be read.
pub fn copy_store(
    store: &Store,
    path: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<CopiedFile, BackupError> {
    let copied = copy_to_new_file(path, clock, |apply| {
        Ok::<_, BackupError>(feed_copy(store, clock, apply)?)
    });
    let tidied = store.tidy_change_log();
    let copied = copied?;
    tidied?;
    Ok(copied)
}

fn feed_copy(
    store: &Store,
    clock: &Arc<dyn Clock>,
    apply: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<CopyEnd, StoreError> {
    let mut copy = DataCopy::begin(store)?;
    loop {
        let began = clock.elapsed();
        let Some(rows) = copy.next_rows()? else { break };
        apply(&rows)?;
        if !store.is_read_only() {
            thread::park_timeout(clock.elapsed().saturating_sub(began).min(PAUSE_MAX));
        }
    }
    let end = copy.end()?;
    let mut applied = copy.begins_after();
    while let Some((last, changes)) = copy.changes_until(applied, &end)? {
        apply(&changes)?;
        applied = last;
    }
    Ok(end)
}

/// Removes all copies of `folder` but the `keep` newest, and what interrupted copies left. Returns
/// the removed files.
///
/// # Errors
/// [`BackupError::File`] if the folder can't be read, or a copy can't be removed.
pub fn remove_old_copies(
    folder: &Path,
    keep: usize,
    now: Timestamp,
) -> Result<Vec<PathBuf>, BackupError> {
    let names = list_names(folder)?;
    let parts = names.iter().filter(|name| is_part_of_copy(name));
    // Another process may make a copy in the same folder.
    let is_left = |name: &&String| require_unused(&StoreOptions::new(folder.join(name))).is_ok();
    let mut expired: Vec<String> = parts.filter(is_left).cloned().collect();
    expired.extend(expired_copies(names, keep, now));
    let remove = |name: String| {
        let file = folder.join(name);
        fs::remove_file(&file).map_err(BackupError::file("remove", &file))?;
        Ok(file)
    };
    expired.into_iter().map(remove).collect()
}

/// Returns the names of the files in `folder`. Names that are no text are left out.
pub(super) fn list_names(folder: &Path) -> Result<Vec<String>, BackupError> {
    let failed = |error| BackupError::file("read", folder)(error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}
