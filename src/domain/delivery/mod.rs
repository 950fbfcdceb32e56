//! Defines the stored rows of the delivery of one event to one destination.
//!
//! A delivery is a job. See [`super::job`] for the states, [`super::job::retry`] for the time of
//! the next attempt, [`disposition`] for the consequence of an attempt, and [`crate::delivery`] for
//! sending.

pub mod cloud_error;
pub mod disposition;
pub mod email;
pub mod message;
pub mod payload;
pub mod receipt;
pub mod smtp_reply;

use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::ids::{DestinationName, FlowName, JobId};
use super::submission::IdempotencyKey;
use super::time::Timestamp;
pub use disposition::{AttemptEnd, Disposition};

/// Maximum bytes of a response that are stored.
pub const RESPONSE_EXCERPT_BYTES: usize = 2 << 10;

/// Event as stored in the file. The transaction that causes the event writes it once, if any
/// destination subscribes to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Kind of the event.
    pub kind: EventKind,
    /// Time of the event.
    pub occurred_at: Timestamp,
    /// Flow that the event is about. `None`: no flow.
    pub flow: Option<FlowName>,
    /// Complete event body as JSON text. See [`super::event`].
    pub body: Box<str>,
    /// Number of deliveries of the event. Their job IDs are consecutive, and the first job ID is
    /// the ID of the event.
    pub delivery_count: u32,
}

/// Data of a job of kind `deliver`, as stored in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Destination that receives the event.
    pub destination: DestinationName,
    /// Event ID: the job ID of the first delivery of the event.
    pub event_id: JobId,
    /// Key of the queue in which the delivery waits for earlier deliveries to the same destination.
    /// Used if the destination receives the events of each customer in order. The key identifies
    /// the customer or, if the customer is unknown, the form. `None`: no order.
    pub ordering_key: Option<[u8; 16]>,
    /// Webhook ID (`webhook-id`), the idempotency key of the receiver. All attempts have the same
    /// ID, including attempts that an admin requests.
    pub webhook_id: Box<str>,
}

/// Response to one attempt. The attempts of the job contain the start time and the duration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseRecord {
    /// HTTP status. `None`: no response.
    pub status: Option<u16>,
    /// Beginning of the response body as text.
    pub body_excerpt: Box<str>,
}

/// Suspension of a destination, as stored in the file. A destination without a row is active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Time at which an admin paused the destination. `None`: not paused.
    pub paused_at: Option<Timestamp>,
    /// Time and reason of a disabled or blocked destination. The destination refused all further
    /// deliveries, or can't be reached with the settings in the config. An admin must resume the
    /// destination. `None`: neither disabled nor blocked.
    pub disabled: Option<(Timestamp, Box<str>)>,
}

impl Suspension {
    /// Returns `true` if no suspension is in force.
    #[must_use]
    pub const fn is_lifted(&self) -> bool {
        self.paused_at.is_none() && self.disabled.is_none()
    }
}

/// Returns the webhook ID of the delivery `job`, created at `at`. The ID is unique, also after the
/// start of a new data file or the restore of a backup.
#[must_use]
pub fn webhook_id(
    job: JobId,
    at: Timestamp,
    destination: &DestinationName,
    body: &str,
) -> Box<str> {
    let parts = [
        &job.to_string(),
        &at.as_millis().to_string(),
        destination.as_str(),
        body,
    ];
    format!("msg_{}", IdempotencyKey::for_delivery(parts)).into()
}

/// Returns the webhook ID of a test that is sent at `at`. No delivery has this ID.
#[must_use]
pub fn test_webhook_id(at: Timestamp) -> String {
    format!("test_{}", at.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_id_is_unique_ascii() {
        let crm = DestinationName::new("crm.eu").unwrap();
        let webhook_id_of =
            |job, at| webhook_id(JobId::new(job), Timestamp::from_millis(at), &crm, "{}");
        let id = webhook_id_of(1, 1);
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(id.bytes().all(is_allowed), "{id}");
        assert_eq!(webhook_id_of(1, 1), id);
        assert_ne!(webhook_id_of(1, 1), webhook_id_of(2, 1));
        // A new data file begins with the same job ID.
        assert_ne!(webhook_id_of(1, 1), webhook_id_of(1, 2));
        assert_eq!(test_webhook_id(Timestamp::from_millis(7)), "test_7");
    }
}
