//! Defines the kinds of events and their names.

use std::fmt;

use serde::{Deserialize, Serialize};

named_enum! {
    /// Kind of an event.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(into = "String", try_from = "String")]
    pub enum EventKind {
        /// A form was accepted.
        SubmissionAccepted = "submission.accepted",
        /// A stored submission also arrived through its other channel, which identified the
        /// customer.
        SubmissionUpdated = "submission.updated",
        /// A lead was assigned to an agent, for the first time or again.
        LeadAssigned = "lead.assigned",
        /// A lead has no agent, because no agent of its team is available.
        LeadWaiting = "lead.waiting",
        /// A lead was closed by an admin, by a CRM, or by its age.
        LeadClosed = "lead.closed",
        /// A booking was made or moved to another time.
        BookingConfirmed = "booking.confirmed",
        /// A booking was cancelled.
        BookingCancelled = "booking.cancelled",
        /// A form was accepted, but the slot that it requests was not available.
        BookingConflict = "booking.conflict",
        /// A form was started but not completed.
        DraftAbandoned = "draft.abandoned",
        /// The session of a gateway is not connected.
        GatewayDown = "gateway.down",
        /// The session of a gateway needs a person, for example to scan a code.
        GatewayNeedsPerson = "gateway.needs_person",
        /// The endpoint of a flow is unhealthy by Meta's thresholds.
        FlowUnhealthy = "flow.unhealthy",
        /// A phone number that usually receives messages receives none.
        NumberSilent = "number.silent",
        /// A job became a dead letter.
        JobDead = "job.dead",
        /// A destination receives nothing until an admin resumes it.
        DestinationStopped = "destination.stopped",
        /// A backup failed or is late.
        BackupFailed = "backup.failed",
    }
}

/// Error for a text that is not the name of an event kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no event {0:?}")]
pub struct UnknownEvent(String);

impl EventKind {
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
            let is_allowed = |b: u8| b.is_ascii_lowercase() || matches!(b, b'_' | b'.');
            assert!(name.bytes().all(is_allowed), "{name}");
            assert_eq!(EventKind::from_name(name), Some(kind));
        }
        assert_eq!(EventKind::from_name("submission.Accepted"), None);
    }
}
