//! Decides whether a due delivery is sent, deferred or expired, and builds its payload. The payload
//! is only built for deliveries that are sent.
//!
//! See `super::channel` for the messages of each channel.
//! [`super::ready_queue`] and [`super::attempt`] execute the decisions.

use serde_json::Value;

use crate::clock::Clock;
use crate::config::units::format_duration;
use crate::config::{Destination, DestinationKind};
use crate::domain::delivery::message::{MessageError, Recipient, RecipientKind};
use crate::domain::ids::JobId;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{DeferReason, PendingDelivery, Snapshot, StoreError};

use super::channel::{gateway, smtp, whatsapp};

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
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Eligibility {
    /// The delivery is sent now.
    Send,
    /// The delivery waits until a time or an event, without an attempt.
    Defer { at: Timestamp, until: DeferReason },
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

/// Reads the pending delivery of `job` to `destination`. Returns `None` if the delivery is not
/// pending any more. The customer is only read if `destination` sends messages to customers.
///
/// # Errors
/// Same as [`Snapshot::pending_delivery`].
pub(crate) fn read(
    snapshot: &Snapshot,
    destination: &Destination,
    job: JobId,
) -> Result<Option<PendingDelivery>, StoreError> {
    match destination.kind.recipient_kind() {
        Some(RecipientKind::Customer) => snapshot.pending_delivery_with_customer(job),
        Some(RecipientKind::Agent(_)) | None => snapshot.pending_delivery(job),
    }
}

/// Decides whether `pending` is sent, deferred or expired.
pub(crate) fn check_eligibility(
    destination: &Destination,
    pending: &PendingDelivery,
    reading: ClockReading,
) -> Eligibility {
    // An earlier attempt may have sent the message. A status from Meta may soon confirm the
    // message.
    if let Some(at) = whatsapp::status_deadline(pending, reading.now) {
        return Eligibility::Defer {
            at,
            until: DeferReason::AwaitingStatus,
        };
    }
    if let Some(longest) = exceeded_max_age(destination, pending, reading) {
        return Eligibility::Expire(format!(
            "not sent within the maximum age of {}",
            format_duration(longest)
        ));
    }
    match customer_wait(&destination.kind) {
        Some(longest)
            if resolve_recipient(destination, pending) == Err(MessageError::UnknownCustomer) =>
        {
            let known_by = pending.event.occurred_at.plus(longest);
            match pending.job.submission_id {
                // The customer stays unknown: only an event that follows a submission can learn its
                // customer.
                None => Eligibility::Expire(
                    "no recipient: the customer of the form is unknown".to_owned(),
                ),
                Some(submission) if reading.now < known_by => Eligibility::Defer {
                    at: known_by,
                    until: DeferReason::AwaitingCustomer(submission),
                },
                Some(_) => Eligibility::Send,
            }
        }
        _ => Eligibility::Send,
    }
}

/// Builds the payload of `pending` at `now`.
///
/// # Errors
/// Returns the reason why the payload can't be built.
pub(crate) fn render_payload(
    destination: &Destination,
    pending: &PendingDelivery,
    now: Timestamp,
) -> Result<String, String> {
    let error_text = |why: MessageError| why.to_string();
    let id = &pending.delivery.webhook_id;
    match &destination.kind {
        DestinationKind::Webhook(settings) => {
            let body = settings
                .payload
                .render(pending.event.kind, id, &pending.body);
            body.map(Into::into).map_err(|why| why.to_string())
        }
        DestinationKind::Smtp(settings) => smtp::build_email(settings, id, &pending.body, now),
        DestinationKind::Whatsapp(settings) => {
            whatsapp::build_request(settings, destination.retry, pending)
        }
        DestinationKind::Gateway(settings) => {
            gateway::build_request(settings, pending).map_err(error_text)
        }
    }
}

/// Returns the recipient if deliveries for this recipient are merged: an agent who gets texts
/// through a gateway. Messages to customers are never merged.
pub(crate) fn merge_key(destination: &Destination, pending: &PendingDelivery) -> Option<Recipient> {
    match &destination.kind {
        DestinationKind::Gateway(settings) if matches!(settings.to, RecipientKind::Agent(_)) => {
            resolve_recipient(destination, pending).ok()
        }
        _ => None,
    }
}

/// Returns the maximum age if the delivery has exceeded it. A delivery that an admin retries never
/// expires.
fn exceeded_max_age(
    destination: &Destination,
    pending: &PendingDelivery,
    reading: ClockReading,
) -> Option<Millis> {
    let waited = reading.monotonic_now.since(pending.event.occurred_at);
    destination
        .max_age
        .filter(|longest| waited >= *longest && !pending.job.was_retried_manually())
}

const fn customer_wait(kind: &DestinationKind) -> Option<Millis> {
    match kind {
        DestinationKind::Whatsapp(settings) => Some(settings.customer_wait),
        DestinationKind::Gateway(settings) => Some(settings.customer_wait),
        DestinationKind::Webhook(_) | DestinationKind::Smtp(_) => None,
    }
}

fn resolve_recipient(
    destination: &Destination,
    pending: &PendingDelivery,
) -> Result<Recipient, MessageError> {
    let addressee = destination
        .kind
        .recipient_kind()
        .ok_or(MessageError::NoAgent)?;
    addressee.resolve_recipient(&event_data(pending)?, pending.customer.as_ref())
}

/// Returns the data of the event.
pub(crate) fn event_data(pending: &PendingDelivery) -> Result<Value, MessageError> {
    let mut body: Value =
        serde_json::from_str(&pending.body).map_err(|_| MessageError::InvalidEvent)?;
    let data = body.get_mut("data").map(Value::take);
    data.filter(Value::is_object)
        .ok_or(MessageError::InvalidEvent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::delivery::{Delivery, Event};
    use crate::domain::event::EventKind;
    use crate::domain::ids::{DestinationName, JobId, SubmissionId};
    use crate::domain::job::{Job, JobKind};

    /// Time of the tests: 2026-11-24T08:00:00Z.
    const AT: Timestamp = Timestamp::from_millis(1_795_507_200_000);

    fn destination(table: &str) -> Destination {
        let text = format!("[destinations.thanks]\n{table}");
        Config::parse("config.toml".as_ref(), &text)
            .unwrap()
            .destinations
            .into_values()
            .next()
            .unwrap()
    }

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
        let whatsapp = destination(&format!(
            "kind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\naccess_token = \"env:T\"\n\
             to = \"customer\"\nmessages = {{ \"{kind}\" = {{ text = \"Hello\" }} }}"
        ));
        let now = AT.plus(Millis::from_secs(60 * minutes));
        check_eligibility(
            &whatsapp,
            &pending_delivery(kind, submission, data),
            ClockReading {
                now,
                monotonic_now: now,
            },
        )
    }

    #[test]
    fn email_is_built_before_send() {
        let inbox = destination(
            "kind = \"smtp\"\nhost = \"mail.shop.example\"\nfrom = \"a@shop.example\"\nto = \"b@shop.example\"\n\
             messages = { \"lead.waiting\" = { subject = \"For {lead.team}\", text = \"A lead waits\" } }",
        );
        let mail = render_payload(
            &inbox,
            &pending_delivery(EventKind::LeadWaiting, None, r#"{"lead":{"team":"sales"}}"#),
            AT,
        )
        .unwrap();
        for line in [
            "Subject: For sales",
            "Message-ID: <msg_1@shop.example>",
            "A lead waits",
        ] {
            assert!(
                mail.split("\r\n").any(|found| found == line),
                "{line} is not in {mail}"
            );
        }
    }

    #[test]
    fn draft_message_without_customer_expires_and_submission_message_waits() {
        let draft = r#"{"draft":{"customer":{"id":null,"phone":null}}}"#;
        let closed = eligibility_without_customer(EventKind::DraftAbandoned, None, draft, 0);
        assert!(
            matches!(&closed, Eligibility::Expire(why) if why.starts_with("no recipient")),
            "{closed:?}"
        );
        let named = r#"{"draft":{"customer":{"id":null,"phone":"491511234567"}}}"#;
        assert_eq!(
            eligibility_without_customer(EventKind::DraftAbandoned, None, named, 0),
            Eligibility::Send
        );
        let form = r#"{"submission":{"customer":{"id":null,"phone":null}}}"#;
        let after_submission = |minutes| {
            eligibility_without_customer(
                EventKind::SubmissionAccepted,
                Some(SubmissionId::new(1)),
                form,
                minutes,
            )
        };
        assert!(matches!(
            after_submission(59),
            Eligibility::Defer {
                until: DeferReason::AwaitingCustomer(_),
                ..
            }
        ));
        assert_eq!(
            after_submission(60),
            Eligibility::Send,
            "it becomes a dead letter that says so"
        );
    }
}
