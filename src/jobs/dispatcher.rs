//! Dispatches due jobs, each job once, and tracks the jobs in flight.
//!
//! [`Dispatcher::step`] never waits. [`Dispatcher::run`] is the short loop that waits. The order in
//! a step matters: the dispatcher first reads the results of finished jobs, then takes a snapshot.
//! In that snapshot, a finished job has left the schedule or has its next due time. In the opposite
//! order, a job could run twice.
//!
//! After a crash, suspects run first, one at a time, and no other job runs beside them. If the
//! process crashes again, the suspect that was running is the cause.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::Clock;
use crate::domain::ids::{AgentName, JobId, LeadId, SubmissionId};
use crate::domain::time::{Millis, Timestamp};
use crate::reloadable::Reloadable;
use crate::store::{FinishOutcome, Snapshot, Store, StoreError};

use super::lease::{InFlightJobs, JobLease, JobTask, LeaseResult};
use super::settings::JobSettings;

/// Interval at which the dispatcher reads the schedule from its start. Between two of these reads,
/// the dispatcher continues from its last position and misses jobs before this position: a retry
/// after a very short delay, or a job that a failed commit left due.
const RESCAN_INTERVAL: Duration = Duration::from_secs(1);

/// Time for which a job is quarantined because one of its rows is damaged, although the file is
/// open.
const QUARANTINE: Duration = Duration::from_mins(1);

/// Maximum number of entries of the schedule read at once.
const PAGE_ROWS: usize = 256;

/// Minimum difference between the expected and the actual wall clock that counts as a step back.
const CLOCK_STEP_BACK: Millis = Millis::from_secs(1);

/// Position in the schedule: due time and ID of a job.
type SchedulePosition = (Timestamp, JobId);

/// Sends due jobs to the workers, and handles their results.
pub(crate) struct Dispatcher {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Settings. The dispatcher uses only the longest delay of a retry.
    settings: Reloadable<JobSettings>,
    tasks: Sender<JobTask>,
    result_sender: Sender<(JobId, LeaseResult)>,
    results: Receiver<(JobId, LeaseResult)>,
    wakeups: Receiver<()>,
    in_flight: InFlightJobs,
    max_in_flight: usize,
    /// Last position that was read among due jobs.
    cursor: Option<SchedulePosition>,
    /// Time of the next read from the start of the schedule, by the process clock.
    rescan_at: Duration,
    /// Last position that was read among later jobs, during the search for jobs that should already
    /// be due. `None`: no search is in progress.
    skew_cursor: Option<SchedulePosition>,
    /// Quarantined jobs, and the end of their quarantine, by the process clock.
    quarantined: HashMap<JobId, Duration>,
    /// Time until which no job is dispatched because the store accepts nothing, by the process
    /// clock.
    paused_until: Duration,
    suspects: VecDeque<JobId>,
    /// Suspect in flight. `None`: no suspect is in flight.
    running_suspect: Option<JobId>,
    /// Readings of the wall clock and the process clock at the last step.
    last_clocks: (Timestamp, Duration),
}

impl Dispatcher {
    /// Creates a dispatcher for the jobs of `store`, which must be open. Also returns the channel
    /// from which workers receive the jobs. `max_in_flight` is the maximum number of jobs in
    /// flight; 0 counts as 1.
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        max_in_flight: usize,
        settings: Reloadable<JobSettings>,
    ) -> (Self, Receiver<JobTask>) {
        let max_in_flight = max_in_flight.max(1);
        let (tasks, for_workers) = bounded(max_in_flight);
        let (result_sender, results) = bounded(max_in_flight);
        let (wake, woken) = bounded(1);
        store.on_job_due(wake);
        let suspects = VecDeque::from(store.suspect_jobs());
        if !suspects.is_empty() {
            tracing::warn!(
                jobs.suspect = suspects.len(),
                "unclean shutdown: jobs that may have been running run first, one at a time"
            );
        }
        let last = (clock.now(), clock.elapsed());
        let dispatcher = Self {
            store,
            clock,
            settings,
            tasks,
            result_sender,
            results,
            wakeups: woken,
            in_flight: InFlightJobs::default(),
            max_in_flight,
            cursor: None,
            rescan_at: last.1.saturating_add(RESCAN_INTERVAL),
            skew_cursor: Some(after_due(last.0)),
            quarantined: HashMap::new(),
            paused_until: Duration::ZERO,
            suspects,
            running_suspect: None,
            last_clocks: last,
        };
        (dispatcher, for_workers)
    }

    /// Returns a shared view of the jobs in flight.
    pub(crate) fn in_flight(&self) -> InFlightJobs {
        self.in_flight.clone()
    }

    /// Dispatches jobs until `stop` closes.
    pub(crate) fn run(mut self, stop: &Receiver<Infallible>) {
        loop {
            let pause = self.step();
            select! {
                recv(stop) -> _ => return,
                recv(self.wakeups) -> _ => {}
                recv(self.results) -> ended => {
                    if let Ok((job, ending)) = ended {
                        self.on_released(job, ending);
                    }
                }
                default(pause) => {}
            }
        }
    }

    /// Reads results, then dispatches due jobs. Returns the time until the next step, unless a job
    /// is scheduled or finishes earlier.
    pub(crate) fn step(&mut self) -> Duration {
        while let Ok((job, ending)) = self.results.try_recv() {
            self.on_released(job, ending);
        }
        let now = self.read_clocks();
        let paused = self.paused_until.saturating_sub(self.last_clocks.1);
        if !paused.is_zero() {
            return paused;
        }
        let store = self.store.clone();
        let pause = store.read_with(|snapshot| self.dispatch_from(&snapshot, now));
        metrics::gauge!("flowgate_jobs_queue_depth")
            .set(u32::try_from(self.tasks.len()).unwrap_or(u32::MAX));
        pause.unwrap_or_else(|error| {
            if !error.is_unavailable() {
                tracing::error!(error = %error, "the job schedule can't be read: no jobs are started");
            }
            RESCAN_INTERVAL
        })
    }

    fn dispatch_from(
        &mut self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Duration, StoreError> {
        if self.dispatch_suspect() {
            return Ok(RESCAN_INTERVAL);
        }
        if !self.dispatch_due(snapshot, now)? || !self.dispatch_skewed(snapshot, now)? {
            // No slot is free. The next result ends the pause.
            return Ok(RESCAN_INTERVAL);
        }
        if self.skew_cursor.is_some() {
            return Ok(Duration::ZERO);
        }
        let next = snapshot.due_jobs(self.cursor, Timestamp::MAX, 1)?;
        let pause = next.first().map_or(RESCAN_INTERVAL, |(at, _)| {
            at.since(now).max(Millis::new(1)).to_duration()
        });
        Ok(pause.min(RESCAN_INTERVAL))
    }

    /// Dispatches the next suspect if none is in flight. Returns `true` while a suspect is in
    /// flight, so that other jobs must wait.
    fn dispatch_suspect(&mut self) -> bool {
        while self.running_suspect.is_none()
            && let Some(job) = self.suspects.pop_front()
        {
            self.running_suspect = self.dispatch(job, true).then_some(job);
        }
        self.running_suspect.is_some()
    }

    /// Dispatches the jobs that are due now. Returns `false` if no slot is free for more.
    fn dispatch_due(&mut self, snapshot: &Snapshot, now: Timestamp) -> Result<bool, StoreError> {
        loop {
            let places = self.free_slots();
            if places == 0 {
                return Ok(false);
            }
            let most = places.min(PAGE_ROWS);
            let due = snapshot.due_jobs(self.cursor, now, most)?;
            for entry in &due {
                self.cursor = Some(*entry);
                self.dispatch(entry.1, false);
            }
            if due.len() < most {
                return Ok(true);
            }
        }
    }

    /// Searches the later part of the schedule for jobs that should already be due. A clock that
    /// was ahead wrote their due times and was set back since. Without this search, such jobs could
    /// be late by days. Returns `false` if no slot is free for more.
    fn dispatch_skewed(&mut self, snapshot: &Snapshot, now: Timestamp) -> Result<bool, StoreError> {
        let Some(after) = self.skew_cursor else {
            return Ok(true);
        };
        let later = snapshot.due_jobs(Some(after), Timestamp::MAX, PAGE_ROWS)?;
        let longest = self.settings.load().retry.longest_delay();
        for entry in &later {
            if self.free_slots() == 0 {
                return Ok(false);
            }
            // An unreadable job is reported when it is due.
            let job = match snapshot.job(entry.1) {
                Err(error) if error.affects_one_row() => None,
                job => job?,
            };
            if job.is_some_and(|job| job.has_future_skew(now, longest)) {
                self.dispatch(entry.1, false);
            }
            self.skew_cursor = Some(*entry);
        }
        if later.len() < PAGE_ROWS {
            self.skew_cursor = None;
        }
        Ok(true)
    }

    /// Returns the number of jobs that may still be dispatched.
    fn free_slots(&self) -> usize {
        self.max_in_flight.saturating_sub(self.in_flight.len())
    }

    /// Dispatches a job. Returns `false` if the job is in flight or quarantined.
    fn dispatch(&mut self, job: JobId, is_suspect: bool) -> bool {
        if self.quarantined.contains_key(&job) || !self.in_flight.insert(job) {
            return false;
        }
        let lease = JobLease::new(job, self.result_sender.clone());
        // The channel has a place for each job in flight. If no worker exists, the channel drops
        // the task. The dropped lease then releases the job.
        let _ = self.tasks.try_send(JobTask { lease, is_suspect });
        true
    }

    /// Handles the result of a job.
    fn on_released(&mut self, job: JobId, ending: LeaseResult) {
        self.in_flight.remove(job);
        self.running_suspect.take_if(|alone| *alone == job);
        match ending {
            LeaseResult::Released => {}
            LeaseResult::Done(finished) => log_done(job, &finished),
            LeaseResult::MarkFailed(error) => {
                if error.is_unavailable() {
                    self.suspects.push_front(job);
                }
                self.postpone(job, &error);
            }
            LeaseResult::CommitFailed(error) => self.postpone(job, &error),
        }
    }

    /// Delays the next dispatch after an error. Pauses all jobs if the store accepts nothing, and
    /// otherwise quarantines only `job`.
    fn postpone(&mut self, job: JobId, error: &StoreError) {
        if error.is_unavailable() {
            self.paused_until = self.clock.elapsed().saturating_add(RESCAN_INTERVAL);
            // The due time of this job may be later, from a clock that was ahead. Only the search
            // of the later schedule finds such a job again.
            self.skew_cursor = Some(after_due(self.last_clocks.0));
            return;
        }
        tracing::error!(job.id = job.get(), error = %error, "a job can't be run: the next try is in one minute");
        if self.quarantined.len() < self.max_in_flight {
            self.quarantined
                .insert(job, self.clock.elapsed().saturating_add(QUARANTINE));
        }
    }

    /// Reads both clocks and returns the wall-clock time. Restarts the read of the schedule after
    /// each [`RESCAN_INTERVAL`]. Starts a search of the later part of the schedule if the wall
    /// clock was set back.
    fn read_clocks(&mut self) -> Timestamp {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let since_last = Millis::from_duration(elapsed.saturating_sub(self.last_clocks.1));
        let expected = self.last_clocks.0.plus(since_last);
        if now.plus(CLOCK_STEP_BACK) < expected {
            tracing::warn!(clock.now = %now, clock.expected = %expected, "the system clock was set back");
            self.skew_cursor = Some(after_due(now));
            self.rescan_at = elapsed;
        }
        if elapsed >= self.rescan_at {
            self.rescan_at = elapsed.saturating_add(RESCAN_INTERVAL);
            self.cursor = None;
            self.quarantined.retain(|_, until| *until > elapsed);
        }
        self.last_clocks = (now, elapsed);
        now
    }
}

/// Returns the position after all jobs that are due at `now`.
const fn after_due(now: Timestamp) -> SchedulePosition {
    (now, JobId::new(u64::MAX))
}

fn log_done(job: JobId, finished: &FinishOutcome) {
    match finished {
        FinishOutcome::Done {
            submission_id: submission,
            lead_id: lead,
            agent,
        } => tracing::info!(
            job.id = job.get(),
            submission.id = submission.map(SubmissionId::get),
            lead.id = lead.map(LeadId::get),
            agent = agent.as_ref().map(AgentName::as_str),
            "job done"
        ),
        FinishOutcome::AlreadyFinished => {
            tracing::debug!(job.id = job.get(), "the job was already finished");
        }
        FinishOutcome::DeadLettered { reason } => {
            tracing::error!(
                job.id = job.get(),
                error = reason,
                "a retried message is a dead letter again, because a row that it needs is damaged: \
                 run `flowgate check`"
            );
        }
    }
}
