//! Applies Meta's statuses to a sent message: sent, delivered, read, or failed after acceptance.
//!
//! Statuses may come late, twice and out of order. The stage of a message never decreases. See
//! [`super::cloud_error`] for the consequences of a failure.

use serde::{Deserialize, Serialize};

use super::cloud_error::CloudError;
use crate::domain::ids::JobId;
use crate::domain::job::Attempt;
use crate::domain::time::{Millis, Timestamp};

named_enum! {
    /// Stage of a message, in ascending order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum DeliveryStage {
        /// Meta's servers have the message.
        Sent = "sent",
        /// The customer's phone has the message.
        Delivered = "delivered",
        /// The customer has read the message.
        Read = "read",
    }
}

/// Status of one message from Meta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Meta's ID of the message: `wamid.…`.
    pub wamid: Box<str>,
    /// Callback data that the message was sent with. `None` if the data is missing or not from
    /// flowgate.
    pub callback: Option<CallbackData>,
    /// Content of the status.
    pub status: StatusKind,
    /// Time of the status according to Meta, in UTC.
    pub occurred_at: Option<Timestamp>,
}

/// Content of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKind {
    /// The message reached this stage.
    Reached(DeliveryStage),
    /// The message did not reach the recipient.
    Failed(CloudError),
}

/// Data that each message contains as `biz_opaque_callback_data` and that its statuses return: job
/// ID and webhook ID. The webhook ID distinguishes the messages of different data files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackData {
    /// Job ID.
    pub job_id: JobId,
    /// Webhook ID of the delivery.
    pub webhook_id: Box<str>,
}

impl CallbackData {
    /// Parses the text that [`CallbackData::to_text`] wrote. `None` if the text is not from
    /// flowgate.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (webhook_id, job_id) = text.rsplit_once('.')?;
        let job_id = job_id.parse().ok()?;
        webhook_id.starts_with("msg_").then(|| Self {
            job_id,
            webhook_id: webhook_id.into(),
        })
    }

    /// Returns the data as text, far below the 512 characters that Meta allows.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}.{}", self.webhook_id, self.job_id)
    }
}

/// Stored state of the message that a delivery sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Meta's ID of the message. `None` until Meta's response or a status names it.
    pub wamid: Option<Box<str>>,
    /// Highest stage that the message reached.
    pub stage: Option<DeliveryStage>,
    /// Error with which the message failed after Meta had accepted it.
    pub error: Option<CloudError>,
    /// Time of the last change by a status, in UTC.
    pub updated_at: Option<Timestamp>,
    /// Attempt that is in flight, or that ended without a clear result.
    pub pending_attempt: Option<PendingAttempt>,
}

/// Attempt whose result is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingAttempt {
    /// Number of the attempt.
    pub number: u32,
    /// Start of the attempt, in UTC.
    pub started_at: Timestamp,
    /// Time until which a status may report the result, in UTC. After that, the delivery is
    /// retried.
    pub deadline: Timestamp,
}

/// Change that a status makes to a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptChange {
    /// The status contains nothing new.
    Unchanged,
    /// The message exists, or has reached a higher stage.
    Advanced,
    /// The message failed.
    Failed(CloudError),
}

impl PendingAttempt {
    /// Returns the attempt for the history, with the error or `None`. The duration is 0, because
    /// only the response of the attempt could show it.
    #[must_use]
    pub const fn to_attempt(self, error: Option<String>) -> Attempt {
        Attempt {
            number: self.number,
            started_at: self.started_at,
            duration: Millis::ZERO,
            error,
        }
    }
}

impl Receipt {
    /// Applies a status to the receipt.
    pub fn apply_status(&mut self, update: &StatusUpdate) -> ReceiptChange {
        let current = self.wamid.as_ref();
        let is_current_message = current.is_none_or(|wamid| *wamid == update.wamid);
        let has_failed = self.error.is_some();
        let is_new = match update.status {
            // A failure of an earlier message of this delivery does not count, and neither does a
            // repetition. A message that reached the phone can't fail.
            StatusKind::Failed(_) => {
                is_current_message && !has_failed && self.stage < Some(DeliveryStage::Delivered)
            }
            // The failure may have arrived before this status.
            StatusKind::Reached(stage) => {
                !(is_current_message && has_failed) && Some(stage) > self.stage
            }
        };
        if !is_new {
            return ReceiptChange::Unchanged;
        }
        self.wamid = Some(update.wamid.clone());
        self.updated_at = update.occurred_at;
        match update.status {
            StatusKind::Failed(error) => {
                self.error = Some(error);
                ReceiptChange::Failed(error)
            }
            StatusKind::Reached(stage) => {
                self.stage = Some(stage);
                ReceiptChange::Advanced
            }
        }
    }

    /// Returns `true` if the message `wamid` has failed.
    #[must_use]
    pub fn has_failed(&self, wamid: &str) -> bool {
        self.error.is_some() && self.wamid.as_deref() == Some(wamid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeliveryStage::{Delivered, Read, Sent};
    use ReceiptChange::{Advanced, Failed, Unchanged};

    const ERROR: CloudError = CloudError {
        code: 131_026,
        is_transient: false,
    };

    fn update(wamid: &str, status: StatusKind) -> StatusUpdate {
        StatusUpdate {
            wamid: wamid.into(),
            callback: None,
            status,
            occurred_at: None,
        }
    }

    fn reach(receipt: &mut Receipt, wamid: &str, stage: DeliveryStage) -> ReceiptChange {
        receipt.apply_status(&update(wamid, StatusKind::Reached(stage)))
    }

    fn fail(receipt: &mut Receipt, wamid: &str) -> ReceiptChange {
        receipt.apply_status(&update(wamid, StatusKind::Failed(ERROR)))
    }

    #[test]
    fn receipt_stage_never_decreases() {
        let mut receipt = Receipt::default();
        for (status, expected) in [
            (Sent, Advanced),
            (Read, Advanced),
            (Delivered, Unchanged),
            (Read, Unchanged),
        ] {
            assert_eq!(reach(&mut receipt, "a", status), expected, "{status:?}");
        }
        assert_eq!(receipt.stage, Some(Read));
        // A message that was read can't fail.
        assert_eq!(fail(&mut receipt, "a"), Unchanged);
    }

    #[test]
    fn failure_is_applied_once() {
        let mut receipt = Receipt::default();
        assert_eq!(fail(&mut receipt, "a"), Failed(ERROR));
        assert!(receipt.has_failed("a") && !receipt.has_failed("b"));
        assert_eq!(fail(&mut receipt, "a"), Unchanged);
        assert_eq!(reach(&mut receipt, "a", Sent), Unchanged);
    }

    #[test]
    fn failure_of_earlier_message_is_ignored() {
        let mut receipt = Receipt {
            wamid: Some("b".into()),
            ..Receipt::default()
        };
        assert_eq!(fail(&mut receipt, "a"), Unchanged);
        assert_eq!(reach(&mut receipt, "b", Sent), Advanced);
    }

    #[test]
    fn callback_data_round_trips() {
        let ours = CallbackData {
            job_id: JobId::new(42),
            webhook_id: "msg_0a".into(),
        };
        assert_eq!(ours.to_text(), "msg_0a.42");
        assert_eq!(CallbackData::parse(&ours.to_text()), Some(ours));
        for other in ["", "42", "msg_0a", "msg_0a.", "msg_0a.x", "order.42"] {
            assert_eq!(CallbackData::parse(other), None, "{other}");
        }
    }
}
