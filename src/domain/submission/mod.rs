//! Defines completed forms.
//!
//! See [`idempotency`] for the keys under which each form is accepted once, and [`crate::intake`]
//! for the origin and authentication of the bytes.

pub mod draft;
pub mod flow_error;
pub mod idempotency;
pub mod inbound;

use serde::{Deserialize, Serialize};

use super::ids::{Customer, FlowName, FlowToken, MessageId};
use super::time::Timestamp;
pub use idempotency::IdempotencyKey;

named_enum! {
    /// Channel through which a submission arrived.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum SubmissionChannel {
        /// Path of a flow, plain JSON.
        Plain = "plain",
        /// `nfm_reply` in one of Meta's webhooks.
        Webhook = "webhook",
        /// Path of a flow, encrypted.
        Encrypted = "encrypted",
        /// Text message from an unofficial gateway.
        Gateway = "gateway",
    }
}

impl SubmissionChannel {
    /// Returns `true` if a submission of this channel arrives in a message.
    #[must_use]
    pub const fn is_message(self) -> bool {
        matches!(self, Self::Webhook | Self::Gateway)
    }
}

/// Completed form, as accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Flow of the form.
    pub flow: FlowName,
    /// Flow token as received, usable or not.
    pub flow_token: Option<FlowToken>,
    /// Customer who filled in the form.
    pub customer: Customer,
    /// Channel through which the form arrived.
    pub channel: SubmissionChannel,
    /// ID of the message that contained the form (webhook).
    pub message_id: Option<MessageId>,
    /// Screen from which the form was sent (plain).
    pub screen: Option<Box<str>>,
    /// Fields as the text of a JSON object, as received, including null and unknown fields.
    pub data: Box<str>,
    /// Unknown top-level fields of the body, as the text of a JSON object. Empty if there were
    /// none.
    pub unknown_fields: Box<str>,
    /// Errors of the fields, one text each, if the customer could not be asked again (webhook).
    pub problems: Vec<String>,
    /// Time when the customer sent the form, in UTC. `None` if the channel does not report the
    /// time.
    pub sent_at: Option<Timestamp>,
}

impl Submission {
    /// Returns `true` if the flow token distinguishes the form from other forms.
    #[must_use]
    pub fn has_usable_token(&self) -> bool {
        self.flow_token.as_ref().is_some_and(FlowToken::is_usable)
    }
}
