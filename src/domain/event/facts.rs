//! The parts of an event's `data`. Each event has those that it is about; an absent part is left out, an absent value within
//! one is null.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::booking::Booking;
use crate::domain::draft::Draft;
use crate::domain::gateway::Standing as GatewayStanding;
use crate::domain::health_event::Standing;
use crate::domain::ids::{
    AgentName, BookingId, CalendarName, Customer, DestinationName, FlowName, FlowToken, GatewayName, JobId, LeadId,
    MessageId, SubmissionId, TeamName,
};
use crate::domain::submission::{IdempotencyKey, Submission};
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::domain::verdict::Judgement;

/// What an event tells.
#[derive(Debug, Default, Serialize)]
pub struct Facts<'a> {
    /// The flow it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<&'a FlowName>,
    /// The completed form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submission: Option<SubmissionFacts<'a>>,
    /// The place it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booking: Option<BookingFacts<'a>>,
    /// Why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<&'a str>,
    /// Its lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead: Option<LeadFacts<'a>>,
    /// The unfinished form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftFacts<'a>>,
    /// The dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobFacts<'a>>,
    /// How the flow does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthFacts<'a>>,
    /// The number of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<NumberFacts<'a>>,
    /// The destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationFacts<'a>>,

    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayFacts<'a>>,
}

impl Facts<'_> {
    /// What is told in order where a destination asks for it: all that is about one customer or, as long as nobody knows who
    /// that is, about one form. `None`: it is about neither.
    #[must_use]
    pub fn queue(&self) -> Option<[u8; 16]> {
        let (flow, submission) = (self.flow?, self.submission.as_ref()?);
        let name = submission.user.id.or(submission.user.phone);
        let unnamed = || IdempotencyKey::of_unnamed_customer(submission.id);
        let key = name.map_or_else(unnamed, |name| IdempotencyKey::of_customer(flow, name));
        Some(*key.as_bytes())
    }
}

/// Who filled in a form.
#[derive(Debug, Serialize)]
pub struct UserFacts<'a> {
    /// The business-scoped id, or the id that the sender of a plain flow uses.
    pub id: Option<&'a str>,
    /// The phone number, as it came.
    pub phone: Option<&'a str>,
}

/// A completed form.
#[derive(Debug, Serialize)]
pub struct SubmissionFacts<'a> {
    /// Its number here.
    pub id: SubmissionId,
    /// The token of its flow message.
    pub flow_token: Option<&'a FlowToken>,
    /// Who filled it in, as far as that is known. In an encrypted flow nobody is, until the message that follows tells.
    pub user: UserFacts<'a>,
    /// The door it came through: `plain`, `webhook`, `encrypted` or `gateway`.
    pub channel: &'static str,
    /// The WhatsApp message that carried it.
    pub message_id: Option<&'a MessageId>,
    /// When it was taken.
    pub received_at: Timestamp,
    /// The fields.
    pub answers: Answers<'a>,
    /// What is wrong with them, where nobody could be asked again.
    pub problems: &'a [String],
}

/// A place taken in a calendar.
#[derive(Debug, Serialize)]
pub struct BookingFacts<'a> {
    /// Its number here.
    pub id: BookingId,
    /// In which calendar.
    pub calendar: &'a CalendarName,
    /// The day on the calendar's clock, `2027-01-04`.
    pub date: &'a str,
    /// The time on the calendar's clock, `09:00`.
    pub time: &'a str,
    /// When it begins.
    pub starts_at: Timestamp,
    /// `confirmed` or `cancelled`.
    pub state: &'static str,
    /// When it was before it was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<MovedFrom<'a>>,
}

/// The time that a booking had before it was moved.
#[derive(Debug, Serialize)]
pub struct MovedFrom<'a> {
    /// The day.
    pub date: &'a str,
    /// The time.
    pub time: &'a str,
}

/// A form in an agent's care, or waiting for one.
#[derive(Debug, Serialize)]
pub struct LeadFacts<'a> {
    /// Its number here.
    pub id: LeadId,
    /// Whose it may be.
    pub team: &'a TeamName,
    /// Who has it.
    pub agent: Option<&'a AgentName>,
    /// Why they have it, by the name that `leads explain` shows.
    pub reason: &'static str,
}

/// A form that its user has left.
#[derive(Debug, Serialize)]
pub struct DraftFacts<'a> {
    /// The token of its flow message.
    pub flow_token: Option<&'a FlowToken>,
    /// Who was filling it in.
    pub user: UserFacts<'a>,
    /// The screen that they left.
    pub screen: &'a str,
    /// The fields so far.
    pub answers: Answers<'a>,
    /// When the last screen came.
    pub updated_at: Timestamp,
}

/// A job that became a dead letter.
#[derive(Debug, Serialize)]
pub struct JobFacts<'a> {
    /// Its number here: `flowgate dead show ID`.
    pub id: JobId,
    /// What it was to do: `process`, `message` or `deliver`.
    pub kind: &'static str,
    /// The form it was for.
    pub submission_id: Option<SubmissionId>,
    /// The destination that it was to tell.
    pub destination: Option<&'a str>,
    /// Attempts so far.
    pub attempts: u32,
    /// Why it died.
    pub reason: &'a str,
}

/// What is wrong with a flow's endpoint.
#[derive(Debug, Serialize)]
pub struct HealthFacts<'a> {
    /// Who says so: `meta`, or `flowgate` by its own figures.
    pub source: &'static str,
    /// How bad it is: `alert`, or `watch` for a warning of Meta's.
    pub verdict: &'static str,
    /// Meta's number of the flow, which no config knows.
    pub meta_flow_id: Option<&'a str>,
    /// What Meta calls the event.
    pub meta_event: Option<&'a str>,
    /// What has become of it, as Meta puts it: an alert is `ACTIVATED`, a flow `THROTTLED`.
    pub state: Option<&'a str>,
    /// The threshold that Meta's alert is about: percent or, for latency, milliseconds.
    pub threshold: Option<f64>,
    /// What is not as it should be, a phrase each: Meta's words, or what was found in the figures.
    pub findings: Vec<&'a str>,
    /// What to do, where that is known.
    pub advice: Option<&'a str>,
    /// Since when.
    pub at: Timestamp,
}

/// A number of ours that has been silent for unusually long.
#[derive(Debug, Serialize)]
pub struct NumberFacts<'a> {
    /// Meta's id of it.
    pub phone_number_id: &'a str,
    /// The number as people know it: digits.
    pub phone: Option<&'a str>,
    /// When it last received a message.
    pub last_message_at: Timestamp,
    /// In how many minutes since then messages would usually have come.
    pub expected: u64,
    /// What to do, in one sentence.
    pub advice: &'static str,
}

/// A destination that is told nothing any more.
#[derive(Debug, Serialize)]
pub struct DestinationFacts<'a> {
    /// Its name in the config.
    pub name: &'a DestinationName,
    /// Why.
    pub reason: &'a str,
}

/// An unofficial gateway whose session is in trouble.
#[derive(Debug, Serialize)]
pub struct GatewayFacts<'a> {
    /// As the config names it: `flowgate gateways show NAME`.
    pub name: &'a GatewayName,
    /// `wasender`, `waha` or `evolution`.
    pub kind: &'static str,
    /// What the gateway calls its state; `refused` or `unreachable` where it does not say.
    pub state: &'a str,
    /// Since when.
    pub since: Timestamp,
    /// What to do about it, in one sentence.
    pub advice: &'static str,
}

/// The fields of a form: the JSON object that came, with its numbers and its order as they were. A text that is none is null.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Answers<'a>(Option<&'a RawValue>);

impl<'a> Answers<'a> {
    /// Those of `text`.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self(serde_json::from_str(text).ok())
    }
}

impl<'a> From<&'a Customer> for UserFacts<'a> {
    fn from(customer: &'a Customer) -> Self {
        Self { id: customer.id.as_deref(), phone: customer.phone.as_deref() }
    }
}

impl<'a> SubmissionFacts<'a> {
    /// What `submission` says, taken at `received_at`.
    #[must_use]
    pub fn of(id: SubmissionId, received_at: Timestamp, submission: &'a Submission) -> Self {
        Self {
            id,
            flow_token: submission.flow_token.as_ref(),
            user: UserFacts::from(&submission.customer),
            channel: submission.channel.as_str(),
            message_id: submission.message_id.as_ref(),
            received_at,
            answers: Answers::of(&submission.data),
            problems: &submission.problems,
        }
    }
}

impl<'a> BookingFacts<'a> {
    /// What `booking` is.
    #[must_use]
    pub fn of(id: BookingId, booking: &'a Booking) -> Self {
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

impl<'a> GatewayFacts<'a> {
    /// How `standing` is.
    #[must_use]
    pub fn of(name: &'a GatewayName, standing: &'a GatewayStanding) -> Self {
        let GatewayStanding { kind, state, since, .. } = standing;
        Self { name, kind: kind.as_str(), state, since: *since, advice: standing.advice() }
    }
}

impl<'a> NumberFacts<'a> {
    /// How the number `id` is.
    #[must_use]
    pub fn of(id: &'a str, traffic: &'a Traffic) -> Self {
        Self {
            phone_number_id: id,
            phone: traffic.number(),
            last_message_at: traffic.last_message_at(),
            expected: traffic.expected(),
            advice: "look in Meta's dashboard whether the app is still subscribed to `messages` and `standby`, the number is \
                     connected, and the callback URL is this server's",
        }
    }
}

impl<'a> DraftFacts<'a> {
    /// What `draft` has so far.
    #[must_use]
    pub fn of(draft: &'a Draft) -> Self {
        Self {
            flow_token: draft.flow_token.as_ref(),
            user: UserFacts::from(&draft.customer),
            screen: &draft.screen,
            answers: Answers::of(&draft.data),
            updated_at: draft.updated_at,
        }
    }
}

impl<'a> HealthFacts<'a> {
    /// What Meta says.
    #[must_use]
    pub fn by_meta(stand: &'a Standing) -> Self {
        let (event, said) = (&stand.event, &stand.said);
        Self {
            source: "meta",
            verdict: stand.verdict().as_str(),
            meta_flow_id: Some(&event.flow_id),
            meta_event: Some(&event.event),
            state: stand.state(),
            threshold: said.threshold,
            findings: said.message.as_deref().into_iter().collect(),
            advice: None,
            at: event.at(),
        }
    }

    /// What our own figures come to at `at`.
    #[must_use]
    pub fn by_figures(judgement: &'a Judgement, at: Timestamp) -> Self {
        Self {
            source: "flowgate",
            verdict: judgement.verdict.as_str(),
            meta_flow_id: None,
            meta_event: None,
            state: None,
            threshold: None,
            findings: judgement.findings.iter().map(String::as_str).collect(),
            advice: Some(&judgement.advice),
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gateway::{Condition, GatewayKind};
    use crate::domain::submission::Channel;

    #[test]
    fn answers_stay_as_they_came() {
        let submission = Submission {
            flow: FlowName::new("form").unwrap(),
            flow_token: None,
            customer: Customer::from_text("4915112345678"),
            channel: Channel::Webhook,
            message_id: None,
            screen: None,
            data: r#"{"b":1.50,"a":null}"#.into(),
            extra: "".into(),
            problems: vec!["`x` is missing".to_owned()],
            sent_at: None,
        };
        let facts = Facts {
            flow: Some(&submission.flow),
            submission: Some(SubmissionFacts::of(SubmissionId::new(7), Timestamp::ZERO, &submission)),
            ..Facts::default()
        };
        assert_eq!(
            serde_json::to_string(&facts).unwrap(),
            r#"{"flow":"form","submission":{"id":7,"flow_token":null,"user":{"id":null,"phone":"4915112345678"},"channel":"webhook","message_id":null,"received_at":"1970-01-01T00:00:00.000Z","answers":{"b":1.50,"a":null},"problems":["`x` is missing"]}}"#
        );
    }

    #[test]
    fn a_gateway_in_trouble_comes_with_what_to_do() {
        let name = GatewayName::new("shop").unwrap();
        let mut standing = GatewayStanding::unasked(GatewayKind::Waha, Timestamp::ZERO);
        (standing.state, standing.condition) = ("FAILED".into(), Condition::Down);
        let facts = Facts { gateway: Some(GatewayFacts::of(&name, &standing)), ..Facts::default() };
        assert_eq!(
            serde_json::to_string(&facts).unwrap(),
            r#"{"gateway":{"name":"shop","kind":"waha","state":"FAILED","since":"1970-01-01T00:00:00.000Z","advice":"it is being brought back: `flowgate gateways show NAME` says what was tried"}}"#
        );
    }

    #[test]
    fn a_text_that_is_no_json_does_not_break_the_body() {
        assert_eq!(serde_json::to_string(&Answers::of("{\"a\":")).unwrap(), "null");
    }
}
