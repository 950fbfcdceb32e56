//! Uploads bases: the rows of all tables, in parts, beside the writer. Removes what is too old.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::catalog::{list_bases, list_generations, read_manifest};
use super::context::BackupContext;
use super::error::BackupError;
use super::format::{FORMAT, Manifest, encode_part};
use super::remote::RemoteStore;
use super::state::Values;
use crate::config::BackupLocation;
use crate::domain::backup::expiry::{
    StoredBase, is_base_expired, is_generation_expired, oldest_needed_base,
};
use crate::domain::backup::objects::{BaseName, GENERATIONS, Generation, MANIFEST, SegmentName};
use crate::store::{DataCopy, StoreError};

/// Pause between two looks at the time of the next base.
pub(super) const BASE_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Pause between two looks at the upload of the log, when a base waits for it.
const LOG_WAIT_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum pause after a slice: a base takes at most half of one core.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// Pause before a part of a base is tried again.
const PART_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Pause before the removal of expired objects is tried again.
const REMOVAL_RETRY_INTERVAL: Duration = Duration::from_mins(1);
/// Size of a part, in bytes.
const PART_BYTES: usize = 8 << 20;

/// Task that uploads bases. See [`BaseUpload::step`].
pub(super) struct BaseUpload {
    context: BackupContext,
    location: BackupLocation,
    stop: Receiver<()>,
    /// Generation whose last base is known.
    known: Option<Generation>,
    /// Time of the next removal of expired objects. `None`: after the next base.
    removal_due_at: Option<Duration>,
}

impl BaseUpload {
    pub(super) const fn new(
        context: BackupContext,
        location: BackupLocation,
        stop: Receiver<()>,
    ) -> Self {
        Self {
            context,
            location,
            stop,
            known: None,
            removal_due_at: None,
        }
    }

    /// Uploads a base if one is due, and removes expired objects. Records the results.
    pub(super) fn step(&mut self) {
        let uploaded = self.upload_due_base();
        self.record(
            uploaded,
            "the base of the backup failed: it is tried again",
            |state| &mut state.base_error,
        );
        if let Some(removed) = self.remove_if_due() {
            self.record(
                removed,
                "old objects of the backup can't be removed",
                |state| &mut state.removal_error,
            );
        }
    }

    /// Records the error of a task, or that it is over. Logs a new error.
    fn record(
        &self,
        result: Result<(), BackupError>,
        message: &str,
        error_of: impl Fn(&mut Values) -> &mut Option<String>,
    ) {
        let error = result.err().map(|error| error.to_string());
        let mut is_new = false;
        self.context.state.update(|state| {
            let last = error_of(state);
            is_new = error.is_some() && last.is_none();
            last.clone_from(&error);
        });
        if is_new {
            tracing::warn!(error, "{message}");
        }
    }

    fn upload_due_base(&mut self) -> Result<(), BackupError> {
        let Some(generation) = self.context.state.read().generation else {
            return Ok(());
        };
        if self.known.as_ref() != Some(&generation) || !self.context.state.read().is_base_known {
            let remote = self.context.open_remote(&self.location)?;
            let bases = list_bases(&remote, &generation);
            let bases = self.context.runtime.block_on(bases)?;
            let last = bases.last().map(|base| base.began_at);
            self.context.state.update(|state| {
                // The generation may have changed meanwhile.
                if state.generation.as_ref() == Some(&generation) {
                    (state.base_at, state.is_base_known) = (last, true);
                }
            });
            self.known = Some(generation.clone());
        }
        let now = self.context.clock.now();
        let is_recent = |last| {
            // A time that is ahead is from a wrong clock.
            last <= now && now.since(last) < self.context.settings.base_interval
        };
        if self.context.state.read().base_at.is_some_and(is_recent) {
            return Ok(());
        }
        let remote = self.context.open_remote(&self.location)?;
        let base = self.upload_base(remote, &generation);
        let tidied = self.context.store.tidy_change_log();
        let Some(base) = base? else { return Ok(()) };
        self.context.state.update(|state| {
            state.base_at = Some(base.began_at);
            state.gap = None;
        });
        self.removal_due_at = Some(Duration::ZERO);
        Ok(tidied?)
    }

    /// Removes expired objects after a base, and again after an error. Returns `None` if nothing is
    /// due.
    fn remove_if_due(&mut self) -> Option<Result<(), BackupError>> {
        let elapsed = self.context.clock.elapsed();
        self.removal_due_at.filter(|due_at| elapsed >= *due_at)?;
        let generation = self.context.state.read().generation?;
        let remote = self.context.open_remote(&self.location);
        let removed = remote.and_then(|remote| self.remove_expired(&remote, &generation));
        let retry_at = elapsed.saturating_add(REMOVAL_RETRY_INTERVAL);
        self.removal_due_at = removed.is_err().then_some(retry_at);
        Some(removed)
    }

    /// Uploads a base. Returns `None` if the server stops.
    fn upload_base(
        &self,
        mut remote: RemoteStore,
        generation: &Generation,
    ) -> Result<Option<BaseName>, BackupError> {
        let context = &self.context;
        let began_at = context.clock.now();
        let mut copy = DataCopy::begin(&context.store)?;
        let base = BaseName {
            begins_after: copy.begins_after(),
            began_at,
        };
        let folder = generation.base_folder(base);
        let (mut parts, mut part) = (0_u32, Vec::new());
        loop {
            let began = context.clock.elapsed();
            let rows = copy.next_rows()?;
            let is_last = rows.is_none();
            part.extend(rows.unwrap_or_default());
            if part.len() >= PART_BYTES || (is_last && !part.is_empty()) {
                let name = format!("{folder}/{parts:08}");
                let bytes = encode_part(&part);
                while let Err(error) = context.runtime.block_on(remote.put(&name, bytes.clone())) {
                    // The base goes on after an interruption of the network. Without this, a large
                    // base would begin again, and leave its parts in the store.
                    self.record(
                        Err(error),
                        "a part of the base failed: it is tried again",
                        |s| &mut s.base_error,
                    );
                    if self.is_stopped_within(PART_RETRY_INTERVAL) {
                        return Ok(None);
                    }
                    self.require_current(&copy, generation)?;
                    remote = context.open_remote(&self.location)?;
                }
                context.state.update(|state| state.base_error = None);
                parts = parts.saturating_add(1);
                part.clear();
            }
            if is_last {
                break;
            }
            let took = context.clock.elapsed().saturating_sub(began);
            if self.is_stopped_within(took.min(PAUSE_MAX)) {
                return Ok(None);
            }
        }
        let end = copy.end()?;
        while context.state.read().uploaded < end.last_entry {
            if self.is_stopped_within(LOG_WAIT_INTERVAL) {
                return Ok(None);
            }
            self.require_current(&copy, generation)?;
        }
        self.require_current(&copy, generation)?;
        let manifest = Manifest {
            format: FORMAT,
            flowgate: env!("CARGO_PKG_VERSION").to_owned(),
            parts,
            end,
        };
        let manifest = serde_json::to_vec(&manifest).unwrap_or_default();
        context
            .runtime
            .block_on(remote.put(&format!("{folder}/{MANIFEST}"), manifest))?;
        tracing::info!(
            backup.base = base.to_string(),
            backup.parts = parts,
            "a base of the backup is complete"
        );
        Ok(Some(base))
    }

    /// Checks that the copy and the log still belong together. The log may have been given up, or
    /// another machine promoted.
    fn require_current(&self, copy: &DataCopy, generation: &Generation) -> Result<(), BackupError> {
        copy.end()?;
        if self.context.state.read().generation.as_ref() != Some(generation) {
            return Err(StoreError::ChangeLogLost.into());
        }
        Ok(())
    }

    /// Waits. Returns `true` if the server stops.
    fn is_stopped_within(&self, pause: Duration) -> bool {
        if pause.is_zero() {
            return self.stop.try_recv() == Err(TryRecvError::Disconnected);
        }
        self.stop.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected)
    }

    /// Removes what nobody can need to restore a time within `backup.keep`, and incomplete bases.
    fn remove_expired(
        &self,
        remote: &RemoteStore,
        current: &Generation,
    ) -> Result<(), BackupError> {
        let since = self.context.clock.now().minus(self.context.settings.keep);
        let expired = async {
            let mut bases = Vec::new();
            let generations = list_generations(remote).await?;
            for generation in &generations {
                for name in list_bases(remote, generation).await? {
                    let manifest = read_manifest(remote, generation, name).await?;
                    bases.push(StoredBase {
                        generation: generation.clone(),
                        name,
                        ends_at: manifest.end.committed_at,
                    });
                }
            }
            let Some(oldest) = oldest_needed_base(bases.clone(), since) else {
                return Ok(());
            };
            for generation in &generations {
                let folder = format!("{GENERATIONS}/{generation}");
                let is_expired =
                    generation != current && is_generation_expired(generation, &oldest);
                // Only this task uploads bases of this generation. A base of another one may be in
                // progress on another machine.
                let complete = (generation == current).then_some(&*bases);
                let needed =
                    |name: &str| !is_expired && is_needed(name, generation, &oldest, complete);
                let names = remote.list(&folder, None).await?.into_iter();
                let expired = names.filter(|name| !needed(name));
                let expired = expired.map(|name| format!("{folder}/{name}"));
                remote.remove_all(expired.collect()).await?;
            }
            Ok(())
        };
        self.context.runtime.block_on(expired)
    }
}

/// Returns `true` if the object `name` of a generation is needed. With `complete`, incomplete bases
/// are not.
fn is_needed(
    name: &str,
    generation: &Generation,
    oldest: &StoredBase,
    complete: Option<&[StoredBase]>,
) -> bool {
    let mut parts = name.split('/');
    match (parts.next(), parts.next()) {
        (Some("log"), Some(segment)) => SegmentName::parse(segment).is_none_or(|segment| {
            *generation != oldest.generation || segment.last > oldest.name.begins_after
        }),
        (Some("bases"), Some(base)) => BaseName::parse(base).is_none_or(|base| {
            let is_same =
                |other: &StoredBase| other.name == base && other.generation == *generation;
            let is_abandoned = complete.is_some_and(|complete| !complete.iter().any(is_same));
            !is_abandoned && !is_base_expired(generation, base, oldest)
        }),
        _ => true,
    }
}
