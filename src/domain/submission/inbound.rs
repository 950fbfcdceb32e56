//! Defines what intake parses from a request: completed forms, and messages that can't be parsed.
//! The store decides whether each is new.

use std::sync::Arc;

use jiff::civil;

#[cfg(test)]
use super::SubmissionChannel;
use super::{IdempotencyKey, Submission};
use crate::domain::booking::calendar::Calendar;
use crate::domain::booking::slot_request::BookingSettings;
use crate::domain::flow::field::{FieldError, ValidationError};
#[cfg(test)]
use crate::domain::ids::{Customer, FlowName, FlowToken};

/// Parsed item of a request.
#[derive(Clone, Debug)]
pub enum Inbound {
    /// A completed form.
    Submission(Box<InboundSubmission>),
    /// A message of a webhook that can't be parsed or that matches no flow. The store writes the
    /// message as a dead letter.
    Unparsable(Box<UnparsableMessage>),
}

/// A completed form with everything that the store needs to decide on it.
#[derive(Clone, Debug)]
pub struct InboundSubmission {
    /// The submission to store.
    pub submission: Submission,
    /// Idempotency key of the form itself, made from its flow token. Without a usable token, forms
    /// from the endpoint of a flow have a key of their answers and, if known, their customer.
    /// `None`: a message without a usable token.
    pub form_key: Option<IdempotencyKey>,
    /// Idempotency key of the message that contained the form. `None`: the message has no ID, or
    /// the form came through the endpoint of its flow.
    pub message_key: Option<IdempotencyKey>,
    /// Second key under which the same form may be stored: the key of the previous time window for
    /// repeated presses. Without this key, a second press in the next window would be a new form.
    pub previous_press_key: Option<IdempotencyKey>,
    /// Key by which a message refers to a form that the customer completed at the endpoint of its
    /// flow without a usable token.
    pub message_reference: Option<IdempotencyKey>,
    /// Keys under which other flows would know the same token. A form that is completed at the
    /// endpoint of a flow also arrives by webhook, where the message does not name its flow. Flows
    /// whose matcher excludes the message have no key here.
    pub cross_flow_keys: Vec<IdempotencyKey>,
    /// Key of the draft with the answers of earlier screens.
    pub draft_key: Option<IdempotencyKey>,
    /// Selector for the slot request in the fields of this form and of its earlier screens. `None`:
    /// the flow books nothing.
    pub slot_selector: Option<SlotSelector>,
    /// Idempotency key of the encrypted request that contained the form. `None`: no encrypted
    /// request.
    pub encrypted_request_key: Option<IdempotencyKey>,
    /// Completion of the form as JSON text, if it differs from the default completion. The store
    /// writes the completion in the transaction that accepts the form.
    pub custom_completion: Option<Box<str>>,
    /// `true` if a form that was submitted can't be submitted again as long as its key is stored.
    /// `false`: the same token means the same form within `idempotency_ttl` only.
    pub reject_resubmission: bool,
    /// `true` if the customer can be asked to choose another slot. `false`: a lost slot becomes a
    /// conflict.
    pub allows_new_choice: bool,
}

/// Rule that finds the requested slot in the answers of a form. The requested slot is known only
/// after all fields of the form are merged.
#[derive(Clone, Debug)]
pub struct SlotSelector {
    /// Fields that contain the slot request.
    pub settings: BookingSettings,
    /// Calendar that the settings name.
    pub calendar: Arc<Calendar>,
}

/// Slot that a form requests.
#[derive(Clone, Debug)]
pub struct SlotRequest {
    /// Calendar of the requested slot.
    pub calendar: Arc<Calendar>,
    /// Requested date in the time zone of the calendar.
    pub date: civil::Date,
    /// Requested start time in the time zone of the calendar.
    pub time: civil::Time,
}

impl SlotSelector {
    /// Returns the slot that a form with these fields (the text of a JSON object) requests. Returns
    /// `None` if the form requests no slot.
    ///
    /// # Errors
    /// [`FieldError`] if the fields are incomplete or contain no valid date or time. With
    /// `is_required`, also if the fields request no slot.
    pub fn slot_request(
        &self,
        fields: &str,
        is_required: bool,
    ) -> Result<Option<SlotRequest>, FieldError> {
        let answers = serde_json::from_str(fields).unwrap_or_default();
        match self.settings.requested_slot(&answers)? {
            Some((date, time)) => Ok(Some(SlotRequest {
                calendar: Arc::clone(&self.calendar),
                date,
                time,
            })),
            None if is_required => Err(FieldError {
                field: self.settings.date_field.clone(),
                error: ValidationError::Missing,
            }),
            None => Ok(None),
        }
    }
}

/// A message that is stored although it can't be parsed.
#[derive(Clone, Debug)]
pub struct UnparsableMessage {
    /// Idempotency key of the message. `None`: the message has no ID.
    pub message_key: Option<IdempotencyKey>,
    /// Keys under which flows would know the token of the message. Empty: the token can't be read.
    pub cross_flow_keys: Vec<IdempotencyKey>,
    /// Content to store as a late arrival if one of these keys belongs to a stored submission.
    pub late_arrival: Option<Box<Submission>>,
    /// Reason why the message can't be parsed.
    pub reason: String,
    /// Complete message as JSON text.
    pub payload: String,
}

impl InboundSubmission {
    /// Creates a form without keys, slot request or custom completion, whose customer can't be
    /// asked again.
    #[must_use]
    pub const fn new(submission: Submission) -> Self {
        Self {
            submission,
            form_key: None,
            message_key: None,
            previous_press_key: None,
            message_reference: None,
            cross_flow_keys: Vec::new(),
            draft_key: None,
            slot_selector: None,
            encrypted_request_key: None,
            custom_completion: None,
            reject_resubmission: false,
            allows_new_choice: false,
        }
    }

    /// Returns the keys of the form itself, in the order of lookup.
    #[must_use]
    pub fn own_keys(&self) -> Vec<IdempotencyKey> {
        let keys = [self.form_key, self.previous_press_key];
        keys.into_iter().flatten().collect()
    }
}

#[cfg(test)]
impl InboundSubmission {
    /// Returns a plain form for tests: `token` sent to `flow` with the answers `data`.
    #[must_use]
    pub fn plain(flow: &FlowName, token: &str, data: &str) -> Self {
        let flow_token = FlowToken::new(token).ok();
        let key = |token: &FlowToken| IdempotencyKey::for_token(flow, token);
        Self {
            form_key: flow_token.as_ref().map(key),
            allows_new_choice: true,
            ..Self::new(Submission {
                flow: flow.clone(),
                flow_token,
                customer: Customer::from_text("1234567890"),
                channel: SubmissionChannel::Plain,
                message_id: None,
                screen: None,
                data: data.into(),
                unknown_fields: "".into(),
                problems: Vec::new(),
                sent_at: None,
            })
        }
    }
}
