//! Uploads bases: the rows of all tables, in parts, beside the writer. Removes what is too old.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::context::{BackupContext, list_generations};
use super::error::BackupError;
use super::format::{FORMAT, Manifest, encode_part};
use super::remote::RemoteStore;
use crate::config::BackupLocation;
use crate::domain::backup::expiry::{
    StoredBase, is_base_expired, is_generation_expired, oldest_needed_base,
};
use crate::domain::backup::objects::{BaseName, GENERATIONS, Generation, MANIFEST, SegmentName};
use crate::store::DataCopy;

/// Pause between two looks at the time of the next base.
pub(super) const BASE_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Pause between two looks at the upload of the log, when a base waits for it.
const LOG_WAIT_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum pause after a slice: a base takes at most half of one core.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// Size of a part, in bytes.
const PART_BYTES: usize = 8 << 20;

/// Task that uploads bases. See [`BaseUpload::step`].
pub(super) struct BaseUpload {
    context: BackupContext,
    location: BackupLocation,
    stop: Receiver<()>,
    /// Generation whose last base is known.
    known: Option<Generation>,
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
        }
    }

    /// Uploads a base if one is due. Records the result.
    pub(super) fn step(&mut self) {
        match self.upload_due_base() {
            Ok(()) => self.context.state.update(|state| state.base_error = None),
            Err(error) => {
                let text = error.to_string();
                tracing::warn!(
                    error = text,
                    "the base of the backup failed: it is tried again"
                );
                self.context
                    .state
                    .update(|state| state.base_error = Some(text));
            }
        }
    }

    fn upload_due_base(&mut self) -> Result<(), BackupError> {
        let state = self.context.state.read();
        let Some(generation) = state.generation else {
            return Ok(());
        };
        let remote = self.context.open_remote(&self.location)?;
        if self.known.as_ref() != Some(&generation) {
            let bases = self
                .context
                .runtime
                .block_on(list_bases(&remote, &generation))?;
            let last = bases.last().map(|base| base.began_at);
            self.context.state.update(|state| state.base_at = last);
            self.known = Some(generation.clone());
        }
        let now = self.context.clock.now();
        let last = self.context.state.read().base_at;
        if last.is_some_and(|last| now.since(last) < self.context.settings.base_interval) {
            return Ok(());
        }
        let base = self.upload_base(&remote, &generation);
        let tidied = self.context.store.tidy_change_log();
        let Some(base) = base? else { return Ok(()) };
        tidied?;
        self.context.state.update(|state| {
            state.base_at = Some(base.began_at);
            state.log_lost_at = None;
        });
        self.remove_expired(&remote, &generation)
    }

    /// Uploads a base. Returns `None` if the server stops.
    fn upload_base(
        &self,
        remote: &RemoteStore,
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
                context
                    .runtime
                    .block_on(remote.put(&name, encode_part(&part)))?;
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
            // The log may have been given up, or another machine promoted.
            copy.end()?;
        }
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
                let names = list_bases(remote, generation).await?;
                bases.extend(names.into_iter().map(|name| StoredBase {
                    generation: generation.clone(),
                    name,
                }));
            }
            let newest = bases.iter().map(|base| base.name).max();
            let Some(oldest) = oldest_needed_base(bases.clone(), since) else {
                return Ok(());
            };
            for generation in &generations {
                let folder = format!("{GENERATIONS}/{generation}");
                let is_expired =
                    generation != current && is_generation_expired(generation, &oldest);
                let needed = |name: &str| {
                    !is_expired && is_needed(name, generation, &oldest, &bases, newest)
                };
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

/// Returns `true` if the object `name` of a generation is needed.
fn is_needed(
    name: &str,
    generation: &Generation,
    oldest: &StoredBase,
    complete: &[StoredBase],
    newest: Option<BaseName>,
) -> bool {
    let mut parts = name.split('/');
    match (parts.next(), parts.next()) {
        (Some("log"), Some(segment)) => SegmentName::parse(segment).is_none_or(|segment| {
            *generation != oldest.generation || segment.last > oldest.name.begins_after
        }),
        (Some("bases"), Some(base)) => BaseName::parse(base).is_none_or(|base| {
            let is_complete = complete
                .iter()
                .any(|other| other.name == base && other.generation == *generation);
            let is_abandoned = !is_complete && newest.is_some_and(|newest| base < newest);
            !is_abandoned && !is_base_expired(generation, base, oldest)
        }),
        _ => true,
    }
}

/// Lists the complete bases of a generation, oldest first.
pub(super) async fn list_bases(
    remote: &RemoteStore,
    generation: &Generation,
) -> Result<Vec<BaseName>, BackupError> {
    let names = remote.list(&generation.bases_folder(), None).await?;
    let complete = names.iter().filter_map(|name| {
        let (base, object) = name.split_once('/')?;
        (object == MANIFEST)
            .then(|| BaseName::parse(base))
            .flatten()
    });
    Ok(complete.collect())
}
