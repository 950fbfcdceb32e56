//! Follows a continuous backup: keeps a data file a few seconds behind the server that writes the
//! backup, until the file is promoted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::catalog::{Search, list_generations};
use super::error::BackupError;
use super::remote::RemoteStore;
use super::remote_restore::{FoundBase, LogPosition, Until, apply_base, apply_log, find_base};
use super::restored_file::restored_header;
use crate::clock::Clock;
use crate::config::{BackupLocation, S3Settings};
use crate::domain::backup::objects::Generation;
use crate::domain::time::Timestamp;
use crate::store::{ChangeLogHeader, ChangeLogState, NewFile, Replaces};

/// Pause between two looks at the backup.
pub const FOLLOW_INTERVAL: Duration = Duration::from_secs(2);
/// Interval of the checks for a newer generation.
const GENERATION_CHECK_INTERVAL: Duration = Duration::from_secs(20);

/// Data file that follows a backup.
pub struct Follower {
    remote: RemoteStore,
    path: std::path::PathBuf,
    clock: Arc<dyn Clock>,
    current: Option<FollowedLog>,
    /// Time of the last look that found nothing more to apply.
    synced_at: Option<Timestamp>,
    error: Option<String>,
}

struct FollowedLog {
    file: NewFile,
    header: ChangeLogHeader,
    generation: Generation,
    position: LogPosition,
    /// Time of the last check for a newer generation. `None`: not yet.
    checked_at: Option<Duration>,
}

/// Status of a file that follows a backup.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FollowStatus {
    /// Place of the backup.
    pub following: String,
    /// Time of the last commit in the file. `None`: the first restore is not complete.
    pub committed_at: Option<Timestamp>,
    /// Time since the file last had everything that is in the backup, in seconds. `None`: not yet.
    pub behind_seconds: Option<u64>,
    /// Last error, until it is over.
    pub error: Option<String>,
}

/// Result of a promotion.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Promotion {
    /// Time of the last commit in the file.
    pub committed_at: Option<Timestamp>,
    /// Reason why the file may lack commits that are in the backup. `None`: it has all of them.
    pub incomplete: Option<String>,
}

/// Returns `true` if the file at `path` was promoted: it serves from now on.
///
/// # Errors
/// [`BackupError::NotFollowing`] if the file neither follows a backup nor was promoted, or the
/// reason why it can't be opened.
pub fn is_promoted(path: &Path, clock: &Arc<dyn Clock>) -> Result<bool, BackupError> {
    if !path.exists() {
        return Ok(false);
    }
    let header = NewFile::reopen(path, Arc::clone(clock))?.header()?;
    match header.state {
        ChangeLogState::Following { .. } => Ok(false),
        _ if header.is_promoted => Ok(true),
        _ => Err(BackupError::NotFollowing(path.to_owned())),
    }
}

/// Promotes a file that no process follows: it serves from now on. Returns the time of its last
/// commit.
///
/// # Errors
/// [`BackupError::NotFollowing`] if the file follows no backup.
pub fn promote_file(path: &Path, clock: &Arc<dyn Clock>) -> Result<Timestamp, BackupError> {
    let mut file = NewFile::reopen(path, Arc::clone(clock))?;
    let header = file.header()?;
    let ChangeLogState::Following { committed_at, .. } = header.state else {
        return Err(BackupError::NotFollowing(path.to_owned()));
    };
    file.commit(Some(&promoted_header(header)))?;
    file.close()?;
    Ok(committed_at)
}

fn promoted_header(header: ChangeLogHeader) -> ChangeLogHeader {
    ChangeLogHeader {
        is_promoted: true,
        ..restored_header(header.lineage)
    }
}

impl Follower {
    /// Creates a follower for the data file at `path`. [`Follower::step`] opens or restores it.
    ///
    /// # Errors
    /// [`BackupError`] if the place of the backup can't be used.
    pub fn new(
        location: &BackupLocation,
        s3: &S3Settings,
        path: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BackupError> {
        Ok(Self {
            remote: RemoteStore::open(location, s3, false)?,
            path: path.to_owned(),
            clock,
            current: None,
            synced_at: None,
            error: None,
        })
    }

    /// Applies what is new in the backup. Records an error, and tries again at the next call.
    pub async fn step(&mut self) {
        self.step_with(Search::Recent).await;
    }

    async fn step_with(&mut self, search: Search) {
        match self.sync(search).await {
            Ok(()) => {
                self.synced_at = Some(self.clock.now());
                self.error = None;
            }
            Err(error) => {
                let text = error.to_string();
                if self.error.as_ref() != Some(&text) {
                    tracing::warn!(
                        error = text,
                        "the backup can't be followed: it is tried again"
                    );
                }
                self.error = Some(text);
            }
        }
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> FollowStatus {
        let since = |at| self.clock.now().since(at).get() / 1000;
        FollowStatus {
            following: self.remote.label().to_owned(),
            committed_at: self.committed_at(),
            behind_seconds: self.synced_at.map(since),
            error: self.error.clone(),
        }
    }

    fn committed_at(&self) -> Option<Timestamp> {
        Some(self.current.as_ref()?.position.committed_at)
    }

    /// Applies what is in the backup, ends following, and closes the file.
    ///
    /// # Errors
    /// [`BackupError`] if there is no complete file yet, or the file can't be written.
    pub async fn promote(&mut self) -> Result<Promotion, BackupError> {
        self.step_with(Search::All).await;
        let committed_at = self.committed_at();
        let Some(mut log) = self.current.take() else {
            return Err(BackupError::NoFollowedFile {
                why: self.error.clone().unwrap_or_default(),
            });
        };
        log.file.commit(Some(&promoted_header(log.header)))?;
        log.file.close()?;
        Ok(Promotion {
            committed_at,
            incomplete: self.error.clone(),
        })
    }

    async fn sync(&mut self, search: Search) -> Result<(), BackupError> {
        let mut log = match self.current.take() {
            Some(log) => log,
            None => self.open_or_restore().await?,
        };
        let synced = self.sync_log(&mut log, search).await;
        // The file stays open after an error. Without this, a machine could not be promoted while
        // the store can't be reached.
        self.current = Some(log);
        synced
    }

    async fn sync_log(&self, log: &mut FollowedLog, search: Search) -> Result<(), BackupError> {
        let elapsed = self.clock.elapsed();
        let is_fresh = |at| elapsed.saturating_sub(at) < GENERATION_CHECK_INTERVAL;
        let is_check_due = !log.checked_at.is_some_and(is_fresh);
        let search = if is_check_due { Search::All } else { search };
        if search == Search::All {
            if self.has_newer_generation(&log.generation).await? {
                // The file keeps its content until the new one is complete.
                *log = self.restore().await?;
                return Ok(());
            }
            log.checked_at = Some(elapsed);
        }
        match self.apply_new(log, search).await {
            // The commits after the last applied one were removed, for example after a long stop.
            Err(gap @ BackupError::Gap { .. }) => {
                let base = find_base(&self.remote, None).await?;
                // Without this, each step would restore everything and meet the same gap.
                if !is_newer(&base, log) {
                    return Err(gap);
                }
                *log = self.restore().await?;
                Ok(())
            }
            applied => applied,
        }
    }

    async fn apply_new(&self, log: &mut FollowedLog, search: Search) -> Result<(), BackupError> {
        let applied = apply_log(
            &self.remote,
            &log.generation,
            log.position,
            Until::Time(None),
            search,
            &mut log.file,
        )
        .await?;
        if applied != log.position {
            let header = following_header(&log.header, &log.generation, applied);
            log.file.commit(Some(&header))?;
            (log.header, log.position) = (header, applied);
        }
        Ok(())
    }

    /// Returns `true` if a newer generation has a complete base.
    async fn has_newer_generation(&self, current: &Generation) -> Result<bool, BackupError> {
        let generations = list_generations(&self.remote).await?;
        if generations.last().is_none_or(|newest| newest <= current) {
            return Ok(false);
        }
        Ok(find_base(&self.remote, None).await?.generation > *current)
    }

    async fn open_or_restore(&self) -> Result<FollowedLog, BackupError> {
        if !self.path.exists() {
            return self.restore().await;
        }
        let file = NewFile::reopen(&self.path, Arc::clone(&self.clock))?;
        let header = file.header()?;
        let ChangeLogState::Following {
            name,
            applied,
            committed_at,
        } = &header.state
        else {
            return Err(BackupError::NotFollowing(self.path.clone()));
        };
        let Some(generation) = Generation::parse(name) else {
            return self.restore().await;
        };
        let position = LogPosition {
            applied: *applied,
            committed_at: *committed_at,
        };
        Ok(FollowedLog {
            file,
            generation,
            position,
            header,
            checked_at: None,
        })
    }

    /// Restores the newest data into a new file, which then takes the place of the old one.
    async fn restore(&self) -> Result<FollowedLog, BackupError> {
        let base = find_base(&self.remote, None).await?;
        let replaces = if self.path.exists() {
            Replaces::Any
        } else {
            Replaces::Nothing
        };
        let mut file = NewFile::create(&self.path, Arc::clone(&self.clock))?;
        let start = apply_base(&self.remote, &base, &mut file).await?;
        let generation = base.generation;
        let (until, search) = (Until::Time(None), Search::All);
        let position =
            apply_log(&self.remote, &generation, start, until, search, &mut file).await?;
        let header = ChangeLogHeader {
            lineage: base.manifest.end.lineage,
            ..ChangeLogHeader::default()
        };
        let header = following_header(&header, &generation, position);
        let summary = file.complete(&header, None)?;
        file.publish(replaces)?;
        tracing::info!(
            backup.generation = generation.to_string(),
            backup.rows = summary.rows,
            "the data file was restored, and follows the backup"
        );
        Ok(FollowedLog {
            file: NewFile::reopen(&self.path, Arc::clone(&self.clock))?,
            header,
            generation,
            position,
            checked_at: Some(self.clock.elapsed()),
        })
    }
}

/// Returns `true` if the base has commits that the file lacks.
fn is_newer(base: &FoundBase, log: &FollowedLog) -> bool {
    let end = base.manifest.end.last_entry;
    (&base.generation, end) > (&log.generation, log.position.applied)
}

fn following_header(
    header: &ChangeLogHeader,
    generation: &Generation,
    position: LogPosition,
) -> ChangeLogHeader {
    ChangeLogHeader {
        state: ChangeLogState::Following {
            name: generation.to_string(),
            applied: position.applied,
            committed_at: position.committed_at,
        },
        ..header.clone()
    }
}
