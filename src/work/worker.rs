//! A worker: runs one job after the other, and keeps the failure of each to itself.
//!
//! What a job does is the [`Handler`]'s to say. Whatever comes of it, a panic included, becomes one attempt with an
//! outcome, and goes to the store together with it. The worker never waits for that commit: the job's hold goes along
//! and comes back to the feeder after it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use crate::clock::{Clock, Entropy};
use crate::current::Current;
use crate::domain::ids::JobId;
use crate::domain::job::{Attempt, Job, JobKind, JobState};
use crate::domain::retry::Verdict;
use crate::domain::time::{Millis, Timestamp};
use crate::guard::guarded;
use crate::store::{Fail, Finish, FinishMessage, Finished, MarkSuspect, Snapshot, Store, StoreError, Suspect, Timing};

use super::out::{Ending, Hold, Task};
use super::process::{JobError, Outcome};
use super::rules::Rules;

/// What jobs do. The seam between running a job and the job itself.
pub(super) trait Handler: Send + Sync {
    /// Runs `job`: reads and decides; what is to be written is in the outcome.
    ///
    /// # Errors
    /// Why this attempt failed.
    fn run(&self, snapshot: &Snapshot, id: JobId, job: &Job) -> Result<Outcome, JobError>;
}

/// Runs jobs on a thread of its own.
pub(super) struct Worker {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) rules: Current<Rules>,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) tasks: Receiver<Task>,
    /// Closes when it is time to end.
    pub(super) stop: Receiver<Infallible>,
}

/// When an attempt began, by both clocks.
#[derive(Clone, Copy)]
struct Begun {
    at: Timestamp,
    elapsed: Duration,
}

impl Worker {
    /// Takes jobs until the feeder is gone. Once it is time to end, those that were only handed out are left due.
    pub(super) fn run(&self) {
        for task in &self.tasks {
            if self.stop.try_recv() != Err(TryRecvError::Disconnected) {
                self.run_one(task);
            }
        }
    }

    /// Runs one job and hands its outcome to the store.
    pub(super) fn run_one(&self, Task { hold, is_suspect }: Task) {
        if is_suspect && let Err(ending) = self.mark(hold.job()) {
            return hold.end(ending);
        }
        let begun = Begun { at: self.clock.now(), elapsed: self.clock.elapsed() };
        let (snapshot, job) = match self.find(hold.job()) {
            Ok(Some((snapshot, job))) => (snapshot, job),
            // It came to its end after the feeder's snapshot.
            Ok(None) => return,
            Err(error) => return hold.end(Ending::Unstored(error)),
        };
        metrics::histogram!("flowgate_job_lag_seconds").record(begun.at.since(job.due_at).to_duration().as_secs_f64());
        let result = guarded(|| self.handler.run(&snapshot, hold.job(), &job));
        drop(snapshot);
        match result.unwrap_or_else(|panic| Err(JobError::Panicked(panic))) {
            Ok(outcome) => self.succeed(hold, &job, begun, outcome),
            Err(error) => self.fail(hold, &job, begun, &error),
        }
    }

    /// Notes that a suspect is about to run. Waits for the commit: a crash must find the mark on disk.
    fn mark(&self, job: JobId) -> Result<(), Ending> {
        match self.store.ask(MarkSuspect { job }) {
            Ok(Suspect::Run) => Ok(()),
            Ok(Suspect::Over) => Err(Ending::Free),
            Ok(Suspect::Buried) => {
                tracing::error!(job.id = job.get(), "a job took the process down too often: it is a dead letter now");
                Err(Ending::Free)
            }
            Err(error) => Err(Ending::Unmarked(error)),
        }
    }

    /// The job, if it still waits to be run, and the file as it is now.
    fn find(&self, job: JobId) -> Result<Option<(Snapshot, Job)>, StoreError> {
        self.store.look(|snapshot| {
            let job = snapshot.job(job)?.filter(|job| job.state == JobState::Scheduled);
            Ok(job.map(|job| (snapshot, job)))
        })
    }

    fn succeed(&self, hold: Hold, job: &Job, begun: Begun, outcome: Outcome) {
        let attempt = self.attempt(job, begun, None);
        let (id, kind, took) = (hold.job(), job.kind, attempt.took);
        let told = move |result: Result<Finished, StoreError>, _: Timing| {
            match result {
                Ok(Finished::Done { .. }) => count(kind, "done", took),
                Ok(Finished::Buried { .. }) => count(kind, "dead", took),
                Ok(Finished::AlreadyOver) | Err(_) => {}
            }
            hold.end(result.map_or_else(Ending::Unstored, Ending::Done));
        };
        match outcome {
            Outcome::Carried { lead } => self.store.send(Finish { job: id, attempt, lead }, told),
            Outcome::Read { form } => self.store.send(FinishMessage { job: id, attempt, form }, told),
        }
    }

    fn fail(&self, hold: Hold, job: &Job, begun: Begun, error: &JobError) {
        let attempt = self.attempt(job, begun, Some(error.to_string()));
        let failed = job.attempts_since_revival.saturating_add(1);
        let verdict = if error.is_final() {
            Verdict::Dead
        } else {
            self.rules.get().retry.after(failed, self.entropy.fraction(), None, self.clock.now())
        };
        let id = hold.job();
        let (kind, number) = (job.kind.as_str(), attempt.number);
        match verdict {
            Verdict::Again { at } => {
                count(job.kind, "failed", attempt.took);
                tracing::warn!(job.id = id.get(), job.kind = kind, job.attempt = number, job.next_at = %at, error = %error, "a job failed and will be tried again");
            }
            Verdict::Dead => {
                count(job.kind, "dead", attempt.took);
                tracing::error!(job.id = id.get(), job.kind = kind, job.attempt = number, error = %error, "a job failed and will not be tried again: it is a dead letter now");
            }
        }
        self.store.send(Fail { job: id, attempt, verdict }, move |result, _| {
            hold.end(result.map_or_else(Ending::Unstored, |_| Ending::Free));
        });
    }

    fn attempt(&self, job: &Job, begun: Begun, error: Option<String>) -> Attempt {
        let took = self.clock.elapsed().saturating_sub(begun.elapsed);
        let took = Millis::new(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        Attempt { number: job.attempts.saturating_add(1), started_at: begun.at, took, error }
    }
}

fn count(kind: JobKind, outcome: &'static str, took: Millis) {
    let kind = kind.as_str();
    metrics::counter!("flowgate_jobs_attempts_total", "kind" => kind, "outcome" => outcome).increment(1);
    metrics::histogram!("flowgate_job_seconds", "kind" => kind).record(took.to_duration().as_secs_f64());
}
