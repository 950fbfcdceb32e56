//! Defines the events that destinations can receive: the kinds of events and the event body.
//!
//! A body follows *Standard Webhooks* (`type`, `timestamp`, `data`) and adds the version of its
//! shape. The body is written once, when the event happens, and is the same in all attempts. A late
//! delivery therefore describes the state at the time of the event.
//!
//! See [`self::data`] for the parts of `data`,
//! [`self::subscriptions`] for the destinations of an event, and `docs/events/` for
//! the description of each body.

pub mod data;
pub mod samples;
pub mod subscriptions;
pub mod summary;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::DestinationName;
use super::time::Timestamp;
use data::EventData;

/// Version of the shape of event bodies. Within one version, parts may be added. No part is removed
/// or changes its meaning.
pub const BODY_VERSION: u8 = 1;

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum EventKind {
    /// A form was accepted.
    SubmissionAccepted,
    /// A stored submission also arrived through its other channel, which identified the customer.
    SubmissionUpdated,
    /// A lead was assigned to an agent, for the first time or again.
    LeadAssigned,
    /// A lead has no agent, because no agent of its team is available.
    LeadWaiting,
    /// A booking was made or moved to another time.
    BookingConfirmed,
    /// A booking was cancelled.
    BookingCancelled,
    /// A form was accepted, but the slot that it requests was not available.
    BookingConflict,
    /// A form was started but not completed.
    DraftAbandoned,
    /// The session of a gateway is not connected.
    GatewayDown,
    /// The session of a gateway needs a person, for example to scan a code.
    GatewayNeedsPerson,
    /// The endpoint of a flow is unhealthy by Meta's thresholds.
    FlowUnhealthy,
    /// A phone number that usually receives messages receives none.
    NumberSilent,
    /// A job became a dead letter.
    JobDead,
    /// A destination receives nothing until an admin resumes it.
    DestinationStopped,
}

/// Error for a text that is not the name of an event kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no event {0:?}")]
pub struct UnknownEvent(String);

impl EventKind {
    /// All event kinds.
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

    /// Returns the name of the event kind, which is the `type` of the body.
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

    /// Returns the event kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Returns `true` if the event is an alert for those who run the server. Other events are for
    /// those who work with the submissions.
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
        Self::from_name(&name).ok_or(UnknownEvent(name))
    }
}

/// Renders the body of an event of `kind` that happened at `at`, as JSON text.
#[must_use]
pub fn render_body(kind: EventKind, at: Timestamp, data: &EventData<'_>) -> Box<str> {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'static str,
        timestamp: Timestamp,
        version: u8,
        data: &'a EventData<'a>,
    }
    let body = Body {
        r#type: kind.as_str(),
        timestamp: at,
        version: BODY_VERSION,
        data,
    };
    // The serialization of names and texts can't fail.
    serde_json::to_string(&body).unwrap_or_default().into()
}

/// Renders the body of a test, as JSON text. The body states that nothing has happened.
#[must_use]
pub fn render_test_body(destination: &DestinationName, at: Timestamp) -> Box<str> {
    #[derive(Serialize)]
    struct Body {
        r#type: &'static str,
        timestamp: Timestamp,
        version: u8,
        data: TestData,
    }
    #[derive(Serialize)]
    struct TestData {
        test: bool,
        message: String,
    }
    let data = TestData {
        test: true,
        message: test_message(destination),
    };
    let body = Body {
        r#type: "test",
        timestamp: at,
        version: BODY_VERSION,
        data,
    };
    serde_json::to_string(&body).unwrap_or_default().into()
}

/// Returns the message of a test for people.
#[must_use]
pub fn test_message(destination: &DestinationName) -> String {
    format!(
        "This is a test of destination {destination}. Nothing has happened, and no action is needed."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_round_trip() {
        for kind in EventKind::ALL {
            let name = kind.as_str();
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.')),
                "{name}"
            );
            assert_eq!(EventKind::from_name(name), Some(kind));
        }
        assert_eq!(EventKind::from_name("submission.Accepted"), None);
    }

    #[test]
    fn test_body_is_marked_as_test() {
        let crm = DestinationName::new("crm").unwrap();
        assert_eq!(
            &*render_test_body(&crm, Timestamp::from_millis(1_700_000_000_123)),
            r#"{"type":"test","timestamp":"2023-11-14T22:13:20.123Z","version":1,"data":{"test":true,"message":"This is a test of destination crm. Nothing has happened, and no action is needed."}}"#
        );
        assert_eq!(EventKind::from_name("test"), None, "no event has its name");
    }

    #[test]
    fn body_has_type_timestamp_version_and_data() {
        let data = EventData::default();
        assert_eq!(
            &*render_body(
                EventKind::JobDead,
                Timestamp::from_millis(1_700_000_000_123),
                &data
            ),
            r#"{"type":"job.dead","timestamp":"2023-11-14T22:13:20.123Z","version":1,"data":{}}"#
        );
    }
}
