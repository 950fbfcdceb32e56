//! Makes one attempt of a delivery: read, decide, send, record. The attempt is finished when its
//! result is on disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{self, Id};
use tokio::time::sleep;

use super::channel::PayloadInput;
use super::channel::exchange::{FailedExchange, Message, SendOutcome};
use super::context::DeliveryContext;
use super::eligibility::{self, ClockReading, Eligibility};
use super::target::DeliveryTarget;
use crate::domain::delivery::{AttemptEnd, Disposition, ResponseRecord};
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::Attempt;
use crate::domain::job::retry::RetryDecision;
use crate::domain::rate_limiter::RemoteQuota;
use crate::domain::time::{Millis, Timestamp};
use crate::panic::catch_panic_async;
use crate::store::{
    BeginDelivery, DeferOrExpire, PendingDelivery, RecordAttempt, RecordAttempts, StoreError,
};

/// Attempt of one delivery, or of several deliveries that are merged.
pub(crate) struct DeliveryAttempt {
    pub(crate) destination: DestinationName,
    pub(crate) target: Arc<DeliveryTarget>,
    pub(crate) context: DeliveryContext,
    /// IDs of the deliveries. Never empty.
    pub(crate) jobs: Vec<JobId>,
    /// Channel to the worker. The attempt sends the ID of its task after the receiver has accepted
    /// the delivery, before the result is recorded.
    pub(crate) accepted_tx: mpsc::UnboundedSender<Id>,
}

/// Result of an attempt for its worker.
pub(crate) enum AttemptOutcome {
    /// Nothing was sent, because the destination is suspended.
    Suspended,
    /// Nothing was sent: each delivery is finished, deferred, rejected or expired. Contains the
    /// expired deliveries with the reasons.
    Skipped(Vec<(JobId, String)>),
    /// The deliveries were sent, but a damaged row prevents the record of the result. Another
    /// attempt would fail in the same manner.
    SentNotRecorded(Vec<JobId>, StoreError),
    /// The deliveries were sent, and the attempt is recorded.
    Recorded(RecordedAttempt),
}

/// Recorded attempt, as the worker needs it for its breaker, limiter and log.
pub(crate) struct RecordedAttempt {
    /// Number of deliveries in the attempt.
    pub(crate) count: usize,
    pub(crate) disposition: Disposition,
    pub(crate) at: Timestamp,
    /// Reason of a failure. No meaning after a success.
    pub(crate) reason: String,
    /// Remaining quota that the response announced.
    pub(crate) quota: Option<RemoteQuota>,
}

/// Result of the preparation of an attempt.
enum PreparedAttempt {
    /// Payload to send, with the deliveries that it contains.
    Send(Vec<PendingDelivery>, String),
    /// No delivery can be sent now, and the reasons are recorded. Contains the expired deliveries
    /// with their reasons.
    Skip(Vec<(JobId, String)>),
}

/// Interval at which the commit of a result is retried while the store is closed.
const COMMIT_RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl DeliveryAttempt {
    /// Makes the attempt. A panic counts as a failed attempt.
    pub(crate) async fn run(mut self) -> Result<AttemptOutcome, StoreError> {
        // The other deliveries are still due, and the worker reads them again.
        self.jobs
            .truncate(self.context.suspects.batch_size(&self.jobs));
        let (at, started) = (self.context.clock.now(), self.context.clock.elapsed());
        match catch_panic_async(self.send_pending()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.record_panic(at, self.context.clock.elapsed().saturating_sub(started))
                    .await
            }
        }
    }

    /// Records that the attempt panicked. The panic hook has logged the panic. It is unknown
    /// whether the attempt has sent anything.
    async fn record_panic(
        &self,
        at: Timestamp,
        took: Duration,
    ) -> Result<AttemptOutcome, StoreError> {
        let deliveries: Vec<PendingDelivery> = self.context.store.read_with(|snapshot| {
            Ok(self
                .jobs
                .iter()
                .filter_map(|job| snapshot.pending_delivery(*job).ok().flatten())
                .collect())
        })?;
        let failed = FailedExchange {
            end: AttemptEnd::Unknown,
            reason: "the attempt panicked, which is a bug in flowgate: see the log".to_owned(),
        };
        let records: Vec<_> = deliveries
            .iter()
            .map(|pending| {
                let number = attempt_number(pending);
                let sent = self
                    .target
                    .channel
                    .interpret_failure(failed.clone(), number);
                self.build_record(pending, &sent, at, took)
            })
            .collect();
        match self.commit_records(&deliveries, records, took).await {
            Ok(()) => Ok(AttemptOutcome::Skipped(Vec::new())),
            Err((jobs, error)) => Ok(AttemptOutcome::SentNotRecorded(jobs, error)),
        }
    }

    async fn send_pending(&self) -> Result<AttemptOutcome, StoreError> {
        let Some((job, others)) = self.jobs.split_first() else {
            return Ok(AttemptOutcome::Skipped(Vec::new()));
        };
        let read = self.context.store.read_with(|snapshot| {
            let pending = |job| eligibility::read(&snapshot, &self.target, job);
            if !snapshot.suspension(&self.destination)?.is_lifted() {
                return Ok(None);
            }
            let first = pending(*job)?;
            // The other deliveries that can't be read report their error in their own attempts.
            let others = others.iter().filter_map(|job| pending(*job).ok().flatten());
            Ok(Some(first.into_iter().chain(others).collect()))
        })?;
        let Some(deliveries) = read else {
            return Ok(AttemptOutcome::Suspended);
        };
        let reading = self.context.process_start.read_clock(&*self.context.clock);
        let preparation = self.prepare(deliveries, reading);
        let Some(prepared) = self
            .context
            .suspects
            .mark_while(&self.context.store, *job, preparation)
            .await?
        else {
            return Ok(AttemptOutcome::Skipped(Vec::new()));
        };
        let (included, body) = match prepared? {
            PreparedAttempt::Send(included, body) => (included, body),
            PreparedAttempt::Skip(expired) => return Ok(AttemptOutcome::Skipped(expired)),
        };
        let Some(first) = included.first() else {
            return Ok(AttemptOutcome::Skipped(Vec::new()));
        };
        let (at, started) = (reading.now, self.context.clock.elapsed());
        let message = Message {
            id: &first.delivery.webhook_id,
            body: &body,
            now: at,
            attempt_number: attempt_number(first),
        };
        let connection = self.target.connection(&self.context.clients);
        let sent = self.target.channel.send(connection, message).await;
        let took = self.context.clock.elapsed().saturating_sub(started);
        let records: Vec<_> = included
            .iter()
            .map(|pending| self.build_record(pending, &sent, at, took))
            .collect();
        let count = records.len();
        if let (Disposition::Delivered, Some(task)) = (sent.disposition, task::try_id()) {
            // The channel is closed if the worker has stopped.
            let _ = self.accepted_tx.send(task);
        }
        if let Err((jobs, error)) = self.commit_records(&included, records, took).await {
            return Ok(AttemptOutcome::SentNotRecorded(jobs, error));
        }
        Ok(AttemptOutcome::Recorded(RecordedAttempt {
            count,
            disposition: sent.disposition,
            at,
            reason: sent.reason,
            quota: sent.quota,
        }))
    }

    /// Logs and records the results. While the store is closed, retries the commit. Without this,
    /// the deliveries would be sent again and could arrive twice.
    ///
    /// # Errors
    /// Returns the deliveries that can't be recorded, with the reason.
    async fn commit_records(
        &self,
        deliveries: &[PendingDelivery],
        records: Vec<RecordAttempt>,
        took: Duration,
    ) -> Result<(), (Vec<JobId>, StoreError)> {
        for (pending, record) in deliveries.iter().zip(&records) {
            self.log_result(pending, record, took);
        }
        match self.commit_with_retry(&records).await {
            Ok(()) => return Ok(()),
            // One damaged delivery must not block the others.
            Err(error) if error.affects_one_row() && records.len() > 1 => {}
            Err(error) => {
                return Err((records.iter().map(|record| record.job_id).collect(), error));
            }
        }
        let mut failed = None;
        for record in &records {
            if let Err(error) = self.commit_with_retry(std::slice::from_ref(record)).await {
                let (jobs, _) = failed.get_or_insert_with(|| (Vec::new(), error));
                jobs.push(record.job_id);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Commits the records as soon as the store is open.
    async fn commit_with_retry(&self, records: &[RecordAttempt]) -> Result<(), StoreError> {
        loop {
            match self
                .context
                .store
                .execute(RecordAttempts {
                    attempts: records.to_vec(),
                })
                .await
            {
                Err(error) if error.is_unavailable() => sleep(COMMIT_RETRY_INTERVAL).await,
                ended => return ended,
            }
        }
    }

    /// Selects the deliveries that are sent now, and builds their payload.
    async fn prepare(
        &self,
        deliveries: Vec<PendingDelivery>,
        reading: ClockReading,
    ) -> Result<PreparedAttempt, StoreError> {
        let (policy, channel) = (&self.target.policy, &self.target.channel);
        let (mut deferrals, mut eligible) = (DeferOrExpire::default(), Vec::new());
        for pending in deliveries {
            match eligibility::check_eligibility(&self.target, &pending, reading) {
                Eligibility::Send => eligible.push(pending),
                Eligibility::Defer(deferral) => deferrals.deferred.push(deferral),
                Eligibility::Expire(why) => deferrals.expired.push((pending.id, why)),
            }
        }
        let expired = deferrals.expired.clone();
        if !deferrals.is_empty() {
            self.context.store.execute(deferrals).await?;
        }
        // After an expiry, the worker reports the expired deliveries and reads the others again.
        let Some((first, others)) = eligible.split_first().filter(|_| expired.is_empty()) else {
            return Ok(PreparedAttempt::Skip(expired));
        };
        let input = PayloadInput {
            policy,
            first,
            others,
            now: reading.now,
        };
        let payload = match channel.build_payload(input) {
            Ok(payload) => payload,
            Err(why) => {
                self.reject(first, why, reading.now).await?;
                return Ok(PreparedAttempt::Skip(Vec::new()));
            }
        };
        // Before the send, the store records that a message may exist.
        if let Some(pending_attempt) = channel.pending_attempt(policy, first, reading.now) {
            let begin = BeginDelivery {
                job_id: first.id,
                pending_attempt,
            };
            if !self.context.store.execute(begin).await? {
                return Ok(PreparedAttempt::Skip(Vec::new()));
            }
        }
        eligible.truncate(payload.delivery_count);
        Ok(PreparedAttempt::Send(eligible, payload.body))
    }

    /// Rejects a delivery that can't be sent in its current form, and records it as a dead letter.
    async fn reject(
        &self,
        pending: &PendingDelivery,
        why: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let number = pending.job.attempts.saturating_add(1);
        let record = RecordAttempt {
            job_id: pending.id,
            attempt: Attempt {
                number,
                started_at: now,
                duration: Millis::ZERO,
                error: Some(why),
            },
            response: ResponseRecord::default(),
            failure: Some(RetryDecision::GiveUp),
            disable_reason: None,
            message_outcome: None,
        };
        self.log_result(pending, &record, Duration::ZERO);
        self.context.store.execute(record).await.map(|_| ())
    }

    /// Builds the record of the attempt.
    fn build_record(
        &self,
        pending: &PendingDelivery,
        sent: &SendOutcome,
        at: Timestamp,
        took: Duration,
    ) -> RecordAttempt {
        let policy = &self.target.policy;
        let number = attempt_number(pending);
        let now = self.context.clock.now();
        let after = |retry_after| {
            let chance = self.context.entropy.fraction();
            policy.retry.decide(number, chance, retry_after, now)
        };
        let failed = match sent.disposition {
            Disposition::Delivered => None,
            Disposition::Retry { retry_after, .. } => Some(after(retry_after)),
            // The delivery is due when an admin resumes the destination, even after the last
            // attempt.
            Disposition::Disable | Disposition::Block => Some(RetryDecision::RetryAt { at: now }),
            Disposition::Refused => Some(RetryDecision::GiveUp),
            // A status may still arrive, even after the last attempt.
            Disposition::Unconfirmed => {
                let attempt = self.target.channel.pending_attempt(policy, pending, at);
                let verdict = after(None);
                Some(attempt.map_or(verdict, |attempt| verdict.not_before(attempt.deadline)))
            }
        };
        let took = Millis::from_duration(took);
        let error = failed.map(|_| sent.reason.clone());
        let disable = match sent.disposition {
            Disposition::Disable => Some("the destination responded with 410 Gone".into()),
            Disposition::Block => Some(sent.reason.as_str().into()),
            _ => None,
        };
        RecordAttempt {
            job_id: pending.id,
            attempt: Attempt {
                number: pending.job.attempts.saturating_add(1),
                started_at: at,
                duration: took,
                error,
            },
            response: sent.response.clone(),
            failure: failed,
            disable_reason: disable,
            message_outcome: sent.message_outcome.clone(),
        }
    }

    fn log_result(&self, pending: &PendingDelivery, record: &RecordAttempt, took: Duration) {
        let (destination, number) = (self.destination.as_str(), record.attempt.number);
        let (id, event, status) = (
            pending.id.get(),
            pending.event.kind.as_str(),
            record.response.status,
        );
        let error = record.attempt.error.as_deref().unwrap_or_default();
        let outcome = match record.failure {
            None => {
                tracing::debug!(
                    job.id = id,
                    destination.name = destination,
                    event.kind = event,
                    job.attempt = number,
                    http.status = status,
                    "delivered"
                );
                "delivered"
            }
            Some(RetryDecision::RetryAt { at }) => {
                tracing::warn!(job.id = id, destination.name = destination, event.kind = event, job.attempt = number, job.next_at = %at, error, "a delivery failed and will be retried");
                "failed"
            }
            Some(RetryDecision::GiveUp) => {
                tracing::error!(
                    job.id = id,
                    destination.name = destination,
                    event.kind = event,
                    job.attempt = number,
                    error,
                    "a delivery failed for good and is a dead letter now: see `flowgate dead-letters list`"
                );
                "dead"
            }
        };
        let destination = destination.to_owned();
        metrics::counter!("flowgate_delivery_attempts_total", "destination" => destination.clone(), "outcome" => outcome)
            .increment(1);
        metrics::histogram!("flowgate_delivery_duration_seconds", "destination" => destination)
            .record(took.as_secs_f64());
    }
}

/// Returns the number of the next attempt since the last manual retry, from 1.
const fn attempt_number(pending: &PendingDelivery) -> u32 {
    pending.job.attempts_since_manual_retry.saturating_add(1)
}
