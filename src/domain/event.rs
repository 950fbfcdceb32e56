//! What the outside may be told of: the kinds of events, and the text that tells one.
//!
//! A body is *Standard Webhooks*' (`type`, `timestamp`, `data`) with the version of its shape. It is written once, when the
//! event becomes true, and stays as it is through all attempts: what a receiver gets late tells how things were then. The
//! parts of `data` are in [`facts`]; who is told is `super::routes`' to say, and `docs/events/` describes each body.

pub mod example;
pub mod facts;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::DestinationName;
use super::time::Timestamp;
use facts::Facts;

/// The version of the bodies' shape. Parts may be added within one version; none goes or changes its meaning.
pub const BODY_VERSION: u8 = 1;

/// Something that became true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum EventKind {
    /// A form was taken.
    SubmissionAccepted,
    /// A form that was taken before arrived through the other door as well, and told who filled it in.
    SubmissionUpdated,
    /// A lead has an agent, or another one.
    LeadAssigned,
    /// A lead has none: nobody of its team can take it.
    LeadWaiting,
    /// A place is booked, or moved to another time.
    BookingConfirmed,
    /// A booking was cancelled.
    BookingCancelled,
    /// A form was taken, but not the slot that it asks for.
    BookingConflict,
    /// A form was begun and left.
    DraftAbandoned,
    /// A gateway's session is not connected.
    GatewayDown,
    /// A gateway's session needs somebody: a code to scan, say.
    GatewayNeedsPerson,
    /// A flow's endpoint is in trouble, by Meta's measure.
    FlowUnhealthy,
    /// A number that usually receives messages receives none.
    NumberSilent,
    /// A job has become a dead letter.
    JobDead,
    /// A destination is told nothing any more, until somebody resumes it.
    DestinationStopped,
}

/// A text that names no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no event {0:?}")]
pub struct UnknownEvent(String);

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::SubmissionAccepted,
        Self::SubmissionUpdated,
        Self::LeadAssigned,
        Self::LeadWaiting,
        Self::BookingConfirmed,
        Self::BookingCancelled,
        Self::BookingConflict,
        Self::DraftAbandoned,
        Self::GatewayDown,
        Self::GatewayNeedsPerson,
        Self::FlowUnhealthy,
        Self::NumberSilent,
        Self::JobDead,
        Self::DestinationStopped,
    ];

    /// The `type` of its body.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SubmissionAccepted => "submission.accepted",
            Self::SubmissionUpdated => "submission.updated",
            Self::LeadAssigned => "lead.assigned",
            Self::LeadWaiting => "lead.waiting",
            Self::BookingConfirmed => "booking.confirmed",
            Self::BookingCancelled => "booking.cancelled",
            Self::BookingConflict => "booking.conflict",
            Self::DraftAbandoned => "draft.abandoned",
            Self::GatewayDown => "gateway.down",
            Self::GatewayNeedsPerson => "gateway.needs_person",
            Self::FlowUnhealthy => "flow.unhealthy",
            Self::NumberSilent => "number.silent",
            Self::JobDead => "job.dead",
            Self::DestinationStopped => "destination.stopped",
        }
    }

    /// The event with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it is for those who run the server, rather than for those who work with what came in.
    #[must_use]
    pub const fn is_alert(self) -> bool {
        matches!(
            self,
            Self::GatewayDown
                | Self::GatewayNeedsPerson
                | Self::FlowUnhealthy
                | Self::NumberSilent
                | Self::JobDead
                | Self::DestinationStopped
        )
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<EventKind> for String {
    fn from(kind: EventKind) -> Self {
        kind.as_str().to_owned()
    }
}

impl TryFrom<String> for EventKind {
    type Error = UnknownEvent;

    fn try_from(name: String) -> Result<Self, UnknownEvent> {
        Self::named(&name).ok_or(UnknownEvent(name))
    }
}

/// The body that tells of `kind`, which became true at `at`: JSON text.
#[must_use]
pub fn body(kind: EventKind, at: Timestamp, facts: &Facts<'_>) -> Box<str> {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'static str,
        timestamp: Timestamp,
        version: u8,
        data: &'a Facts<'a>,
    }
    let body = Body { r#type: kind.as_str(), timestamp: at, version: BODY_VERSION, data: facts };
    // Names and texts always have a JSON form.
    serde_json::to_string(&body).unwrap_or_default().into()
}

/// The body of a test: nothing has happened, and it says so.
#[must_use]
pub fn test_body(destination: &DestinationName, at: Timestamp) -> Box<str> {
    #[derive(Serialize)]
    struct Body {
        r#type: &'static str,
        timestamp: Timestamp,
        version: u8,
        data: Data,
    }
    #[derive(Serialize)]
    struct Data {
        test: bool,
        message: String,
    }
    let data = Data { test: true, message: test_text(destination) };
    let body = Body { r#type: "test", timestamp: at, version: BODY_VERSION, data };
    serde_json::to_string(&body).unwrap_or_default().into()
}

/// What a test says to people.
#[must_use]
pub fn test_text(destination: &DestinationName) -> String {
    format!("This is a test of destination {destination}. Nothing has happened, and nothing is to be done.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_standard_webhooks_and_lead_back_to_their_events() {
        for kind in EventKind::ALL {
            let name = kind.as_str();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.')), "{name}");
            assert_eq!(EventKind::named(name), Some(kind));
        }
        assert_eq!(EventKind::named("submission.Accepted"), None);
    }

    #[test]
    fn a_test_says_that_it_is_one() {
        let crm = DestinationName::new("crm").unwrap();
        assert_eq!(
            &*test_body(&crm, Timestamp::from_millis(1_700_000_000_123)),
            r#"{"type":"test","timestamp":"2023-11-14T22:13:20.123Z","version":1,"data":{"test":true,"message":"This is a test of destination crm. Nothing has happened, and nothing is to be done."}}"#
        );
        assert_eq!(EventKind::named("test"), None, "no event has its name");
    }

    #[test]
    fn a_body_has_what_receivers_look_for_first() {
        let facts = Facts::default();
        assert_eq!(
            &*body(EventKind::JobDead, Timestamp::from_millis(1_700_000_000_123), &facts),
            r#"{"type":"job.dead","timestamp":"2023-11-14T22:13:20.123Z","version":1,"data":{}}"#
        );
    }
}
