//! Restores a data file from a copy, and puts a restored file in the place of the data file.
//!
//! A restored file never takes the place of another one without `--force`. The old file stays
//! beside it under a dated name. At every moment, one of the two is complete under its name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copies::list_names;
use super::error::BackupError;
use crate::clock::Clock;
use crate::domain::backup::copies::{format_file_time, newest_copy};
use crate::domain::time::Timestamp;
use crate::store::{
    ChangeLogHeader, CopyEnd, DataCopy, FileSummary, Lineage, NewFile, Store, StoreError,
    StoreOptions, require_unused,
};

/// Place of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreSource {
    /// A copy of the data file.
    Copy(PathBuf),
}

/// Restored data file.
#[derive(Clone, Debug)]
pub struct RestoredFile {
    /// Path of the data file.
    pub file: PathBuf,
    /// Place from which the file was restored.
    pub source: String,
    /// Time of the last commit in the file.
    pub committed_at: Timestamp,
    /// Result of the verification.
    pub summary: FileSummary,
    /// Path of the file whose place the restored one took.
    pub kept: Option<PathBuf>,
}

impl RestoreSource {
    /// Returns the copy at `path`: the file itself, or the newest copy in the folder at or before
    /// `at`.
    ///
    /// # Errors
    /// [`BackupError`] if there is none.
    pub fn find(path: &Path, at: Option<Timestamp>) -> Result<Self, BackupError> {
        if path.is_dir() {
            let newest = newest_copy(list_names(path)?, at.unwrap_or(Timestamp::MAX));
            let name = newest.ok_or_else(|| BackupError::NoBackup(path.to_owned()))?;
            return Ok(Self::Copy(path.join(name)));
        }
        if !path.exists() {
            return Err(BackupError::NoBackup(path.to_owned()));
        }
        if at.is_some() {
            return Err(BackupError::OneMoment(path.to_owned()));
        }
        Ok(Self::Copy(path.to_owned()))
    }
}

/// Restores the copy at `copy` to the data file of `options`.
///
/// # Errors
/// [`BackupError`] if the data file exists and `force` is `false`, a process has it open, or the
/// copy is damaged.
pub fn restore_copy(
    copy: &Path,
    options: &StoreOptions,
    force: bool,
    clock: &Arc<dyn Clock>,
) -> Result<RestoredFile, BackupError> {
    require_replaceable(options, force)?;
    let mut new = NewFile::create(&options.path, Arc::clone(clock))?;
    let mut source = StoreOptions::new(copy.to_owned());
    (source.is_serving, source.is_read_only) = (false, true);
    let store = Store::start(source, Arc::clone(clock))?;
    let end = store.wait_open().and_then(|()| feed_rows(&store, &mut new));
    let closed = store.close();
    let end = end?;
    closed?;
    let header = restored_header(end.lineage);
    let summary = new.complete(&header, Some(&end.row_counts))?;
    let kept = keep_old_file(&options.path, clock.now())?;
    new.publish()?;
    Ok(RestoredFile {
        file: options.path.clone(),
        source: copy.display().to_string(),
        committed_at: end.committed_at,
        summary,
        kept,
    })
}

fn feed_rows(store: &Store, new: &mut NewFile) -> Result<CopyEnd, StoreError> {
    let mut copy = DataCopy::begin(store)?;
    while let Some(rows) = copy.next_rows()? {
        new.apply(&rows)?;
    }
    copy.end()
}

/// Returns the header of a restored file. From its lineage, a continuous backup of the old machine
/// sees that the data continues elsewhere.
pub(super) fn restored_header(lineage: Option<Lineage>) -> ChangeLogHeader {
    ChangeLogHeader {
        lineage: lineage.map(|lineage| Lineage {
            epoch: lineage.epoch.saturating_add(1),
            ..lineage
        }),
        ..ChangeLogHeader::default()
    }
}

/// Checks that a restored file may take the place of the data file.
pub(super) fn require_replaceable(options: &StoreOptions, force: bool) -> Result<(), BackupError> {
    if fs::symlink_metadata(&options.path).is_err() {
        return Ok(());
    }
    if !force {
        return Err(BackupError::DataFileExists(options.path.clone()));
    }
    Ok(require_unused(options)?)
}

/// Gives the data file a second, dated name. The restored file then takes the first one. Returns the
/// second name, or `None` if there is no data file.
pub(super) fn keep_old_file(path: &Path, now: Timestamp) -> Result<Option<PathBuf>, BackupError> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".replaced-{}", format_file_time(now)));
    let kept = PathBuf::from(name);
    // Some file systems have no second names.
    fs::hard_link(path, &kept)
        .or_else(|_| fs::rename(path, &kept))
        .map_err(BackupError::file("keep the old file as", &kept))?;
    Ok(Some(kept))
}
