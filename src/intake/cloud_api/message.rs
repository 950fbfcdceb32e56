//! Classifies the messages of a change, with the metadata and the contacts around them.

use serde_json::value::RawValue;

use super::contact::{self, Contact};
use super::customer_change::parse_customer_change;
use super::form::ReceivedForm;
use crate::domain::customer_change::CustomerChange;
use crate::domain::ids::MessageId;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::{InboundSubmission, UnparsableMessage};
use crate::intake::Catalog;
use crate::intake::json::{JsonFields, values};

/// Maximum bytes of a phone number ID. A longer ID is not from Meta.
const PHONE_NUMBER_ID_BYTES_MAX: usize = 64;

/// Message of a batch, classified by its content.
pub(super) enum MessageKind {
    Submission(Box<InboundSubmission>),
    Unparsable(Box<UnparsableMessage>),
    CustomerChange(Box<CustomerChange>),
    Other,
}

/// Data around a message: the metadata and the contacts of its change.
pub(super) struct MessageContext<'a> {
    metadata: Metadata<'a>,
    contacts: Vec<Contact<'a>>,
}

/// Data of the phone number that received the messages of a change.
struct Metadata<'a> {
    /// Metadata as received. `None`: the change has no metadata.
    text: Option<&'a RawValue>,
    phone_number_id: Option<String>,
    /// Digits of the business number. A sender with this number is not a customer.
    business_number: String,
}

impl<'a> MessageContext<'a> {
    /// Parses the context in the value of a change.
    pub(super) fn new(value: &JsonFields<'a>) -> Self {
        let metadata = value.object("metadata");
        let business_number = metadata.text("display_phone_number").unwrap_or_default();
        let contacts = value.items("contacts").unwrap_or_default();
        Self {
            metadata: Metadata {
                text: value.get("metadata"),
                phone_number_id: metadata.text("phone_number_id"),
                business_number: digits_of(&business_number),
            },
            contacts: contacts.into_iter().map(Contact::parse).collect(),
        }
    }

    /// Fills in missing metadata or contacts from `other`.
    pub(super) fn or_else(self, other: Self) -> Self {
        Self {
            metadata: match self.metadata.text {
                Some(_) => self.metadata,
                None => other.metadata,
            },
            contacts: if self.contacts.is_empty() {
                other.contacts
            } else {
                self.contacts
            },
        }
    }

    /// Returns the business number: Meta's ID of the number, and its digits.
    pub(super) fn business_number(&self) -> Option<(Box<str>, Box<str>)> {
        let id = self.metadata.phone_number_id.as_deref()?;
        (1..=PHONE_NUMBER_ID_BYTES_MAX)
            .contains(&id.len())
            .then(|| (id.into(), self.metadata.business_number.as_str().into()))
    }

    /// Returns `true` if the business, or an agent on its behalf, sent the message.
    pub(super) fn is_echo(&self, message: &JsonFields<'_>) -> bool {
        let number = &self.metadata.business_number;
        let from = message.text("from");
        !number.is_empty() && from.is_some_and(|from| digits_of(&from) == *number)
    }

    /// Classifies a message. A completed form becomes a submission, or is unparsable.
    pub(super) fn classify(&self, catalog: &Catalog, message: &RawValue) -> MessageKind {
        let unparsable = |id: Option<&MessageId>, reason: &str| {
            MessageKind::Unparsable(Box::new(self.unparsable_message(message, id, reason)))
        };
        let Ok(fields) = JsonFields::parse(message.get()) else {
            return unparsable(None, "the message is not an object");
        };
        if self.is_echo(&fields) {
            return MessageKind::Other;
        }
        let id = parse_message_id(&fields);
        let id = id.as_ref();
        let reply = fields.object("interactive").object("nfm_reply");
        // Other replies of this shape (such as an address) have other names (*Webhooks*,
        // interactive messages).
        let is_flow = match reply.get("name") {
            Some(_) => reply.text("name").as_deref() == Some("flow"),
            None => reply.get("response_json").is_some(),
        };
        if !is_flow {
            return parse_customer_change(&fields, id).map_or(MessageKind::Other, |change| {
                MessageKind::CustomerChange(Box::new(change))
            });
        }
        let Some(text) = reply.text("response_json") else {
            return unparsable(id, "response_json is not a valid text");
        };
        let data = match values(&text) {
            Ok(data) => data,
            Err(why) => return unparsable(id, &format!("response_json {why}")),
        };
        let form = ReceivedForm {
            phone_number_id: self.metadata.phone_number_id.as_deref(),
            message_id: id,
            customer: contact::sender(&self.contacts, &fields),
            sent_at: fields.unix_time_text("timestamp"),
            text,
            data: &data,
        };
        match form.into_inbound(catalog) {
            Ok(form) => MessageKind::Submission(Box::new(form)),
            Err(refused) => MessageKind::Unparsable(Box::new(UnparsableMessage {
                cross_flow_keys: refused.known_keys,
                late_arrival: refused.late_arrival,
                ..self.unparsable_message(message, id, refused.reason)
            })),
        }
    }

    /// Creates a dead letter for a message, with all data that is needed to parse it again.
    pub(super) fn unparsable_message(
        &self,
        message: &RawValue,
        id: Option<&MessageId>,
        reason: &str,
    ) -> UnparsableMessage {
        let fields = JsonFields::parse(message.get()).unwrap_or_default();
        let contact = contact::find_contact(&self.contacts, &fields);
        let contact = contact.map_or("", |contact| contact.text.get());
        let metadata = self.metadata.text.map_or("null", RawValue::get);
        let payload = format!(
            "{{\"metadata\":{metadata},\"contacts\":[{contact}],\"message\":{}}}",
            message.get()
        );
        UnparsableMessage {
            message_key: id.map(IdempotencyKey::for_message),
            cross_flow_keys: Vec::new(),
            late_arrival: None,
            reason: reason.to_owned(),
            payload,
        }
    }
}

/// Returns the ID of a message. Returns `None` if the ID is missing or invalid.
pub(super) fn parse_message_id(message: &JsonFields<'_>) -> Option<MessageId> {
    message.text("id").and_then(|id| MessageId::new(&id).ok())
}

fn digits_of(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}
