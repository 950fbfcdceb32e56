//! Uploads the change log: every commit is in the object store a few seconds after it is on disk.
//!
//! The task also owns the generation: it begins one, sees that another machine was promoted, and
//! begins a new one after the log was given up.

use std::time::Duration;

use super::catalog::list_generations;
use super::context::BackupContext;
use super::continuity::{LocalLog, find_uploaded};
use super::error::BackupError;
use super::format::encode_segment;
use super::remote::RemoteStore;
use crate::config::BackupLocation;
use crate::domain::backup::objects::{Generation, SegmentName};
use crate::store::{
    BeginChangeLog, ChangeLogEntry, ChangeLogHeader, ChangeLogState, EndChangeLog, Lineage,
};

/// Pause between two looks at the change log. With the upload, a backup is a few seconds behind.
pub(super) const UPLOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum time between two checks that the backup still belongs to this machine.
const OWNER_CHECK_INTERVAL: Duration = Duration::from_secs(20);
/// Approximate maximum size of a segment, in bytes.
const SEGMENT_BYTES: usize = 4 << 20;

/// Task that uploads the change log. See [`LogUpload::step`].
pub(super) struct LogUpload {
    context: BackupContext,
    location: BackupLocation,
    remote: Option<RemoteStore>,
    current: Option<CurrentLog>,
    /// Time of the check that found another owner of the objects.
    stopped_at: Option<Duration>,
}

/// Log that is uploaded.
struct CurrentLog {
    generation: Generation,
    uploaded: u64,
    owner_checked_at: Duration,
}

impl LogUpload {
    pub(super) const fn new(context: BackupContext, location: BackupLocation) -> Self {
        Self {
            context,
            location,
            remote: None,
            current: None,
            stopped_at: None,
        }
    }

    /// Uploads what waits. Records the result.
    pub(super) fn step(&mut self) {
        match self.upload_waiting() {
            Ok(()) => {
                let now = self.context.clock.now();
                self.context.state.update(|state| {
                    state.reached_at = Some(now);
                    state.upload_error = None;
                });
            }
            Err(error) => {
                // The next step opens the store again, with the current secrets.
                self.remote = None;
                let text = error.to_string();
                // The text of a lasting error differs each time: it has the time of the request.
                if self.context.state.read().upload_error.is_none() {
                    tracing::warn!(error = text, "the backup can't upload: it tries again");
                }
                self.context
                    .state
                    .update(|state| state.upload_error = Some(text));
            }
        }
    }

    fn upload_waiting(&mut self) -> Result<(), BackupError> {
        let remote = match self.remote.take() {
            Some(remote) => remote,
            None => self.context.open_remote(&self.location)?,
        };
        let uploaded = self.upload_to(&remote);
        self.remote = Some(remote);
        uploaded
    }

    fn upload_to(&mut self, remote: &RemoteStore) -> Result<(), BackupError> {
        let Some(mut log) = self.open_log(remote)? else {
            return Ok(());
        };
        let store = &self.context.store;
        loop {
            let entries = store.read_change_log(log.uploaded, u64::MAX, SEGMENT_BYTES)?;
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                break;
            };
            let name = segment_name(first, last);
            let path = format!("{}/{name}", log.generation.log_folder());
            let put = remote.put(&path, encode_segment(&entries));
            self.context.runtime.block_on(put)?;
            log.uploaded = name.last;
            self.context
                .state
                .update(|state| state.uploaded = name.last);
            metrics::counter!("flowgate_backup_segments_total").increment(1);
            store.trim_change_log(name.last)?;
            // What came meanwhile waits for the next step. Without this, each request to the store
            // would upload a few commits, and a busy server would send dozens a second.
            let bytes: usize = entries.iter().map(|entry| entry.changes.len()).sum();
            if bytes < SEGMENT_BYTES {
                break;
            }
        }
        self.current = Some(log);
        Ok(())
    }

    /// Returns the log of the current generation. Begins a generation if there is none. Returns
    /// `None` if the backup belongs to another machine.
    fn open_log(&mut self, remote: &RemoteStore) -> Result<Option<CurrentLog>, BackupError> {
        let elapsed = self.context.clock.elapsed();
        let is_checked = |at| elapsed.saturating_sub(at) < OWNER_CHECK_INTERVAL;
        if self.stopped_at.is_some_and(is_checked) {
            return Ok(None);
        }
        let (header, _) = self.context.store.change_log_state()?;
        let recorded = match &header.state {
            ChangeLogState::Generation { name } => Generation::parse(name),
            _ => None,
        };
        let current = self.current.take();
        if let (Some(current), Some(generation)) = (current, &recorded)
            && current.generation == *generation
            && is_checked(current.owner_checked_at)
        {
            return Ok(Some(current));
        }
        let generations = self.context.runtime.block_on(list_generations(remote))?;
        let label = remote.label();
        if let Some(problem) = find_other_owner(label, &generations, recorded.as_ref(), &header) {
            self.stop(problem)?;
            self.stopped_at = Some(elapsed);
            return Ok(None);
        }
        self.stopped_at = None;
        let continued = match recorded {
            Some(generation) => self.continue_generation(remote, generation)?,
            None => None,
        };
        let (generation, uploaded) = match continued {
            Some(continued) => continued,
            None => self.begin_generation(generations.last())?,
        };
        self.context.state.update(|state| {
            if state.generation.as_ref() != Some(&generation) {
                (state.base_at, state.is_base_known) = (None, false);
            }
            state.generation = Some(generation.clone());
            state.uploaded = uploaded;
            state.stopped = None;
        });
        // A kill may have come between an upload and the removal of its entries.
        self.context.store.trim_change_log(uploaded)?;
        Ok(Some(CurrentLog {
            generation,
            uploaded,
            owner_checked_at: elapsed,
        }))
    }

    /// Returns the generation with the number of the last commit in the object store. Returns
    /// `None` if the log of the file does not continue what is there.
    fn continue_generation(
        &self,
        remote: &RemoteStore,
        generation: Generation,
    ) -> Result<Option<(Generation, u64)>, BackupError> {
        let store = &self.context.store;
        let mut gap = None;
        if self.context.state.read().generation.is_none() && !store.has_logged_all_commits()? {
            gap = Some("another flowgate version has changed the data file");
        }
        let found = find_uploaded(store, remote, &generation);
        let uploaded = self.context.runtime.block_on(found)?;
        if uploaded.is_none() {
            gap = gap.or(Some(
                "the data file does not continue what is there: it is an older file or a copy, or the place is new",
            ));
        }
        if let Some(reason) = gap {
            store.execute_blocking(EndChangeLog)?;
            self.record_gap(reason);
            return Ok(None);
        }
        Ok(uploaded.map(|uploaded| (generation, uploaded)))
    }

    fn record_gap(&self, reason: &'static str) {
        let now = self.context.clock.now();
        tracing::error!("the backup begins again with a new base, because {reason}");
        self.context
            .state
            .update(|state| state.gap = Some((now, reason)));
    }

    fn stop(&self, problem: String) -> Result<(), BackupError> {
        // Without this, the log would grow until it is given up.
        self.context.store.execute_blocking(EndChangeLog)?;
        self.context.store.tidy_change_log()?;
        self.context.state.update(|state| {
            state.generation = None;
            state.stopped = Some(problem);
        });
        Ok(())
    }

    /// Begins a generation: from now on, the log records every commit. Returns the generation with
    /// the number of the last commit before it.
    fn begin_generation(
        &self,
        newest: Option<&Generation>,
    ) -> Result<(Generation, u64), BackupError> {
        let store = &self.context.store;
        let (header, _) = store.change_log_state()?;
        if header.state == ChangeLogState::Overflowed {
            self.record_gap("more commits waited than backup.max_change_log allows");
        }
        let own = header.lineage;
        let own_epoch = own.as_ref().map_or(0, |own| own.epoch);
        // With a higher epoch than all others, the order of generations does not depend on the wall
        // clock, and other machines see the new owner.
        let next = newest.map_or(0, |newest| newest.epoch.saturating_add(1));
        let lineage = Lineage {
            id: own.map_or_else(|| self.random_id(), |own| own.id),
            epoch: if own_epoch == Lineage::RESTORED {
                next
            } else {
                own_epoch.max(next)
            },
        };
        let generation = Generation {
            epoch: lineage.epoch,
            began_at: self.context.clock.now(),
            lineage: lineage.id.clone(),
        };
        store.tidy_change_log()?;
        store.execute_blocking(BeginChangeLog {
            state: ChangeLogState::Generation {
                name: generation.to_string(),
            },
            lineage: Some(lineage),
        })?;
        tracing::info!(
            backup.generation = generation.to_string(),
            "a generation of the backup begins"
        );
        let begins_after = LocalLog::read(store)?.begins_after;
        Ok((generation, begins_after))
    }

    fn random_id(&self) -> String {
        let mut bytes = [0; 8];
        self.context.entropy.fill(&mut bytes);
        format!("{:016x}", u64::from_le_bytes(bytes))
    }
}

/// Returns the reason for which the objects belong to another machine or to other data.
fn find_other_owner(
    label: &str,
    generations: &[Generation],
    recorded: Option<&Generation>,
    header: &ChangeLogHeader,
) -> Option<String> {
    let newest = generations.last()?;
    let own = header.lineage.as_ref();
    let Some(own) = own.filter(|own| generations.iter().all(|other| other.lineage == own.id))
    else {
        return Some(format!(
            "nothing is uploaded to {label}, because it has backups of other data: set `backup.url` to another place, or restore \
             from {label}"
        ));
    };
    let has_later_owner = newest.epoch > own.epoch || recorded.is_some_and(|own| newest > own);
    has_later_owner.then(|| {
        format!(
            "nothing is uploaded to {label}, because the data continues on another machine that was restored or promoted later: stop \
             this server, or restore from {label} with --force"
        )
    })
}

fn segment_name(first: &ChangeLogEntry, last: &ChangeLogEntry) -> SegmentName {
    SegmentName {
        first: first.number,
        last: last.number,
        first_at: first.committed_at,
        last_at: last.committed_at,
    }
}
