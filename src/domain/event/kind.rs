//! Defines the kinds of events and their names.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// A backup failed or is late.
    BackupFailed,
}

/// Error for a text that is not the name of an event kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no event {0:?}")]
pub struct UnknownEvent(String);

impl EventKind {
    /// All event kinds.
    pub const ALL: [Self; 15] = [
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
        Self::BackupFailed,
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
            Self::BackupFailed => "backup.failed",
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
                | Self::BackupFailed
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
}
