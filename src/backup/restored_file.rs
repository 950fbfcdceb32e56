//! Restores a data file from a backup, and puts a restored file in the place of the data file.
//!
//! A restored file never takes the place of another one without `--force`. The old file stays
//! beside it under a dated name. At every moment, one of the two is complete under its name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::catalog::Search;
use super::copies::list_names;
use super::error::BackupError;
use super::remote::RemoteStore;
use super::remote_restore::{Until, apply_base, apply_log, find_base};
use crate::clock::Clock;
use crate::config::{BackupLocation, S3Settings};
use crate::domain::backup::copies::{format_file_time, newest_copy};
use crate::domain::backup::objects::GENERATIONS;
use crate::domain::time::Timestamp;
use crate::store::{
    ChangeLogHeader, CopyEnd, DataCopy, FileSummary, Lineage, NewFile, Replaces, Store, StoreError,
    StoreOptions, require_unused,
};

/// Place of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreSource {
    /// A copy of the data file.
    Copy(PathBuf),
    /// A continuous backup.
    Continuous(BackupLocation),
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
    pub replaced_file: Option<PathBuf>,
    /// Start of later commits that can't be restored yet, because their base is not complete.
    pub missing_since: Option<Timestamp>,
}

impl RestoreSource {
    /// Returns the backup at `location`: a continuous one, a copy, or the newest copy in the folder
    /// that is not newer than `at`.
    ///
    /// # Errors
    /// [`BackupError`] if there is none.
    pub fn find(location: BackupLocation, at: Option<Timestamp>) -> Result<Self, BackupError> {
        let BackupLocation::Folder(path) = &location else {
            return Ok(Self::Continuous(location));
        };
        if path.join(GENERATIONS).is_dir() {
            return Ok(Self::Continuous(location));
        }
        if path.is_dir() {
            let newest = newest_copy(list_names(path)?, at.unwrap_or(Timestamp::MAX));
            let name = newest.ok_or_else(|| BackupError::NoBackup(path.clone()))?;
            return Ok(Self::Copy(path.join(name)));
        }
        if !path.exists() {
            return Err(BackupError::NoBackup(path.clone()));
        }
        if at.is_some() {
            return Err(BackupError::OneMoment(path.clone()));
        }
        Ok(Self::Copy(path.clone()))
    }
}

/// Source, time and target of a restore.
pub struct RestoreRequest<'a> {
    /// Place of the backup.
    pub source: RestoreSource,
    /// Time as of which the data is restored. `None`: the latest.
    pub at: Option<Timestamp>,
    /// Options with the path of the data file.
    pub options: &'a StoreOptions,
    /// Access to an S3-compatible store.
    pub s3: &'a S3Settings,
    /// `true` if the restored file may take the place of another one.
    pub force: bool,
}

/// Restores a data file from a backup.
///
/// # Errors
/// [`BackupError`] if the data file exists and `force` is `false`, a process has it open, or the
/// backup can't be read. The data file is unchanged then.
pub fn restore(
    request: &RestoreRequest<'_>,
    clock: &Arc<dyn Clock>,
    runtime: &Runtime,
) -> Result<RestoredFile, BackupError> {
    let options = request.options;
    require_replaceable(options, request.force)?;
    let mut new = NewFile::create(&options.path, Arc::clone(clock))?;
    let content = match &request.source {
        RestoreSource::Copy(copy) => feed_copy(copy, clock, &mut new)?,
        RestoreSource::Continuous(location) => {
            let _guard = runtime.enter();
            let remote = RemoteStore::open(location, request.s3, false)?;
            runtime.block_on(feed_backup(&remote, request.at, &mut new))?
        }
    };
    let header = restored_header(content.lineage);
    let summary = new.complete(&header, content.row_counts.as_ref())?;
    // A server may have been started meanwhile, for example by its socket unit.
    require_replaceable(options, request.force)?;
    let replaced_file = keep_old_file(&options.path, clock.now())?;
    new.publish(if request.force {
        Replaces::Any
    } else {
        Replaces::Nothing
    })?;
    Ok(RestoredFile {
        file: options.path.clone(),
        source: content.source,
        committed_at: content.committed_at,
        summary,
        replaced_file,
        missing_since: content.missing_since,
    })
}

/// Origin of the content of a restored file.
struct RestoredContent {
    source: String,
    committed_at: Timestamp,
    lineage: Option<Lineage>,
    /// Numbers of rows of the source. `None` if they are not known.
    row_counts: Option<BTreeMap<String, u64>>,
    missing_since: Option<Timestamp>,
}

fn feed_copy(
    copy: &Path,
    clock: &Arc<dyn Clock>,
    new: &mut NewFile,
) -> Result<RestoredContent, BackupError> {
    let mut options = StoreOptions::new(copy.to_owned());
    (options.is_serving, options.is_read_only) = (false, true);
    let store = Store::start(options, Arc::clone(clock))?;
    let end = store.wait_open().and_then(|()| feed_rows(&store, new));
    let closed = store.close();
    let end = end?;
    closed?;
    Ok(RestoredContent {
        source: copy.display().to_string(),
        committed_at: end.committed_at,
        lineage: end.lineage,
        row_counts: Some(end.row_counts),
        missing_since: None,
    })
}

async fn feed_backup(
    remote: &RemoteStore,
    at: Option<Timestamp>,
    new: &mut NewFile,
) -> Result<RestoredContent, BackupError> {
    let base = find_base(remote, at).await?;
    let start = apply_base(remote, &base, new).await?;
    let (until, search) = (Until::Time(at), Search::All);
    let reached = apply_log(remote, &base.generation, start, until, search, new).await?;
    let end = base.manifest.end;
    Ok(RestoredContent {
        source: format!("{} (generation {})", remote.label(), base.generation),
        committed_at: reached.committed_at,
        lineage: end.lineage,
        row_counts: Some(end.row_counts).filter(|_| reached == start),
        missing_since: base.later_began_at,
    })
}

fn feed_rows(store: &Store, new: &mut NewFile) -> Result<CopyEnd, StoreError> {
    let mut copy = DataCopy::begin(store)?;
    while let Some(rows) = copy.next_rows()? {
        new.apply(&rows)?;
    }
    copy.end()
}

/// Returns the header of a restored file. Its continuous backup begins a generation with a higher
/// epoch, from which the old machine sees that the data continues elsewhere.
pub(super) fn restored_header(lineage: Option<Lineage>) -> ChangeLogHeader {
    ChangeLogHeader {
        lineage: lineage.map(|lineage| Lineage {
            epoch: Lineage::RESTORED,
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

/// Gives the data file a second, dated name. The restored file then takes the first one. Returns
/// the second name, or `None` if there is no data file.
pub(super) fn keep_old_file(path: &Path, now: Timestamp) -> Result<Option<PathBuf>, BackupError> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".replaced-{}", format_file_time(now)));
    let replaced_file = PathBuf::from(name);
    // Some file systems have no second names.
    fs::hard_link(path, &replaced_file)
        .or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::rename(path, &replaced_file),
        })
        .map_err(BackupError::file("keep the old file as", &replaced_file))?;
    Ok(Some(replaced_file))
}
