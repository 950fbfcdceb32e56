//! The feeder: hands out what is due, each job once, and remembers what is out.
//!
//! [`Feeder::step`] never waits; [`Feeder::run`] is the few lines that do. The order in a step matters: first hear what
//! is over, then take a snapshot. A job that is over is then gone from the snapshot's schedule, or stands there under
//! its next due time; the other way round it could run twice.
//!
//! After an unclean end the suspects come first, one at a time and nothing beside them: only then does another crash
//! say which of them it was.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::Clock;
use crate::current::Current;
use crate::domain::ids::{AgentName, JobId, LeadId, SubmissionId};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Finished, Snapshot, Store, StoreError};

use super::out::{Ending, Hold, Out, Task};
use super::rules::Rules;

/// The schedule is read from its beginning this often. In between it is read on from where the last look ended, which
/// misses what was scheduled left of it: a retry after a very short delay, a job that a failed commit left due.
const RESCAN: Duration = Duration::from_secs(1);

/// How long a job is left alone that can't be read or written though the file is open: one of its rows is damaged.
const ASIDE: Duration = Duration::from_mins(1);

/// Entries of the schedule read at once.
const CHUNK: usize = 256;

/// A wall clock that shows this much less than it should was set back.
const SET_BACK: Millis = Millis::from_secs(1);

/// A place in the schedule: when a job is due, and which.
type Due = (Timestamp, JobId);

/// Hands out jobs.
pub(super) struct Feeder {
    store: Store,
    clock: Arc<dyn Clock>,
    /// How long the longest delay of a retry is.
    rules: Current<Rules>,
    tasks: Sender<Task>,
    tell: Sender<(JobId, Ending)>,
    told: Receiver<(JobId, Ending)>,
    woken: Receiver<()>,
    out: Out,
    out_max: usize,
    /// What was looked at last of what is due.
    cursor: Option<Due>,
    /// When the schedule is read from its beginning again, by the process clock.
    rescan_at: Duration,
    /// What was looked at last of what lies ahead, while that is searched for jobs that should be due.
    ahead: Option<Due>,
    /// Jobs left alone, and until when.
    aside: HashMap<JobId, Duration>,
    /// The store takes nothing: nothing is handed out until then.
    pause_until: Duration,
    suspects: VecDeque<JobId>,
    /// The suspect that is out.
    alone: Option<JobId>,
    /// Both clocks at the last step.
    last: (Timestamp, Duration),
}

impl Feeder {
    /// A feeder for the jobs of `store`, which must be open, and the channel from which workers take them. `out_max`
    /// jobs are out at the most.
    pub(super) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        out_max: usize,
        rules: Current<Rules>,
    ) -> (Self, Receiver<Task>) {
        let out_max = out_max.max(1);
        let (tasks, for_workers) = bounded(out_max);
        let (tell, told) = bounded(out_max);
        let (wake, woken) = bounded(1);
        store.wake_on_due(wake);
        let suspects = VecDeque::from(store.suspects());
        if !suspects.is_empty() {
            tracing::warn!(
                jobs.suspect = suspects.len(),
                "after an unclean end: what may have been running goes first, one job at a time"
            );
        }
        let last = (clock.now(), clock.elapsed());
        let feeder = Self {
            store,
            clock,
            rules,
            tasks,
            tell,
            told,
            woken,
            out: Out::default(),
            out_max,
            cursor: None,
            rescan_at: last.1.saturating_add(RESCAN),
            ahead: Some(behind(last.0)),
            aside: HashMap::new(),
            pause_until: Duration::ZERO,
            suspects,
            alone: None,
            last,
        };
        (feeder, for_workers)
    }

    /// Which jobs are out, as it changes.
    pub(super) fn out(&self) -> Out {
        self.out.clone()
    }

    /// Hands out jobs until `stop` closes.
    pub(super) fn run(mut self, stop: &Receiver<Infallible>) {
        loop {
            let pause = self.step();
            select! {
                recv(stop) -> _ => return,
                recv(self.woken) -> _ => {}
                recv(self.told) -> ended => {
                    if let Ok((job, ending)) = ended {
                        self.note(job, ending);
                    }
                }
                default(pause) => {}
            }
        }
    }

    /// Hears what is over, then hands out what is due. Returns how long nothing needs to be done, unless a job is
    /// scheduled or comes back.
    pub(super) fn step(&mut self) -> Duration {
        while let Ok((job, ending)) = self.told.try_recv() {
            self.note(job, ending);
        }
        let now = self.look_at_clocks();
        let paused = self.pause_until.saturating_sub(self.last.1);
        if !paused.is_zero() {
            return paused;
        }
        let store = self.store.clone();
        let pause = store.look(|snapshot| self.hand_out(&snapshot, now));
        metrics::gauge!("flowgate_jobs_queue_depth").set(u32::try_from(self.tasks.len()).unwrap_or(u32::MAX));
        pause.unwrap_or_else(|error| {
            if !error.is_of_closed_store() {
                tracing::error!(error = %error, "the schedule can't be read: no job is handed out");
            }
            RESCAN
        })
    }

    fn hand_out(&mut self, snapshot: &Snapshot, now: Timestamp) -> Result<Duration, StoreError> {
        if self.is_busy_with_suspects() {
            return Ok(RESCAN);
        }
        if !self.hand_out_due(snapshot, now)? || !self.search_ahead(snapshot, now)? {
            // Every place is taken: a job that comes back ends the pause.
            return Ok(RESCAN);
        }
        if self.ahead.is_some() {
            return Ok(Duration::ZERO);
        }
        let next = snapshot.due(self.cursor, Timestamp::MAX, 1)?;
        let pause = next.first().map_or(RESCAN, |(at, _)| at.since(now).max(Millis::new(1)).to_duration());
        Ok(pause.min(RESCAN))
    }

    /// Whether suspects keep everybody else waiting. Hands out the next one if none is out.
    fn is_busy_with_suspects(&mut self) -> bool {
        while self.alone.is_none()
            && let Some(job) = self.suspects.pop_front()
        {
            self.alone = self.give(job, true).then_some(job);
        }
        self.alone.is_some()
    }

    /// Hands out what is due by now. False: there is no place for more.
    fn hand_out_due(&mut self, snapshot: &Snapshot, now: Timestamp) -> Result<bool, StoreError> {
        loop {
            let places = self.places();
            if places == 0 {
                return Ok(false);
            }
            let most = places.min(CHUNK);
            let due = snapshot.due(self.cursor, now, most)?;
            for entry in &due {
                self.cursor = Some(*entry);
                self.give(entry.1, false);
            }
            if due.len() < most {
                return Ok(true);
            }
        }
    }

    /// Looks on among the jobs that are due later for those that should be due: a clock that ran ahead wrote their
    /// times, and was set back since. Waiting for it to get there again could take days. False: there is no place for more.
    fn search_ahead(&mut self, snapshot: &Snapshot, now: Timestamp) -> Result<bool, StoreError> {
        let Some(after) = self.ahead else { return Ok(true) };
        let later = snapshot.due(Some(after), Timestamp::MAX, CHUNK)?;
        let longest = self.rules.get().retry.overdue_horizon();
        for entry in &later {
            if self.places() == 0 {
                return Ok(false);
            }
            // One that can't be read is told when it is due.
            let job = match snapshot.job(entry.1) {
                Err(error) if error.is_of_one_change() => None,
                job => job?,
            };
            if job.is_some_and(|job| job.is_of_clock_ahead(now, longest)) {
                self.give(entry.1, false);
            }
            self.ahead = Some(*entry);
        }
        if later.len() < CHUNK {
            self.ahead = None;
        }
        Ok(true)
    }

    /// How many more may be out.
    fn places(&self) -> usize {
        self.out_max.saturating_sub(self.out.len())
    }

    /// Hands out a job. False: it is out already, or left alone.
    fn give(&mut self, job: JobId, is_suspect: bool) -> bool {
        if self.aside.contains_key(&job) || !self.out.insert(job) {
            return false;
        }
        let hold = Hold::new(job, self.tell.clone());
        // There is a place for each job that may be out. Without workers the task is dropped, and the job comes back.
        let _ = self.tasks.try_send(Task { hold, is_suspect });
        true
    }

    /// A job has come back.
    fn note(&mut self, job: JobId, ending: Ending) {
        self.out.remove(job);
        self.alone.take_if(|alone| *alone == job);
        match ending {
            Ending::Free => {}
            Ending::Done(finished) => log_done(job, &finished),
            Ending::Unmarked(error) => {
                if error.is_of_closed_store() {
                    self.suspects.push_front(job);
                }
                self.wait(job, &error);
            }
            Ending::Unstored(error) => self.wait(job, &error),
        }
    }

    /// Waits before `job` is handed out again: with all jobs where the store takes nothing, with this one otherwise.
    fn wait(&mut self, job: JobId, error: &StoreError) {
        if error.is_of_closed_store() {
            self.pause_until = self.clock.elapsed().saturating_add(RESCAN);
            // The job may be one of those that only a search finds.
            self.ahead = Some(behind(self.last.0));
            return;
        }
        tracing::error!(job.id = job.get(), error = %error, "a job can't be run: it is left alone for a minute");
        if self.aside.len() < self.out_max {
            self.aside.insert(job, self.clock.elapsed().saturating_add(ASIDE));
        }
    }

    /// What o'clock it is; whether the schedule is to be read from its beginning again, or what lies ahead searched.
    fn look_at_clocks(&mut self) -> Timestamp {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let went_by = u64::try_from(elapsed.saturating_sub(self.last.1).as_millis()).unwrap_or(u64::MAX);
        let expected = self.last.0.plus(Millis::new(went_by));
        if now.plus(SET_BACK) < expected {
            tracing::warn!(clock.now = %now, clock.expected = %expected, "the clock was set back");
            self.ahead = Some(behind(now));
            self.rescan_at = elapsed;
        }
        if elapsed >= self.rescan_at {
            self.rescan_at = elapsed.saturating_add(RESCAN);
            self.cursor = None;
            self.aside.retain(|_, until| *until > elapsed);
        }
        self.last = (now, elapsed);
        now
    }
}

/// The place behind all that is due at `now`.
const fn behind(now: Timestamp) -> Due {
    (now, JobId::new(u64::MAX))
}

fn log_done(job: JobId, finished: &Finished) {
    match finished {
        Finished::Done { submission, lead, agent } => tracing::info!(
            job.id = job.get(),
            submission.id = submission.map(SubmissionId::get),
            lead.id = lead.map(LeadId::get),
            agent = agent.as_ref().map(AgentName::as_str),
            "job done"
        ),
        Finished::AlreadyOver => tracing::debug!(job.id = job.get(), "the job was over already"),
        Finished::Buried { reason } => {
            tracing::error!(
                job.id = job.get(),
                error = reason,
                "a message needs a damaged row: it is a dead letter again"
            );
        }
    }
}
