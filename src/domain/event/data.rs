//! Defines the parts of an event's `data`. Each kind of event has its own parts. The body omits
//! absent parts. Within a part, an absent value is null.
//!
//! See [`super::alert_data`] for the parts of alerts.

use serde::Serialize;
use serde_json::value::RawValue;

pub use super::alert_data::{
    BackupData, DestinationData, GatewayData, HealthData, JobData, NumberData,
};
use crate::domain::booking::Booking;
use crate::domain::ids::{
    AgentName, BookingId, CalendarName, Customer, FlowName, FlowToken, LeadId, MessageId,
    SubmissionId, TeamName,
};
use crate::domain::submission::draft::Draft;
use crate::domain::submission::{IdempotencyKey, Submission};
use crate::domain::time::Timestamp;

/// Data of an event.
#[derive(Debug, Default, Serialize)]
pub struct EventData<'a> {
    /// Flow that the event is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<&'a FlowName>,
    /// Completed form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submission: Option<SubmissionData<'a>>,
    /// Booking of the form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booking: Option<BookingData<'a>>,
    /// Reason why the requested slot was not booked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<&'a str>,
    /// Lead of the form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead: Option<LeadData<'a>>,
    /// Draft that was abandoned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftData<'a>>,
    /// Dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobData<'a>>,
    /// Health of the flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthData<'a>>,
    /// Phone number of the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<NumberData<'a>>,
    /// Suspended destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationData<'a>>,
    /// Gateway whose session has a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayData<'a>>,
    /// Backup that failed or is late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupData<'a>>,
}

impl EventData<'_> {
    /// Returns the ordering key of the event. A destination can receive all events with the same
    /// key in order. The key identifies one customer or, if the customer is unknown, one form.
    /// Returns `None` if the event is not about a form.
    #[must_use]
    pub fn ordering_key(&self) -> Option<[u8; 16]> {
        let (flow, submission) = (self.flow?, self.submission.as_ref()?);
        let name = submission.customer.id.or(submission.customer.phone);
        let unnamed_key = || IdempotencyKey::for_unnamed_customer(submission.id);
        let key = name.map_or_else(unnamed_key, |name| IdempotencyKey::for_customer(flow, name));
        Some(*key.as_bytes())
    }
}

/// Customer of a form.
#[derive(Debug, Serialize)]
pub struct CustomerData<'a> {
    /// Business-scoped ID, or the ID that the sender of a plain flow uses.
    pub id: Option<&'a str>,
    /// Phone number as received.
    pub phone: Option<&'a str>,
}

/// Completed form.
#[derive(Debug, Serialize)]
pub struct SubmissionData<'a> {
    /// Submission ID.
    pub id: SubmissionId,
    /// Flow token of the flow message.
    pub flow_token: Option<&'a FlowToken>,
    /// Customer, as far as known. The customer of an encrypted flow is unknown until the message of
    /// the form arrives.
    pub customer: CustomerData<'a>,
    /// Channel of the submission: `plain`, `webhook`, `encrypted` or `gateway`.
    pub channel: &'static str,
    /// ID of the WhatsApp message that contained the form.
    pub message_id: Option<&'a MessageId>,
    /// Time of acceptance.
    pub received_at: Timestamp,
    /// Fields of the form.
    pub answers: RawAnswers<'a>,
    /// Validation errors of the fields, in a form whose customer could not be asked again.
    pub problems: &'a [String],
}

/// Booking of one place in a calendar.
#[derive(Debug, Serialize)]
pub struct BookingData<'a> {
    /// Booking ID.
    pub id: BookingId,
    /// Calendar of the booking.
    pub calendar: &'a CalendarName,
    /// Date in the time zone of the calendar, `2027-01-04`.
    pub date: &'a str,
    /// Start time in the time zone of the calendar, `09:00`.
    pub time: &'a str,
    /// Start of the booking.
    pub starts_at: Timestamp,
    /// State of the booking: `confirmed` or `cancelled`.
    pub state: &'static str,
    /// Previous time of a moved booking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<MovedFrom<'a>>,
}

/// Time of a booking before it was moved.
#[derive(Debug, Serialize)]
pub struct MovedFrom<'a> {
    /// Previous date in the time zone of the calendar.
    pub date: &'a str,
    /// Previous start time in the time zone of the calendar.
    pub time: &'a str,
}

/// Lead that is assigned to an agent, waits for an agent, or is closed.
#[derive(Debug, Serialize)]
pub struct LeadData<'a> {
    /// Lead ID.
    pub id: LeadId,
    /// Team of the lead.
    pub team: &'a TeamName,
    /// Agent of the lead. `None`: the lead waits, or waited until it was closed.
    pub agent: Option<&'a AgentName>,
    /// Reason of the assignment, as `leads explain` shows it.
    pub reason: &'static str,
    /// Reason why the lead was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_reason: Option<&'static str>,
}

/// Draft that its customer abandoned.
#[derive(Debug, Serialize)]
pub struct DraftData<'a> {
    /// Flow token of the flow message.
    pub flow_token: Option<&'a FlowToken>,
    /// Customer of the draft.
    pub customer: CustomerData<'a>,
    /// Last screen of the customer.
    pub screen: &'a str,
    /// Fields that the customer has sent so far.
    pub answers: RawAnswers<'a>,
    /// Time of the last received screen.
    pub updated_at: Timestamp,
}

/// Fields of a form: the received JSON object with its numbers and order unchanged. A text that is
/// not valid JSON becomes null.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct RawAnswers<'a>(Option<&'a RawValue>);

impl<'a> RawAnswers<'a> {
    /// Parses `text`.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        Self(serde_json::from_str(text).ok())
    }
}

impl<'a> From<&'a Customer> for CustomerData<'a> {
    fn from(customer: &'a Customer) -> Self {
        Self {
            id: customer.id.as_deref(),
            phone: customer.phone.as_deref(),
        }
    }
}

impl<'a> SubmissionData<'a> {
    /// Creates the data of `submission`, accepted at `received_at`.
    #[must_use]
    pub fn new(id: SubmissionId, received_at: Timestamp, submission: &'a Submission) -> Self {
        Self {
            id,
            flow_token: submission.flow_token.as_ref(),
            customer: CustomerData::from(&submission.customer),
            channel: submission.channel.as_str(),
            message_id: submission.message_id.as_ref(),
            received_at,
            answers: RawAnswers::parse(&submission.data),
            problems: &submission.problems,
        }
    }
}

impl<'a> BookingData<'a> {
    /// Creates the data of `booking`.
    #[must_use]
    pub fn new(id: BookingId, booking: &'a Booking) -> Self {
        Self {
            id,
            calendar: &booking.calendar,
            date: &booking.date,
            time: &booking.time,
            starts_at: booking.start,
            state: booking.state.as_str(),
            moved_from: None,
        }
    }
}

impl<'a> DraftData<'a> {
    /// Creates the data of `draft`.
    #[must_use]
    pub fn from_draft(draft: &'a Draft) -> Self {
        Self {
            flow_token: draft.flow_token.as_ref(),
            customer: CustomerData::from(&draft.customer),
            screen: &draft.screen,
            answers: RawAnswers::parse(&draft.data),
            updated_at: draft.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::submission::SubmissionChannel;
    use crate::domain::submission::inbound::InboundSubmission;

    #[test]
    fn answers_are_passed_through_unchanged() {
        let flow = FlowName::new("form").unwrap();
        let submission = Submission {
            flow_token: None,
            customer: Customer::from_text("4915112345678"),
            channel: SubmissionChannel::Webhook,
            problems: vec!["`x` is missing".to_owned()],
            ..InboundSubmission::plain(&flow, "t", r#"{"b":1.50,"a":null}"#).submission
        };
        let submission = SubmissionData::new(SubmissionId::new(7), Timestamp::ZERO, &submission);
        let event_data = EventData {
            flow: Some(&flow),
            submission: Some(submission),
            ..EventData::default()
        };
        assert_eq!(
            serde_json::to_string(&event_data).unwrap(),
            r#"{"flow":"form","submission":{"id":7,"flow_token":null,"customer":{"id":null,"phone":"4915112345678"},"channel":"webhook","message_id":null,"received_at":"1970-01-01T00:00:00.000Z","answers":{"b":1.50,"a":null},"problems":["`x` is missing"]}}"#
        );
    }

    #[test]
    fn invalid_answers_are_null() {
        let answers = RawAnswers::parse("{\"a\":");
        assert_eq!(serde_json::to_string(&answers).unwrap(), "null");
    }
}
