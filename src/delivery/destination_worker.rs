//! Runs the worker of one destination. The worker starts each due delivery once, within the
//! concurrency, rate and circuit breaker of the destination.
//!
//! A concurrency slot is free as soon as the receiver has accepted the delivery. The commit of the
//! result runs in parallel. Without this, the disk would limit the throughput. For example, eight
//! deliveries in flight and commits of 4 ms would allow at most 2000 deliveries per second.
//!
//! See [`super::ready_queue`] for the due deliveries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use crate::domain::circuit_breaker::{BreakerChange, CallPermit, CircuitBreaker};
use crate::domain::delivery::Disposition;
use crate::domain::ids::{DestinationName, JobId};
use crate::store::StoreError;

use super::attempt::{AttemptOutcome, DeliveryAttempt, RecordedAttempt};
use super::context::DeliveryContext;
use super::ready_queue::{POLL_INTERVAL, QUARANTINE, ReadyQueue};
use super::shared_rate_limit::SharedLimiter;
use super::stats::DeliveryStats;
use super::target::DeliveryTarget;

/// Maximum number of accepted deliveries whose result is not committed yet. After a crash, as many
/// deliveries may be sent a second time.
pub(crate) const COMMITTING_MAX: usize = 64;

/// Maximum pause at the request of a destination. If the destination asks for a longer pause, the
/// worker tries again after this time.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// Current config of a worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) target: Arc<DeliveryTarget>,
    /// Number of resumes by an admin. After a resume, the worker resets the breaker and the pause.
    pub(crate) resume_count: u64,
}

pub(crate) struct DestinationWorker {
    name: DestinationName,
    config_rx: watch::Receiver<WorkerConfig>,
    target: Arc<DeliveryTarget>,
    /// Resume count that this worker has applied. See [`WorkerConfig`].
    resume_count: u64,
    context: DeliveryContext,
    stats: DeliveryStats,
    wakeups: watch::Receiver<u64>,
    /// Deliveries in flight, by tokio task. The breaker's permit is stored here, so a panicking
    /// task can't lose it.
    in_flight: HashMap<Id, (Vec<JobId>, CallPermit)>,
    /// Tasks in `in_flight` whose delivery was accepted and whose result is not committed yet.
    committing: HashSet<Id>,
    /// Channel by which attempts report their accepted deliveries.
    accepted: (mpsc::UnboundedSender<Id>, mpsc::UnboundedReceiver<Id>),
    /// Due deliveries that are not started yet.
    ready_queue: ReadyQueue,
    breaker: CircuitBreaker,
    limiter: SharedLimiter,
    /// End of the pause that the destination asked for, by the process clock.
    paused_until: Duration,
}

impl DestinationWorker {
    pub(crate) fn new(
        name: DestinationName,
        config_rx: watch::Receiver<WorkerConfig>,
        context: DeliveryContext,
        stats: DeliveryStats,
        wakeups: watch::Receiver<u64>,
    ) -> Self {
        let WorkerConfig {
            target,
            resume_count,
        } = config_rx.borrow().clone();
        let breaker = CircuitBreaker::new(target.policy.breaker);
        let limiter = context.limiters.for_target(&target);
        let ready_queue = ReadyQueue::new(name.clone(), &context);
        // The statistics contain idle destinations, too.
        stats.register(&name);
        Self {
            name,
            config_rx,
            target,
            resume_count,
            context,
            stats,
            wakeups,
            in_flight: HashMap::new(),
            committing: HashSet::new(),
            accepted: mpsc::unbounded_channel(),
            ready_queue,
            breaker,
            limiter,
            paused_until: Duration::ZERO,
        }
    }

    /// Delivers until the destination is removed or the server stops. Then waits for the deliveries
    /// in flight.
    pub(crate) async fn run(mut self) {
        let mut attempts = JoinSet::new();
        loop {
            // While this worker waited for the end of an earlier one, the config may have changed,
            // or the destination may have been removed.
            match self.config_rx.has_changed() {
                Ok(false) => {}
                Ok(true) => self.apply_config(),
                Err(_) => break,
            }
            let mut pause = self.step(&mut attempts);
            if self.ready_queue.has_deferrals() {
                pause = self.commit_deferred().await;
            }
            tokio::select! {
                changed = self.config_rx.changed() => match changed {
                    Ok(()) => self.apply_config(),
                    Err(_) => break,
                },
                Some(ended) = attempts.join_next_with_id() => self.finish_attempt(ended),
                Some(id) = self.accepted.1.recv() => self.free_slot(id),
                _ = self.wakeups.changed() => {}
                () = sleep(pause) => {}
            }
        }
        while let Some(ended) = attempts.join_next_with_id().await {
            self.finish_attempt(ended);
        }
    }

    /// Starts the deliveries that can start now. Returns the time until the next step, unless an
    /// event comes first.
    pub(crate) fn step(
        &mut self,
        attempts: &mut JoinSet<Result<AttemptOutcome, StoreError>>,
    ) -> Duration {
        let now = self.context.clock.elapsed();
        let paused_for = self.paused_until.saturating_sub(now);
        if !paused_for.is_zero() {
            return paused_for.min(POLL_INTERVAL);
        }
        if !std::mem::take(&mut self.paused_until).is_zero() {
            self.stats
                .update(&self.name, |stats| stats.paused_until = None);
        }
        self.ready_queue.release_expired(&self.target);
        loop {
            let sending = self.in_flight.len().saturating_sub(self.committing.len());
            if sending >= self.target.policy.concurrency || self.committing.len() >= COMMITTING_MAX
            {
                return POLL_INTERVAL;
            }
            if self.ready_queue.is_empty() {
                let in_flight = self
                    .in_flight
                    .values()
                    .flat_map(|(jobs, _)| jobs.iter().copied())
                    .collect();
                match self.ready_queue.prefetch(&self.target, &in_flight) {
                    Ok(None) => {}
                    Ok(Some(pause)) => return pause,
                    Err(error) => return self.log_read_error(&error),
                }
            }
            // The breaker is open or its probe is in flight. The pause ends with the open period or
            // with the probe.
            let Some(permit) = self.breaker.try_acquire(now) else {
                return self.breaker_pause(now);
            };
            // The rate limit is checked last. A delivery that can't start for another reason must
            // not use up the rate.
            if let Err(delay) = self.limiter.try_acquire(self.target.limits(), now) {
                self.breaker.cancel(permit);
                return delay.min(POLL_INTERVAL);
            }
            let Some(jobs) = self.ready_queue.take_next_batch() else {
                self.breaker.cancel(permit);
                return POLL_INTERVAL;
            };
            let attempt = DeliveryAttempt {
                destination: self.name.clone(),
                target: Arc::clone(&self.target),
                context: self.context.clone(),
                jobs: jobs.clone(),
                accepted_tx: self.accepted.0.clone(),
            };
            let id = attempts.spawn(attempt.run()).id();
            self.stats
                .update(&self.name, |stats| stats.in_flight.extend(&jobs));
            self.in_flight.insert(id, (jobs, permit));
        }
    }

    /// Commits the deferred and expired deliveries. Returns the time until the next step.
    pub(crate) async fn commit_deferred(&mut self) -> Duration {
        match self.ready_queue.commit_deferred().await {
            Ok(expired) => {
                self.log_expired(&expired);
                Duration::ZERO
            }
            Err(error) => self.log_read_error(&error),
        }
    }

    fn log_expired(&self, expired: &[(JobId, String)]) {
        for (job, why) in expired {
            tracing::warn!(
                destination.name = self.name.as_str(),
                job.id = job.get(),
                error = why,
                "a delivery expired and was not sent"
            );
        }
        if expired.is_empty() {
            return;
        }
        let (count, now) = (
            u64::try_from(expired.len()).unwrap_or(u64::MAX),
            self.context.clock.now(),
        );
        let destination = self.name.to_string();
        metrics::counter!("flowgate_deliveries_expired_total", "destination" => destination)
            .increment(count);
        self.stats.update(&self.name, |stats| {
            stats.expired += count;
            stats.last_expired = Some(now);
        });
    }

    fn log_read_error(&self, error: &StoreError) -> Duration {
        // The store has already logged why it is unavailable.
        if !error.is_unavailable() {
            tracing::error!(destination.name = self.name.as_str(), error = %error, "the deliveries of a destination can't be read");
        }
        POLL_INTERVAL
    }

    fn breaker_pause(&self, now: Duration) -> Duration {
        let pause = self
            .breaker
            .open_until()
            .map_or(POLL_INTERVAL, |until| until.saturating_sub(now));
        pause.clamp(Duration::from_millis(1), POLL_INTERVAL)
    }

    /// Frees the slot of an accepted delivery. Its attempt may already be finished.
    fn free_slot(&mut self, id: Id) {
        if self.in_flight.contains_key(&id) {
            self.committing.insert(id);
        }
    }

    /// Handles the result of a finished attempt.
    pub(crate) fn finish_attempt(
        &mut self,
        ended: Result<(Id, Result<AttemptOutcome, StoreError>), JoinError>,
    ) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, Some(result)),
            Err(error) => (error.id(), None),
        };
        let now = self.context.clock.elapsed();
        self.committing.remove(&id);
        let Some((jobs, permit)) = self.in_flight.remove(&id) else {
            return;
        };
        self.stats.update(&self.name, |stats| {
            stats.in_flight.retain(|job| !jobs.contains(job));
        });
        // The record of the panic failed, too. The delivery is still due, so it is quarantined for
        // a while.
        let Some(result) = result else {
            self.breaker.cancel(permit);
            self.ready_queue.quarantine(&jobs, QUARANTINE, true);
            return;
        };
        match result {
            Ok(AttemptOutcome::Suspended) => {
                self.breaker.cancel(permit);
                // The other ready deliveries can't be sent either.
                self.ready_queue.clear();
            }
            Ok(AttemptOutcome::SentNotRecorded(jobs, error)) => {
                self.breaker.record_success(permit);
                tracing::error!(
                    destination.name = self.name.as_str(),
                    error = %error,
                    jobs = ?jobs,
                    "deliveries were sent, but their result can't be stored: they are sent again after a restart"
                );
                self.ready_queue.quarantine(&jobs, Duration::MAX, false);
            }
            Ok(AttemptOutcome::Skipped(expired)) => {
                self.breaker.cancel(permit);
                self.log_expired(&expired);
                // The row may still be due. Without the quarantine, the worker would read the row
                // in a busy loop.
                self.ready_queue.quarantine(&jobs, POLL_INTERVAL, false);
            }
            Ok(AttemptOutcome::Recorded(attempt)) => self.apply_result(attempt, permit, now),
            Err(error) => {
                self.breaker.cancel(permit);
                self.ready_queue.quarantine_failed(&jobs, &error);
                self.log_read_error(&error);
            }
        }
    }

    /// Applies the result of a recorded attempt to the limiter, the breaker, the pause and the
    /// statistics.
    fn apply_result(&mut self, attempt: RecordedAttempt, permit: CallPermit, now: Duration) {
        if let Some(quota) = attempt.quota {
            self.limiter.apply_quota(quota, now);
        }
        let change = match attempt.disposition {
            Disposition::Retry {
                is_failure: true, ..
            }
            | Disposition::Unconfirmed => self.breaker.record_failure(permit, now),
            _ => self.breaker.record_success(permit),
        };
        self.pause(attempt.disposition, now);
        self.update_stats(attempt, change);
    }

    /// Pauses the destination for as long as it asked for.
    fn pause(&mut self, disposition: Disposition, now: Duration) {
        if let Disposition::Retry {
            retry_after,
            pauses_destination: true,
            ..
        } = disposition
        {
            let pause = retry_after
                .unwrap_or(self.target.policy.retry.initial_delay)
                .to_duration()
                .min(PAUSE_MAX);
            self.paused_until = self.paused_until.max(now.saturating_add(pause));
            let until = self.paused_until;
            self.limiter.pause(until);
            self.stats
                .update(&self.name, |stats| stats.paused_until = Some(until));
        }
        if matches!(disposition, Disposition::Disable | Disposition::Block) {
            self.ready_queue.clear();
            tracing::error!(
                destination.name = self.name.as_str(),
                "destination disabled, its deliveries stay queued: fix the cause, then run `flowgate destinations resume NAME`"
            );
        }
    }

    fn update_stats(&self, attempt: RecordedAttempt, change: Option<BreakerChange>) {
        match change {
            Some(BreakerChange::Opened) => {
                tracing::warn!(
                    destination.name = self.name.as_str(),
                    error = attempt.reason,
                    "circuit breaker of a destination opened after repeated failures: deliveries wait, and probes are sent at intervals"
                );
            }
            Some(BreakerChange::Closed) => tracing::info!(
                destination.name = self.name.as_str(),
                "circuit breaker of a destination closed: deliveries continue"
            ),
            None => {}
        }
        let open_until = self.breaker.open_until();
        self.stats.update(&self.name, |stats| {
            stats.open_until = open_until;
            if attempt.disposition == Disposition::Delivered {
                stats.delivered += u64::try_from(attempt.count).unwrap_or(u64::MAX);
                stats.last_success = Some(attempt.at);
            } else {
                stats.failed += 1;
                stats.last_failure = Some((attempt.at, attempt.reason));
            }
        });
    }

    /// Applies the current config. The state of the breaker and the pause stay, unless the
    /// destination has changed.
    pub(crate) fn apply_config(&mut self) {
        let WorkerConfig {
            target: new,
            resume_count,
        } = self.config_rx.borrow_and_update().clone();
        let old = &self.target;
        let is_resumed = std::mem::replace(&mut self.resume_count, resume_count) != resume_count;
        // A new URL, secret or proxy may have solved the problem.
        if old.policy.breaker != new.policy.breaker || !old.has_same_access(&new) || is_resumed {
            self.breaker = CircuitBreaker::new(new.policy.breaker);
            self.paused_until = Duration::ZERO;
            self.limiter.resume();
            self.stats.update(&self.name, |stats| {
                (stats.open_until, stats.paused_until) = (None, None);
            });
        }
        let limiter = self.context.limiters.for_target(&new);
        if !limiter.is_same_limiter(&self.limiter) {
            self.limiter = limiter;
        } else if old.limits() != new.limits() {
            self.limiter.reset();
        }
        self.target = new;
    }
}
