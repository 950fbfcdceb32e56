//! Finds the problems of the backups, for `flowgate status`, and emits an alert for each new one.

use std::collections::BTreeSet;

use super::context::BackupContext;
use super::state::{LATE_AFTER, Values};
use crate::store::RecordBackupAlerts;

/// Kind of a problem. Each kind causes one alert until it is over.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(super) enum ProblemKind {
    Late,
    Stopped,
    Base,
    Removal,
    Gap,
    Copy,
}

/// Problem of the backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: ProblemKind,
    /// The problem in one sentence.
    pub(super) text: String,
}

/// Returns the age of the oldest commit that can't be restored from the backup, in seconds. Returns
/// `None` without a continuous backup.
pub(super) fn seconds_behind(context: &BackupContext, state: &Values) -> Option<u64> {
    context.settings.location.as_ref()?;
    let mut oldest = context.store.oldest_waiting_commit(state.uploaded).ok()??;
    if let Some(generation) = state.generation.as_ref().filter(|_| lacks_base(state)) {
        // Without a base, the log is of no use.
        oldest = Some(generation.began_at);
    }
    // 0 means that nothing waits.
    Some(oldest.map_or(0, |oldest| {
        context
            .clock
            .now()
            .since(oldest)
            .get()
            .div_ceil(1000)
            .max(1)
    }))
}

const fn lacks_base(state: &Values) -> bool {
    state.is_base_known && state.base_at.is_none()
}

/// Returns the problems.
pub(super) fn list_problems(context: &BackupContext, state: &Values) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |kind, text| problems.push(Problem { kind, text });
    if let Some(location) = &context.settings.location {
        let behind = seconds_behind(context, state);
        if let Some(stopped) = &state.stopped {
            add(ProblemKind::Stopped, stopped.clone());
        } else if behind.is_some_and(|seconds| seconds >= LATE_AFTER.get() / 1000)
            || (state.upload_error.is_some() && is_late_start(context, state))
        {
            let loss = behind.map_or_else(
                || "nothing is backed up at the moment".to_owned(),
                |seconds| format!("if this machine is lost now, the last {seconds} s are lost"),
            );
            let why = state.upload_error.as_ref().map_or_else(
                || {
                    if lacks_base(state) {
                        " (the first base is not complete)".to_owned()
                    } else {
                        String::new()
                    }
                },
                |error| format!(" ({error})"),
            );
            let text = format!("the backup to {location} is late{why}: {loss}");
            add(ProblemKind::Late, text);
        }
        if let Some(error) = state
            .base_error
            .as_ref()
            .filter(|_| state.stopped.is_none())
        {
            let text =
                format!("the base of the backup to {location} failed ({error}): it is tried again");
            add(ProblemKind::Base, text);
        }
        if let Some(error) = &state.removal_error {
            let text = format!(
                "old objects in {location} can't be removed ({error}): the key needs the permission to delete"
            );
            add(ProblemKind::Removal, text);
        }
        if let Some((at, reason)) = state.gap {
            let text = format!(
                "the backup to {location} has a gap since {at}, because {reason}: until the next base is complete, restore reaches only \
                 to the gap"
            );
            add(ProblemKind::Gap, text);
        }
    }
    if let Some(error) = &state.copy_error {
        let text = format!("the copy of the data file failed: {error}");
        add(ProblemKind::Copy, text);
    }
    problems
}

/// Returns `true` if nothing was reached since the start, or for a long time.
fn is_late_start(context: &BackupContext, state: &Values) -> bool {
    state
        .reached_at
        .is_none_or(|at| context.clock.now().since(at) >= LATE_AFTER)
}

/// Returns `true` if the task that notices problems of this kind has succeeded since the start.
/// Only then the absence of a problem means that it is over.
const fn is_known(kind: ProblemKind, state: &Values) -> bool {
    match kind {
        ProblemKind::Stopped => state.reached_at.is_some(),
        ProblemKind::Late | ProblemKind::Base => state.reached_at.is_some() && state.is_base_known,
        ProblemKind::Removal | ProblemKind::Gap => state.base_at.is_some(),
        ProblemKind::Copy => state.is_copy_known,
    }
}

/// Problems that have caused an alert, as they are stored. A file that was restored elsewhere has
/// another epoch, and begins without alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Alerted {
    epoch: Option<u32>,
    kinds: BTreeSet<ProblemKind>,
}

/// Task that emits alerts.
pub(super) struct BackupMonitor {
    context: BackupContext,
    /// `None`: not read yet.
    alerted: Option<Alerted>,
}

impl BackupMonitor {
    pub(super) const fn new(context: BackupContext) -> Self {
        Self {
            context,
            alerted: None,
        }
    }

    /// Emits an alert for each problem that is new. A problem that is over may cause one again.
    pub(super) fn step(&mut self) {
        let context = self.context.clone();
        let state = context.state.read();
        if let Some(seconds) = seconds_behind(&context, &state) {
            metrics::gauge!("flowgate_backup_behind_seconds")
                .set(f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)));
        }
        // The next step tries again.
        let Ok((header, _)) = context.store.change_log_state() else {
            return;
        };
        let epoch = header.lineage.map(|lineage| lineage.epoch);
        let Some(mut alerted) = self.read_alerted(epoch) else {
            return;
        };
        let problems = list_problems(&context, &state);
        let is_present = |kind| problems.iter().any(|problem| problem.kind == kind);
        let mut lasting = alerted.clone();
        lasting.epoch = epoch;
        lasting
            .kinds
            .retain(|kind| is_present(*kind) || !is_known(*kind, &state));
        let has_kinds = !alerted.kinds.is_empty();
        if has_kinds && lasting != alerted {
            if !self.record(None, &lasting) {
                return;
            }
            if lasting.kinds.len() < alerted.kinds.len() {
                tracing::info!("a problem of the backups is over");
            }
        }
        alerted = lasting;
        for Problem { kind, text } in problems {
            let mut more = alerted.clone();
            if more.kinds.insert(kind) {
                tracing::error!("{text}");
                if self.record(Some(text), &more) {
                    alerted = more;
                }
            }
        }
        self.alerted = Some(alerted);
    }

    /// Returns the recorded alerts. Returns `None` if the file can't be read.
    fn read_alerted(&self, epoch: Option<u32>) -> Option<Alerted> {
        if let Some(alerted) = &self.alerted {
            return Some(alerted.clone());
        }
        let bytes = self.context.store.backup_alerts().ok()?;
        let stored = serde_json::from_slice(&bytes.unwrap_or_default());
        let stored = stored.ok().filter(|stored: &Alerted| stored.epoch == epoch);
        Some(stored.unwrap_or_default())
    }

    fn record(&self, reason: Option<String>, alerted: &Alerted) -> bool {
        let alerted = serde_json::to_vec(alerted).unwrap_or_default();
        let record = RecordBackupAlerts { reason, alerted };
        self.context.store.execute_blocking(record).is_ok()
    }
}
