//! Finds the problems of the backups, for `flowgate status`, and emits an alert for each new one.

use std::collections::BTreeSet;

use super::context::BackupContext;
use super::state::{LATE_AFTER, Values};
use crate::store::RecordBackupProblem;

/// Returns the age of the oldest commit that is not in the backup, in seconds. Returns `None`
/// without a continuous backup.
pub(super) fn seconds_behind(context: &BackupContext, state: &Values) -> Option<u64> {
    context.settings.location.as_ref()?;
    let oldest = context.store.oldest_waiting_commit(state.uploaded).ok()??;
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

/// Returns the problems, one sentence each.
pub(super) fn list_problems(context: &BackupContext, state: &Values) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(location) = &context.settings.location {
        let why = |error: &Option<String>| {
            error
                .as_ref()
                .map_or(String::new(), |error| format!(" ({error})"))
        };
        let behind = seconds_behind(context, state);
        if let Some(stopped) = &state.stopped {
            problems.push(stopped.clone());
        } else if behind.is_some_and(|seconds| seconds >= LATE_AFTER.get() / 1000)
            || (state.upload_error.is_some() && is_late_start(context, state))
        {
            let loss = behind.map_or_else(
                || "nothing is backed up at the moment".to_owned(),
                |seconds| format!("if this machine is lost now, the last {seconds} s are lost"),
            );
            problems.push(format!(
                "the backup to {location} is late{}: {loss}",
                why(&state.upload_error)
            ));
        }
        if state.stopped.is_none() && state.base_error.is_some() {
            problems.push(format!(
                "the base of the backup to {location} failed{}: it is tried again",
                why(&state.base_error)
            ));
        }
        if let Some(lost_at) = state.log_lost_at {
            problems.push(format!(
                "the backup to {location} has a gap since {lost_at}, because more commits waited than backup.max_change_log allows: until \
                 the next base is complete, restore reaches only to the gap"
            ));
        }
    }
    if let Some(error) = &state.copy_error {
        problems.push(format!("the copy of the data file failed: {error}"));
    }
    problems
}

/// Returns `true` if nothing was reached since the start, or for a long time.
fn is_late_start(context: &BackupContext, state: &Values) -> bool {
    state
        .reached_at
        .is_none_or(|at| context.clock.now().since(at) >= LATE_AFTER)
}

/// Task that emits alerts.
pub(super) struct BackupMonitor {
    context: BackupContext,
    /// Kinds of the problems that have caused an alert, by their first words.
    alerted: BTreeSet<String>,
}

impl BackupMonitor {
    pub(super) const fn new(context: BackupContext) -> Self {
        Self {
            context,
            alerted: BTreeSet::new(),
        }
    }

    /// Emits an alert for each problem that is new. A problem that is over may cause one again.
    pub(super) fn step(&mut self) {
        let context = &self.context;
        let state = context.state.read();
        if let Some(seconds) = seconds_behind(context, &state) {
            metrics::gauge!("flowgate_backup_behind_seconds")
                .set(f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)));
        }
        let problems = list_problems(context, &state);
        let kind = |problem: &str| problem.chars().take_while(|c| *c != '(').take(30).collect();
        let kinds: BTreeSet<String> = problems.iter().map(|problem| kind(problem)).collect();
        self.alerted.retain(|known| kinds.contains(known));
        for problem in problems {
            let kind = kind(&problem);
            if self.alerted.contains(&kind) {
                continue;
            }
            let reason = problem.clone();
            tracing::error!("{problem}");
            // The next step tries again.
            if context
                .store
                .execute_blocking(RecordBackupProblem { reason })
                .is_ok()
            {
                self.alerted.insert(kind);
            }
        }
    }
}
