//! Runs jobs on a worker thread, one after the other. A failure affects only its own job.
//!
//! Every result, including a panic, becomes one attempt. The worker sends the attempt and its
//! outcome to the store in one transaction. The worker does not wait for the commit: the job's
//! lease moves into the callback, which reports to the dispatcher.
//!
//! See [`JobHandler`] for what a job does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use crate::clock::{Clock, Entropy};
use crate::domain::ids::JobId;
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Attempt, Job, JobKind, JobState};
use crate::domain::time::{Millis, Timestamp};
use crate::panic::catch_panic;
use crate::reloadable::Reloadable;
use crate::store::{
    FailAttempt, FinishJob, FinishMessageJob, FinishOutcome, MarkSuspect, Snapshot, Store,
    StoreError, SuspectAction, Timing,
};

use super::handler::{JobError, JobHandler, JobOutcome};
use super::lease::{JobLease, JobTask, LeaseResult};
use super::settings::JobSettings;

/// Worker that runs jobs on its own thread.
pub(crate) struct Worker {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) settings: Reloadable<JobSettings>,
    pub(crate) handler: Arc<dyn JobHandler>,
    pub(crate) tasks: Receiver<JobTask>,
    /// Channel that closes at shutdown.
    pub(crate) stop: Receiver<Infallible>,
}

/// Start of an attempt, by the wall clock and the process clock.
#[derive(Clone, Copy)]
struct AttemptStart {
    started_at: Timestamp,
    elapsed: Duration,
}

impl Worker {
    /// Runs jobs until the dispatcher has ended. Dispatched jobs that have not started when the
    /// shutdown begins stay due.
    pub(crate) fn run(&self) {
        for task in &self.tasks {
            if self.stop.try_recv() != Err(TryRecvError::Disconnected) {
                self.run_task(task);
            }
        }
    }

    /// Runs one job and sends its outcome to the store.
    pub(crate) fn run_task(&self, JobTask { lease, is_suspect }: JobTask) {
        if is_suspect && let Err(ending) = self.mark_suspect(lease.job_id()) {
            return lease.finish(ending);
        }
        let begun = AttemptStart {
            started_at: self.clock.now(),
            elapsed: self.clock.elapsed(),
        };
        let (snapshot, job) = match self.find_scheduled(lease.job_id()) {
            Ok(Some((snapshot, job))) => (snapshot, job),
            // The job finished after the dispatcher took its snapshot.
            Ok(None) => return,
            Err(error) => return lease.finish(LeaseResult::CommitFailed(error)),
        };
        metrics::histogram!("flowgate_job_queue_delay_seconds").record(
            begun
                .started_at
                .since(job.due_at)
                .to_duration()
                .as_secs_f64(),
        );
        let result = catch_panic(|| self.handler.run(&snapshot, lease.job_id(), &job));
        drop(snapshot);
        match result.unwrap_or_else(|panic| Err(JobError::Panicked(panic))) {
            Ok(outcome) => self.complete(lease, &job, begun, outcome),
            Err(error) => self.fail(lease, &job, begun, &error),
        }
    }

    /// Marks a suspect that is about to run. Waits for the commit, so that a crash finds the mark
    /// on disk.
    fn mark_suspect(&self, job: JobId) -> Result<(), LeaseResult> {
        match self.store.execute_blocking(MarkSuspect { job_id: job }) {
            Ok(SuspectAction::Run) => Ok(()),
            Ok(SuspectAction::AlreadyFinished) => Err(LeaseResult::Released),
            Ok(SuspectAction::DeadLettered) => {
                tracing::error!(
                    job.id = job.get(),
                    "a job crashed the process too often and is a dead letter now"
                );
                Err(LeaseResult::Released)
            }
            Err(error) => Err(LeaseResult::MarkFailed(error)),
        }
    }

    /// Returns the job and a snapshot, or `None` if the job is not scheduled any more.
    fn find_scheduled(&self, job: JobId) -> Result<Option<(Snapshot, Job)>, StoreError> {
        self.store.read_with(|snapshot| {
            let job = snapshot
                .job(job)?
                .filter(|job| job.state == JobState::Scheduled);
            Ok(job.map(|job| (snapshot, job)))
        })
    }

    fn complete(&self, lease: JobLease, job: &Job, begun: AttemptStart, outcome: JobOutcome) {
        let attempt = self.new_attempt(job, begun, None);
        let (id, kind, took) = (lease.job_id(), job.kind, attempt.duration);
        let on_commit = move |result: Result<FinishOutcome, StoreError>, _: Timing| {
            match result {
                Ok(FinishOutcome::Done { .. }) => count_attempt(kind, "done", took),
                Ok(FinishOutcome::DeadLettered { .. }) => count_attempt(kind, "dead", took),
                Ok(FinishOutcome::AlreadyFinished) | Err(_) => {}
            }
            lease.finish(result.map_or_else(LeaseResult::CommitFailed, LeaseResult::Done));
        };
        match outcome {
            JobOutcome::SubmissionProcessed { lead } => self.store.submit(
                FinishJob {
                    job_id: id,
                    attempt,
                    lead,
                },
                on_commit,
            ),
            JobOutcome::MessageParsed { form } => self.store.submit(
                FinishMessageJob {
                    job_id: id,
                    attempt,
                    form,
                },
                on_commit,
            ),
        }
    }

    fn fail(&self, lease: JobLease, job: &Job, begun: AttemptStart, error: &JobError) {
        let attempt = self.new_attempt(job, begun, Some(error.to_string()));
        let failed = job.attempts_since_manual_retry.saturating_add(1);
        let verdict = if error.is_final() {
            RetryDecision::GiveUp
        } else {
            self.settings.load().retry.decide(
                failed,
                self.entropy.fraction(),
                None,
                self.clock.now(),
            )
        };
        let id = lease.job_id();
        let (kind, number) = (job.kind.as_str(), attempt.number);
        match verdict {
            RetryDecision::RetryAt { at } => {
                count_attempt(job.kind, "failed", attempt.duration);
                tracing::warn!(job.id = id.get(), job.kind = kind, job.attempt = number, job.next_at = %at, error = %error, "a job failed and will be retried");
            }
            RetryDecision::GiveUp => {
                count_attempt(job.kind, "dead", attempt.duration);
                tracing::error!(job.id = id.get(), job.kind = kind, job.attempt = number, error = %error, "a job failed for good and is a dead letter now: see `flowgate dead-letters list`");
            }
        }
        self.store.submit(
            FailAttempt {
                job_id: id,
                attempt,
                decision: verdict,
            },
            move |result, _| {
                lease.finish(
                    result.map_or_else(LeaseResult::CommitFailed, |_| LeaseResult::Released),
                );
            },
        );
    }

    fn new_attempt(&self, job: &Job, begun: AttemptStart, error: Option<String>) -> Attempt {
        let took = self.clock.elapsed().saturating_sub(begun.elapsed);
        let took = Millis::from_duration(took);
        Attempt {
            number: job.attempts.saturating_add(1),
            started_at: begun.started_at,
            duration: took,
            error,
        }
    }
}

fn count_attempt(kind: JobKind, outcome: &'static str, took: Millis) {
    let kind = kind.as_str();
    metrics::counter!("flowgate_job_attempts_total", "kind" => kind, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("flowgate_job_duration_seconds", "kind" => kind)
        .record(took.to_duration().as_secs_f64());
}
