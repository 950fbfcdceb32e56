//! Telling one destination one thing: what is kept of it, and what an attempt's end means.
//!
//! A delivery is a job: its states are `super::job`'s, and when it is tried again is `super::retry`'s to say. Sending is
//! `crate::courier`'s.

use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::ids::{DestinationName, FlowName, JobId};
use super::submission::IdempotencyKey;
use super::time::{Millis, Timestamp};

/// Bytes that are kept of an answer.
pub const ANSWER_BYTES: usize = 2 << 10;

/// An event, as the file has it: written once, in the transaction that makes it true, if any destination is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What became true.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// The flow it is about.
    pub flow: Option<FlowName>,
    /// The whole body: JSON text. See `super::event`.
    pub body: Box<str>,
    /// How many deliveries it has. Their numbers follow each other; the event is known by the first.
    pub deliveries: u32,
}

/// What a job of kind `deliver` is to do, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Whom to tell.
    pub destination: DestinationName,
    /// What of: the first delivery of the event.
    pub event: JobId,
    /// Behind which others to this destination it waits, where that is told of each customer in order: those of the same
    /// customer or, as long as nobody knows who that is, of the same form.
    pub queue: Option<[u8; 16]>,
    /// Its `webhook-id`: the same for all attempts, also those that an admin asks for. The receiver's idempotency key.
    pub message_id: Box<str>,
}

/// What came back from one attempt. When it was and how long it took is with the job's attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The status; `None`: no answer.
    pub status: Option<u16>,
    /// The beginning of the answer's body, as text.
    pub answer: Box<str>,
}

/// What stands against telling a destination, as the file has it. One that has no row is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standstill {
    /// An admin paused it, then.
    pub paused_at: Option<Timestamp>,
    /// It said that it wants no more, or can't be told with what the config has: since when, and why. Ends when an admin
    /// resumes it.
    pub disabled: Option<(Timestamp, Box<str>)>,
}

impl Standstill {
    /// Whether nothing stands against it.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.paused_at.is_none() && self.disabled.is_none()
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an answer.
    Answered {
        /// Its status.
        status: u16,
        /// What it asks for before the next try.
        retry_after: Option<Millis>,
    },
    /// Nothing was sent.
    NotSent,
    /// Something was sent, and no whole answer came: whether it was taken is unknown.
    Unknown,
}

/// What an attempt's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It was taken.
    Delivered,
    /// It was not, and may be at another time.
    Again {
        /// No sooner than this.
        retry_after: Option<Millis>,
        /// Whether the whole destination is to be left alone for so long, not only this delivery.
        holds_lane: bool,
        /// Whether it says that the destination is in trouble, which is what its breaker counts.
        is_failure: bool,
    },
    /// It never will be, as it is.
    Refused,
    /// The destination wants nothing any more.
    Gone,
    /// Nothing can be told there until somebody has acted: a token has ended, an account is locked.
    Stopped,
    /// It may have been taken, and telling it twice would be wrong: word of it is waited for.
    Unknown,
}

impl Ending {
    /// What it means where a webhook is told (*Standard Webhooks*, "Deliverability and reliability"): 2xx is success, 410
    /// ends all, 429, 502, 503 and 504 ask to slow down. 401, 403 and 407 say that what we show is no good: the next delivery
    /// would hear the same. Redirects are not followed; one that says "for good" (301, 308) is
    /// for the owner to put into the config.
    #[must_use]
    pub fn of_webhook(self) -> Meaning {
        let again = |retry_after, is_failure| Meaning::Again { retry_after, holds_lane: false, is_failure };
        match self {
            Self::NotSent | Self::Unknown => again(None, true),
            Self::Answered { status, retry_after } => match status {
                200..=299 => Meaning::Delivered,
                401 | 403 | 407 => Meaning::Stopped,
                410 => Meaning::Gone,
                429 => Meaning::Again { retry_after, holds_lane: true, is_failure: false },
                502..=504 => Meaning::Again { retry_after, holds_lane: retry_after.is_some(), is_failure: true },
                // Too early, too slow, a lock or a conflict on their side: all may pass. So may a page of maintenance.
                302 | 303 | 307 | 408 | 409 | 423 | 425 => again(retry_after, false),
                300..=499 => Meaning::Refused,
                _ => again(retry_after, true),
            },
        }
    }
}

/// The `webhook-id` of the delivery `job`, made at `at`: no other has it, also in a file that begins anew or was restored.
#[must_use]
pub fn message_id(job: JobId, at: Timestamp, destination: &DestinationName, body: &str) -> Box<str> {
    let parts = [&job.to_string(), &at.as_millis().to_string(), destination.as_str(), body];
    format!("msg_{}", IdempotencyKey::of_delivery(parts)).into()
}

/// The `webhook-id` of a test that is sent at `at`: no delivery has it.
#[must_use]
pub fn test_id(at: Timestamp) -> String {
    format!("test_{}", at.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_follows() {
        let meaning = |status| Ending::Answered { status, retry_after: Some(Millis::from_secs(7)) }.of_webhook();
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(meaning(status), Meaning::Delivered, "{status}");
        }
        for status in [300, 301, 304, 308, 400, 402, 404, 405, 413, 415, 422, 451] {
            assert_eq!(meaning(status), Meaning::Refused, "{status}");
        }
        assert_eq!(meaning(410), Meaning::Gone);
        for status in [401, 403, 407] {
            assert_eq!(meaning(status), Meaning::Stopped, "{status}");
        }
        let asked = Some(Millis::from_secs(7));
        for (status, holds_lane, is_failure) in [
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
            let expected = Meaning::Again { retry_after: asked, holds_lane, is_failure };
            assert_eq!(meaning(status), expected, "{status}");
        }
    }

    #[test]
    fn what_got_no_answer_is_tried_again_whether_it_was_sent_or_not() {
        for ending in [Ending::NotSent, Ending::Unknown] {
            let expected = Meaning::Again { retry_after: None, holds_lane: false, is_failure: true };
            assert_eq!(ending.of_webhook(), expected);
        }
        let overloaded = Ending::Answered { status: 503, retry_after: None };
        let expected = Meaning::Again { retry_after: None, holds_lane: false, is_failure: true };
        assert_eq!(overloaded.of_webhook(), expected, "how long to leave it alone is its breaker's then");
    }

    #[test]
    fn an_id_is_visible_ascii_without_a_full_stop_and_its_own() {
        let crm = DestinationName::new("crm.eu").unwrap();
        let id = |job, at| message_id(JobId::new(job), Timestamp::from_millis(at), &crm, "{}");
        assert!(id(1, 1).bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{}", id(1, 1));
        assert_eq!(id(1, 1), id(1, 1));
        assert_ne!(id(1, 1), id(2, 1));
        assert_ne!(id(1, 1), id(1, 2), "the same number in a file that was begun anew");
        assert_eq!(test_id(Timestamp::from_millis(7)), "test_7");
    }
}
