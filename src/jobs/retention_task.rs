//! Runs periodic tasks by the clock. Each minute, a round removes rows past their retention, emits
//! events for abandoned drafts, and closes leads by their age. Each second, waiting leads go to
//! agents who have become available.
//!
//! This file only decides when a transaction runs. The work is done in slices with pauses, so that
//! no submission waits for a round.
//!
//! See `crate::store::tx::retention` for the rows that may be removed, and
//! [`crate::domain::lead::agent_pool`] for available agents.

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use crate::clock::Clock;
use crate::config::RetentionSettings;
use crate::reloadable::Reloadable;
use crate::store::{
    AssignWaitingLeads, PurgeCursor, PurgeSlice, Store, StoreError, resume_forgets,
};

use super::settings::JobSettings;

/// Time from the end of one round to the start of the next.
const ROUND_INTERVAL: Duration = Duration::from_mins(1);

/// Minimum and maximum pause between two slices. A pause is as long as the slice before it, which
/// leaves half of the writer's time to others.
const SLICE_PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(20)];

/// Minimum and maximum number of rows that one slice reads. A row costs between 10 µs and 500 µs,
/// depending on how much of the file is in memory. The size of a slice therefore follows the
/// duration of the previous one.
const SLICE_ROWS: [usize; 2] = [8, 1000];

/// Target duration of a slice with its commit: about the duration of a commit under load.
const SLICE_TIME: Duration = Duration::from_millis(5);

/// Interval at which waiting leads are assigned. A closed lead or a new limit of an agent does not
/// depend on this interval: these transactions assign waiting leads themselves.
const ASSIGN_INTERVAL: Duration = Duration::from_secs(1);

/// Periodic task that purges rows and assigns waiting leads.
pub(crate) struct RetentionTask {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Settings. The retention task uses the retention periods and the time after which a draft is
    /// abandoned.
    settings: Reloadable<JobSettings>,
    /// Position at which the round continues.
    cursor: PurgeCursor,
    /// Maximum number of rows of the next slice.
    max_rows: usize,
    /// Number of rows that the round could not read.
    unreadable: usize,
    /// First error of these rows.
    first_error: Option<String>,
    /// Time of the next slice, by the process clock.
    purge_at: Duration,
    assign_at: Duration,
}

impl RetentionTask {
    /// Creates a retention task whose first round starts at once.
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, rules: Reloadable<JobSettings>) -> Self {
        let now = clock.elapsed();
        Self {
            store,
            clock,
            settings: rules,
            cursor: PurgeCursor::Keys,
            max_rows: 64,
            unreadable: 0,
            first_error: None,
            purge_at: now,
            assign_at: now,
        }
    }

    /// Continues interrupted removals of customers, and then runs until `stop` closes.
    pub(crate) fn run(mut self, stop: &Receiver<Infallible>) {
        let is_stopped = || stop.try_recv() == Err(TryRecvError::Disconnected);
        if let Err(error) = resume_forgets(&self.store, &is_stopped) {
            let what = "the removal of a forgotten customer could not be continued";
            log_failure(what, &error, ROUND_INTERVAL);
        }
        while stop.recv_timeout(self.step()) == Err(RecvTimeoutError::Timeout) {}
    }

    /// Runs the transactions that are due and waits for their commits. Returns the time until the
    /// next one is due.
    pub(crate) fn step(&mut self) -> Duration {
        let now = self.clock.elapsed();
        if now >= self.assign_at {
            let pause = match self.assign_waiting_leads() {
                Ok(0) => ASSIGN_INTERVAL,
                Ok(_) => SLICE_PAUSE[1],
                Err(error) => log_failure(
                    "waiting leads could not be assigned",
                    &error,
                    ASSIGN_INTERVAL,
                ),
            };
            self.assign_at = now.saturating_add(pause);
        }
        if now >= self.purge_at {
            let began = self.clock.elapsed();
            let pause = match self.purge_slice() {
                Ok(Some(place)) => {
                    self.cursor = place;
                    let took = self.clock.elapsed().saturating_sub(began);
                    self.max_rows = next_slice_rows(self.max_rows, took);
                    took.clamp(SLICE_PAUSE[0], SLICE_PAUSE[1])
                }
                Ok(None) => {
                    self.cursor = PurgeCursor::Keys;
                    self.log_unreadable();
                    ROUND_INTERVAL
                }
                Err(error) => log_failure(
                    "rows past their retention could not be removed",
                    &error,
                    ROUND_INTERVAL,
                ),
            };
            self.purge_at = now.saturating_add(pause);
        }
        self.assign_at
            .min(self.purge_at)
            .saturating_sub(self.clock.elapsed())
    }

    /// Assigns waiting leads, and hands over the leads of removed agents. Returns the number of
    /// leads moved. If the number is not 0, more leads may remain.
    fn assign_waiting_leads(&self) -> Result<usize, StoreError> {
        // Usually there are no such leads. Without this check, the writer would wake up every
        // second.
        let counts = self.store.read_with(|snapshot| snapshot.counts())?;
        if counts.leads_unassigned == 0 && counts.pending_handovers == 0 {
            return Ok(0);
        }
        self.store.execute_blocking(AssignWaitingLeads)
    }

    /// Purges one slice. Returns the position of the next slice, or `None` at the end of the round.
    fn purge_slice(&mut self) -> Result<Option<PurgeCursor>, StoreError> {
        let rules = self.settings.load();
        let RetentionSettings {
            submissions,
            attempt_history: attempts,
            audit_log,
            ..
        } = rules.retention;
        let swept = self.store.execute_blocking(PurgeSlice {
            cursor: self.cursor,
            max_rows: self.max_rows,
            submission_retention: submissions,
            attempt_retention: attempts,
            audit_retention: audit_log,
            abandon_timeouts: rules.abandon_timeouts.clone(),
            close_timeouts: rules.close_timeouts.clone(),
        })?;
        metrics::counter!("flowgate_retention_deleted_rows_total")
            .increment(u64::try_from(swept.rows_removed).unwrap_or(u64::MAX));
        self.unreadable = self.unreadable.saturating_add(swept.unreadable_rows);
        self.first_error = self.first_error.take().or(swept.first_error);
        Ok(swept.next)
    }

    /// Logs once per round that rows were unreadable.
    fn log_unreadable(&mut self) {
        if let Some(error) = self.first_error.take() {
            let rows = mem::take(&mut self.unreadable);
            tracing::error!(
                rows,
                first_error = error,
                "rows past their retention can't be read and were not removed: run `flowgate check` to list them"
            );
        }
    }
}

/// Returns the size of the next slice, after a slice of at most `rows` rows that took `took`.
fn next_slice_rows(rows: usize, took: Duration) -> usize {
    // The size grows in small steps, because a slice of twice the rows could need twice the time.
    let rows = if took > SLICE_TIME {
        rows / 2
    } else {
        rows + rows / 4
    };
    rows.clamp(SLICE_ROWS[0], SLICE_ROWS[1])
}

/// Logs a failure and returns `pause`. If the store is unavailable, the failure is logged at debug
/// level, because the store has already logged the reason.
fn log_failure(what: &'static str, error: &StoreError, pause: Duration) -> Duration {
    if error.is_unavailable() {
        tracing::debug!(error = %error, "{what}");
    } else {
        tracing::error!(error = %error, "{what}");
    }
    pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_size_follows_the_time_that_the_last_slice_took() {
        let sizes = |took: u64| {
            let took = Duration::from_millis(took);
            std::iter::successors(Some(64), move |rows| Some(next_slice_rows(*rows, took)))
                .skip(1)
                .take(5)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(6), [32, 16, 8, 8, 8]);
        assert_eq!(sizes(5), [80, 100, 125, 156, 195]);
        assert_eq!(next_slice_rows(900, SLICE_TIME), 1000);
    }
}
