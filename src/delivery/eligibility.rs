//! Decides whether a due delivery is sent, deferred or expired.
//!
//! [`super::ready_queue`] and [`super::attempt`] execute the decisions.

use super::recipient::resolve_recipient;
use super::target::DeliveryTarget;
use crate::clock::Clock;
use crate::config::units::format_duration;
use crate::domain::delivery::message::MessageError;
use crate::domain::delivery::receipt::PendingAttempt;
use crate::domain::ids::JobId;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{DeferDelivery, DeferReason, PendingDelivery, Snapshot, StoreError};

/// Point in time by two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    /// Time by the wall clock, in UTC.
    pub(crate) now: Timestamp,
    /// Time by the wall clock, but at most the start of the process plus the time by the process
    /// clock. A wall clock that was set ahead does not make a delivery older.
    pub(crate) monotonic_now: Timestamp,
}

/// Decision about a due delivery.
#[derive(Debug)]
pub(crate) enum Eligibility {
    /// The delivery is sent now.
    Send,
    /// The delivery waits until a time or an event, without an attempt.
    Defer(DeferDelivery),
    /// The delivery is expired, for this reason: it is too late or has no recipient.
    Expire(String),
}

/// Both clocks at the start of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessStart {
    wall: Timestamp,
    elapsed: std::time::Duration,
}

impl ProcessStart {
    /// Reads the clocks at the start.
    pub(crate) fn capture(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.now(),
            elapsed: clock.elapsed(),
        }
    }

    /// Returns the current time by both clocks.
    pub(crate) fn read_clock(self, clock: &dyn Clock) -> ClockReading {
        let now = clock.now();
        let since_start = clock.elapsed().saturating_sub(self.elapsed).as_millis();
        let process_now = self
            .wall
            .plus(Millis::new(u64::try_from(since_start).unwrap_or(u64::MAX)));
        ClockReading {
            now,
            monotonic_now: now.min(process_now),
        }
    }
}

/// Reads the pending delivery of `job` to `target`. Returns `None` if the delivery is not pending
/// any more. The customer is only read if `target` sends messages to customers.
///
/// # Errors
/// Same as [`Snapshot::pending_delivery`].
pub(crate) fn read(
    snapshot: &Snapshot,
    target: &DeliveryTarget,
    job: JobId,
) -> Result<Option<PendingDelivery>, StoreError> {
    if target.is_for_customers() {
        snapshot.pending_delivery_with_customer(job)
    } else {
        snapshot.pending_delivery(job)
    }
}

/// Decides whether `pending` is sent, deferred or expired.
pub(crate) fn check_eligibility(
    target: &DeliveryTarget,
    pending: &PendingDelivery,
    reading: ClockReading,
) -> Eligibility {
    let defer = |due_at, reason| {
        Eligibility::Defer(DeferDelivery {
            job_id: pending.id,
            due_at,
            reason,
        })
    };
    // An earlier attempt may have sent the message. A status may soon confirm the message.
    if let Some(at) = status_deadline(pending, reading.now) {
        return defer(at, DeferReason::AwaitingStatus);
    }
    if let Some(longest) = exceeded_max_age(target.policy.max_age, pending, reading) {
        return Eligibility::Expire(format!(
            "not sent within the maximum age of {}",
            format_duration(longest)
        ));
    }
    let Some(recipients) = target.channel.recipients() else {
        return Eligibility::Send;
    };
    if resolve_recipient(recipients, pending) != Err(MessageError::UnknownCustomer) {
        return Eligibility::Send;
    }
    let known_by = pending.event.occurred_at.plus(recipients.customer_wait);
    match pending.job.submission_id {
        // The customer stays unknown: only an event that follows a submission can learn its
        // customer.
        None => Eligibility::Expire("no recipient: the customer of the form is unknown".to_owned()),
        Some(submission) if reading.now < known_by => {
            defer(known_by, DeferReason::AwaitingCustomer(submission))
        }
        Some(_) => Eligibility::Send,
    }
}

/// Returns the time until which a status may show the result of a pending attempt. Returns `None`
/// if no status is expected.
fn status_deadline(pending: &PendingDelivery, now: Timestamp) -> Option<Timestamp> {
    let attempt = pending.receipt.as_ref()?.pending_attempt?;
    is_status_pending(attempt, now).then_some(attempt.deadline)
}

/// Returns `true` if a status may still arrive. A start time in the future was written by a clock
/// that has been set back since.
fn is_status_pending(attempt: PendingAttempt, now: Timestamp) -> bool {
    attempt.deadline > now && attempt.started_at <= now
}

/// Returns the maximum age if the delivery has exceeded it. A delivery that an admin retries never
/// expires.
fn exceeded_max_age(
    max_age: Option<Millis>,
    pending: &PendingDelivery,
    reading: ClockReading,
) -> Option<Millis> {
    let waited = reading.monotonic_now.since(pending.event.occurred_at);
    max_age.filter(|longest| waited >= *longest && !pending.job.was_retried_manually())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::tests::support::resolve_targets;
    use crate::domain::delivery::{Delivery, Event};
    use crate::domain::event::EventKind;
    use crate::domain::ids::{DestinationName, SubmissionId};
    use crate::domain::job::{Job, JobKind};

    /// Time of the tests: 2026-11-24T08:00:00Z.
    const AT: Timestamp = Timestamp::from_millis(1_795_507_200_000);

    /// Returns a pending delivery of an event that happened at [`AT`].
    fn pending_delivery(
        kind: EventKind,
        submission: Option<SubmissionId>,
        data: &str,
    ) -> PendingDelivery {
        let body: Box<str> = format!(r#"{{"type":"{}","data":{data}}}"#, kind.as_str()).into();
        let id = JobId::new(1);
        let destination = DestinationName::new("thanks").unwrap();
        PendingDelivery {
            id,
            job: Job::new(JobKind::Deliver, submission, AT),
            delivery: Delivery {
                destination,
                event_id: id,
                ordering_key: None,
                webhook_id: "msg_1".into(),
            },
            event: Event {
                kind,
                occurred_at: AT,
                flow: None,
                body: body.clone(),
                delivery_count: 1,
            },
            body,
            receipt: None,
            customer: None,
        }
    }

    /// Returns the decision about a message to an unknown customer.
    fn eligibility_without_customer(
        kind: EventKind,
        submission: Option<SubmissionId>,
        data: &str,
        minutes: u64,
    ) -> Eligibility {
        let targets = resolve_targets(&format!(
            "[destinations.thanks]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\naccess_token = \"text:t\"\n\
             to = \"customer\"\nmessages = {{ \"{kind}\" = {{ text = \"Hello\" }} }}"
        ));
        let now = AT.plus(Millis::from_secs(60 * minutes));
        check_eligibility(
            targets.values().next().unwrap(),
            &pending_delivery(kind, submission, data),
            ClockReading {
                now,
                monotonic_now: now,
            },
        )
    }

    #[test]
    fn draft_message_without_customer_expires_and_submission_message_waits() {
        let draft = r#"{"draft":{"customer":{"id":null,"phone":null}}}"#;
        let closed = eligibility_without_customer(EventKind::DraftAbandoned, None, draft, 0);
        let is_expired =
            matches!(&closed, Eligibility::Expire(why) if why.starts_with("no recipient"));
        assert!(is_expired, "{closed:?}");
        let named = r#"{"draft":{"customer":{"id":null,"phone":"491511234567"}}}"#;
        let open = eligibility_without_customer(EventKind::DraftAbandoned, None, named, 0);
        assert!(matches!(open, Eligibility::Send), "{open:?}");
        let form = r#"{"submission":{"customer":{"id":null,"phone":null}}}"#;
        let (kind, submission) = (EventKind::SubmissionAccepted, Some(SubmissionId::new(1)));
        let after_submission =
            |minutes| eligibility_without_customer(kind, submission, form, minutes);
        let Eligibility::Defer(deferral) = after_submission(59) else {
            panic!("the message does not wait")
        };
        assert!(matches!(deferral.reason, DeferReason::AwaitingCustomer(_)));
        // It becomes a dead letter with the reason.
        assert!(matches!(after_submission(60), Eligibility::Send));
    }

    #[test]
    fn pending_attempt_awaits_status_unless_clock_set_back() {
        let at = |ms| Timestamp::from_millis(ms);
        let attempt = PendingAttempt {
            number: 1,
            started_at: at(1000),
            deadline: at(5000),
        };
        assert!(is_status_pending(attempt, at(1000)) && is_status_pending(attempt, at(4999)));
        assert!(!is_status_pending(attempt, at(5000)) && !is_status_pending(attempt, at(999)));
    }
}
