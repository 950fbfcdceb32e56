//! Defines the delivery of one event to one destination: its stored rows, and the disposition after
//! an attempt.
//!
//! A delivery is a job.
//!
//! See [`super::job`] for the states, [`super::job::retry`] for the time of the
//! next attempt, and [`crate::delivery`] for sending.

pub mod cloud_error;
pub mod email;
pub mod message;
pub mod payload;
pub mod receipt;
pub mod smtp_reply;
use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::ids::{DestinationName, FlowName, JobId};
use super::submission::IdempotencyKey;
use super::time::{Millis, Timestamp};

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

/// End of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The destination sent a response.
    Responded {
        /// HTTP status.
        status: u16,
        /// Minimum delay before the next attempt that the response requests.
        retry_after: Option<Millis>,
    },
    /// Nothing was sent.
    NotSent,
    /// The request was sent at least in part, but no complete response arrived. The destination may
    /// have accepted the delivery.
    Unknown,
}

/// Disposition: consequence of the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The destination accepted the delivery.
    Delivered,
    /// The destination did not accept the delivery, but may accept it later.
    Retry {
        /// Minimum delay before the next attempt.
        retry_after: Option<Millis>,
        /// `true` if the delay applies to the whole destination. `false`: the delay applies to this
        /// delivery only.
        pauses_destination: bool,
        /// `true` if the circuit breaker of the destination counts the attempt as a failure.
        is_failure: bool,
    },
    /// The destination will never accept the delivery in its present form.
    Refused,
    /// The destination refuses all further deliveries.
    Disable,
    /// The destination can't receive anything until an admin acts: a token has expired, or an
    /// account is locked.
    Block,
    /// The destination may have accepted the delivery, and a second send would be wrong. The worker
    /// waits for a confirmation.
    Unconfirmed,
}

impl AttemptEnd {
    /// Returns the disposition for a webhook (*Standard Webhooks*, "Deliverability and
    /// reliability").
    ///
    /// - 2xx is success. 410 disables the destination. 429, 502, 503 and 504 ask for fewer
    ///   requests.
    /// - 401, 403 and 407 mean that our credentials are wrong, so the next delivery would fail as
    ///   well.
    /// - Redirects are not followed. After a permanent redirect (301, 308), the owner must change
    ///   the config.
    #[must_use]
    pub fn webhook_disposition(self) -> Disposition {
        let retry = |retry_after, is_failure| Disposition::Retry {
            retry_after,
            pauses_destination: false,
            is_failure,
        };
        match self {
            Self::NotSent | Self::Unknown => retry(None, true),
            Self::Responded {
                status,
                retry_after,
            } => match status {
                200..=299 => Disposition::Delivered,
                401 | 403 | 407 => Disposition::Block,
                410 => Disposition::Disable,
                429 => Disposition::Retry {
                    retry_after,
                    pauses_destination: true,
                    is_failure: false,
                },
                502..=504 => Disposition::Retry {
                    retry_after,
                    pauses_destination: retry_after.is_some(),
                    is_failure: true,
                },
                // These statuses mean too early, too slow, a lock or a conflict at the receiver.
                // All of them may be temporary. A redirect to a maintenance page may also be
                // temporary.
                302 | 303 | 307 | 408 | 409 | 423 | 425 => retry(retry_after, false),
                300..=499 => Disposition::Refused,
                _ => retry(retry_after, true),
            },
        }
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
    fn webhook_status_maps_to_disposition() {
        let disposition = |status| {
            AttemptEnd::Responded {
                status,
                retry_after: Some(Millis::from_secs(7)),
            }
            .webhook_disposition()
        };
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(disposition(status), Disposition::Delivered, "{status}");
        }
        for status in [300, 301, 304, 308, 400, 402, 404, 405, 413, 415, 422, 451] {
            assert_eq!(disposition(status), Disposition::Refused, "{status}");
        }
        assert_eq!(disposition(410), Disposition::Disable);
        for status in [401, 403, 407] {
            assert_eq!(disposition(status), Disposition::Block, "{status}");
        }
        let requested_delay = Some(Millis::from_secs(7));
        for (status, pauses_destination, is_failure) in [
            (302, false, false),
            (303, false, false),
            (307, false, false),
            (408, false, false),
            (409, false, false),
            (423, false, false),
            (425, false, false),
            (429, true, false),
            (500, false, true),
            (501, false, true),
            (502, true, true),
            (503, true, true),
            (504, true, true),
            (599, false, true),
            (199, false, true),
            (999, false, true),
        ] {
            let expected = Disposition::Retry {
                retry_after: requested_delay,
                pauses_destination,
                is_failure,
            };
            assert_eq!(disposition(status), expected, "{status}");
        }
    }

    #[test]
    fn attempt_without_response_is_retried() {
        for attempt_end in [AttemptEnd::NotSent, AttemptEnd::Unknown] {
            let expected = Disposition::Retry {
                retry_after: None,
                pauses_destination: false,
                is_failure: true,
            };
            assert_eq!(attempt_end.webhook_disposition(), expected);
        }
        let overloaded = AttemptEnd::Responded {
            status: 503,
            retry_after: None,
        };
        let expected = Disposition::Retry {
            retry_after: None,
            pauses_destination: false,
            is_failure: true,
        };
        assert_eq!(
            overloaded.webhook_disposition(),
            expected,
            "how long to leave it alone is its breaker's then"
        );
    }

    #[test]
    fn webhook_id_is_unique_ascii() {
        let crm = DestinationName::new("crm.eu").unwrap();
        let webhook_id_of =
            |job, at| webhook_id(JobId::new(job), Timestamp::from_millis(at), &crm, "{}");
        assert!(
            webhook_id_of(1, 1)
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{}",
            webhook_id_of(1, 1)
        );
        assert_eq!(webhook_id_of(1, 1), webhook_id_of(1, 1));
        assert_ne!(webhook_id_of(1, 1), webhook_id_of(2, 1));
        assert_ne!(
            webhook_id_of(1, 1),
            webhook_id_of(1, 2),
            "the same number in a file that was begun anew"
        );
        assert_eq!(test_webhook_id(Timestamp::from_millis(7)), "test_7");
    }
}
