//! Parses Meta's webhooks: batches of messages, of which the completed flows become submissions.
//!
//! A body may contain up to a thousand updates (*Create a webhook endpoint*). After any status
//! other than 200, Meta sends the whole body again for days. One message that can't be parsed must
//! therefore not fail the others. The parser handles each layer on its own. A piece that can't be
//! parsed becomes a dead letter with its reason. Only a body that is not a JSON object is refused.

use std::collections::BTreeMap;

mod status;
mod system;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::domain::customer_change::CustomerChange;
use crate::domain::delivery::receipt::StatusUpdate;
use crate::domain::flow::{Flow, MatchInput, match_flow, truncated};
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::ids::{Customer, FlowToken, MessageId};
use crate::domain::submission::inbound::{Inbound, InboundSubmission, UnparsableMessage};
use crate::domain::submission::{IdempotencyKey, Submission, SubmissionChannel};
use crate::domain::time::Timestamp;

use super::flow_endpoint::parse_object;
use super::json::{JsonFields, values};
use super::{Catalog, IntakeError};

/// Webhook field with the messages of chats that Meta's own agent answers (*Standby webhooks*).
const STANDBY: &str = "standby";

/// Maximum bytes of a phone number ID. A longer ID is not from Meta.
const PHONE_NUMBER_ID_BYTES_MAX: usize = 64;

/// Parsed content of one webhook body.
#[derive(Debug, Default)]
pub struct WebhookBatch {
    /// Submissions, and messages that can't be parsed.
    pub inbound: Vec<Inbound>,
    /// Number of messages that are not a completed flow.
    pub other_messages: u64,
    /// Statuses of messages that flowgate may have sent.
    pub statuses: Vec<StatusUpdate>,
    /// Number of ignored statuses. Another program sent their messages from the same number, or
    /// their kind is not used.
    pub other_statuses: u64,
    /// Customers whose phone number or ID changed.
    pub customer_changes: Vec<CustomerChange>,
    /// Business numbers that received messages of customers. Key: Meta's phone number ID; value:
    /// the digits of the number.
    pub business_numbers: BTreeMap<Box<str>, Box<str>>,
    /// Events of Meta's flow monitoring.
    pub health_events: Vec<HealthEvent>,
    /// Number of updates of other webhook fields that contain no messages.
    pub other_updates: u64,
    /// Dead letters that the inbound items would become, in order. `None`: the caller did not
    /// request dead letters.
    dead_letters: Option<Vec<UnparsableMessage>>,
}

/// Parses a body. The caller has verified Meta's signature.
///
/// # Errors
/// [`IntakeError`] if the body is not a JSON object. Any error further inside becomes a dead
/// letter.
pub fn parse(catalog: &Catalog, body: &[u8]) -> Result<WebhookBatch, IntakeError> {
    parse_into(WebhookBatch::default(), catalog, body)
}

/// Parses a body as [`parse`] does, and returns each inbound item as a dead letter, in order. The
/// caller stores the dead letters of items that can't be accepted.
///
/// # Errors
/// The same errors as [`parse`].
pub fn parse_as_dead_letters(
    catalog: &Catalog,
    body: &[u8],
) -> Result<Vec<UnparsableMessage>, IntakeError> {
    let batch = WebhookBatch {
        dead_letters: Some(Vec::new()),
        ..WebhookBatch::default()
    };
    Ok(parse_into(batch, catalog, body)?
        .dead_letters
        .unwrap_or_default())
}

fn parse_into(
    mut batch: WebhookBatch,
    catalog: &Catalog,
    body: &[u8],
) -> Result<WebhookBatch, IntakeError> {
    let fields = parse_object(body)?;
    let Some(entries) = fields.items("entry") else {
        let whole = std::str::from_utf8(body).unwrap_or_default();
        batch.push_unparsable("`entry` is not an array", whole.to_owned());
        return Ok(batch);
    };
    for entry in entries {
        let fields = JsonFields::parse(entry.get()).ok();
        match fields.and_then(|fields| Some((entry_time(&fields), fields.items("changes")?))) {
            Some((sent_at, changes)) => {
                for change in changes {
                    batch.read_change(catalog, sent_at, change);
                }
            }
            None => batch.push_unparsable(
                "an item of `entry` has no valid `changes`",
                entry.get().to_owned(),
            ),
        }
    }
    Ok(batch)
}

/// Parses one stored message again. `payload` is the payload of a dead letter, as received or as
/// corrected by an admin.
///
/// # Errors
/// The reason why the payload is no submission.
pub fn reparse(catalog: &Catalog, payload: &str) -> Result<InboundSubmission, String> {
    let envelope = JsonFields::parse(payload)
        .map_err(|error| format!("the payload is not a JSON object ({error})"))?;
    let message = envelope
        .get("message")
        .ok_or("the payload has no `message`")?;
    match MessageContext::new(&envelope).classify(catalog, message) {
        MessageKind::Submission(form) => Ok(*form),
        MessageKind::CustomerChange(_) | MessageKind::Other => {
            Err("the message is not a completed flow".to_owned())
        }
        MessageKind::Unparsable(unparsable) => Err(unparsable.reason),
    }
}

impl WebhookBatch {
    fn read_change(&mut self, catalog: &Catalog, sent_at: Option<Timestamp>, change: &RawValue) {
        let Ok(fields) = JsonFields::parse(change.get()) else {
            return self.push_unparsable(
                "an item of `changes` is not an object",
                change.get().to_owned(),
            );
        };
        let value = fields.get("value");
        match fields.text("field").as_deref() {
            Some(field @ ("messages" | STANDBY)) => {
                match value.map(|value| JsonFields::parse(value.get())) {
                    Some(Ok(value)) => {
                        for (part, context) in message_containers(field, &value) {
                            self.read_messages(catalog, change, &part, &context);
                        }
                    }
                    Some(Err(_)) => self.push_unparsable(
                        "the `value` of a change is not an object",
                        change.get().to_owned(),
                    ),
                    None => {}
                }
            }
            Some("flows") => self.health_events.push(parse_health_event(sent_at, value)),
            Some(field) => self.read_other_field(field, change, value),
            None => self.push_unparsable("a change has no `field`", change.get().to_owned()),
        }
    }

    fn read_messages(
        &mut self,
        catalog: &Catalog,
        change: &RawValue,
        value: &JsonFields<'_>,
        context: &MessageContext<'_>,
    ) {
        let Some(messages) = value.items("messages") else {
            return self.push_unparsable("`messages` is not an array", change.get().to_owned());
        };
        for status in value.items("statuses").unwrap_or_default() {
            match status::parse_status(status) {
                Some(status) => self.statuses.push(status),
                None => self.other_statuses += 1,
            }
        }
        let is_echo = |message: &&RawValue| {
            context.is_echo(&JsonFields::parse(message.get()).unwrap_or_default())
        };
        if !messages.iter().all(is_echo) {
            self.business_numbers.extend(context.business_number());
        }
        for message in messages {
            match context.classify(catalog, message) {
                MessageKind::Submission(form) => {
                    if let Some(dead_letters) = &mut self.dead_letters {
                        dead_letters.push(context.unparsable_message(
                            message,
                            form.submission.message_id.as_ref(),
                            "",
                            None,
                        ));
                    }
                    self.inbound.push(Inbound::Submission(form));
                }
                MessageKind::Unparsable(unparsable) => self.push_dead_letter(unparsable),
                MessageKind::CustomerChange(change) => self.customer_changes.push(*change),
                MessageKind::Other => self.other_messages += 1,
            }
        }
    }

    /// Handles an update of another webhook field. Updates of templates, accounts, history and
    /// others arrive as soon as an admin subscribes the app to their field.
    ///
    /// Messages in such an update become dead letters. Meta has moved messages of customers to a
    /// new field before, and a form may be among them.
    fn read_other_field(&mut self, field: &str, change: &RawValue, value: Option<&RawValue>) {
        let value = value
            .and_then(|value| JsonFields::parse(value.get()).ok())
            .unwrap_or_default();
        let reason = format!(
            "the message arrived in the webhook field {:?}, where flowgate expects no messages: if it is a form, `flowgate dead-letters retry ID` accepts it",
            truncated(field)
        );
        let mut has_messages = false;
        for (part, context) in message_containers(field, &value) {
            let messages = part
                .get("messages")
                .filter(|messages| !matches!(messages.get(), "[]" | "{}" | "\"\""));
            let Some(messages) = messages else { continue };
            has_messages = true;
            let Ok(messages) = serde_json::from_str::<Vec<&RawValue>>(messages.get()) else {
                self.push_unparsable(&reason, change.get().to_owned());
                continue;
            };
            for message in messages {
                let fields = JsonFields::parse(message.get()).unwrap_or_default();
                if context.is_echo(&fields) {
                    self.other_messages += 1;
                } else {
                    self.push_dead_letter(Box::new(context.unparsable_message(
                        message,
                        parse_message_id(&fields).as_ref(),
                        &reason,
                        None,
                    )));
                }
            }
        }
        self.other_updates += u64::from(!has_messages);
    }

    /// Adds a dead letter for a piece without a message ID. Without an ID, a later copy of the
    /// piece can't be recognized as a copy.
    fn push_unparsable(&mut self, reason: &str, payload: String) {
        let unparsable = UnparsableMessage {
            message_key: None,
            cross_flow_keys: Vec::new(),
            late_arrival: None,
            reason: reason.to_owned(),
            payload,
        };
        self.push_dead_letter(Box::new(unparsable));
    }

    fn push_dead_letter(&mut self, dead_letter: Box<UnparsableMessage>) {
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.push(UnparsableMessage {
                cross_flow_keys: Vec::new(),
                late_arrival: None,
                ..UnparsableMessage::clone(&dead_letter)
            });
        }
        self.inbound.push(Inbound::Unparsable(dead_letter));
    }
}

/// Message of a batch, classified by its content.
enum MessageKind {
    Submission(Box<InboundSubmission>),
    Unparsable(Box<UnparsableMessage>),
    CustomerChange(Box<CustomerChange>),
    Other,
}

/// Returns the objects of a change that may contain messages, each with its context. The first
/// object is the value itself. The second object is inside the value and has the name of the
/// webhook field. *Standby webhooks* documents the first shape. Pilots of autumn 2026 show the
/// second shape.
fn message_containers<'a>(
    field: &str,
    value: &JsonFields<'a>,
) -> Vec<(JsonFields<'a>, MessageContext<'a>)> {
    let inner = if field == "messages" {
        JsonFields::default()
    } else {
        value.object(field)
    };
    let context = MessageContext::new(&inner).or_else(MessageContext::new(value));
    vec![
        (value.clone(), MessageContext::new(value)),
        (inner, context),
    ]
}

/// Returns the ID of a message. Returns `None` if the ID is missing or invalid.
fn parse_message_id(message: &JsonFields<'_>) -> Option<MessageId> {
    message.text("id").and_then(|id| MessageId::new(&id).ok())
}

/// Data around a message: the metadata and the contacts of its change.
struct MessageContext<'a> {
    metadata: Option<&'a RawValue>,
    /// Digits of the business number. A sender with this number is not a customer.
    business_number: String,
    contacts: Vec<Contact<'a>>,
}

/// Contact of a sender. Each contact is parsed once, because a batch may have a thousand messages.
struct Contact<'a> {
    text: &'a RawValue,
    number: Option<String>,
    id: Option<String>,
}

impl<'a> MessageContext<'a> {
    fn new(value: &JsonFields<'a>) -> Self {
        let contact = |text: &'a RawValue| {
            let fields = JsonFields::parse(text.get()).unwrap_or_default();
            Contact {
                text,
                number: fields.text("wa_id"),
                id: fields.text("user_id"),
            }
        };
        // Contacts only add to the data of the messages. A contact that can't be parsed does not
        // stop the rest.
        let contacts = value.items("contacts").unwrap_or_default();
        Self {
            metadata: value.get("metadata"),
            business_number: digits_of(
                &value
                    .object("metadata")
                    .text("display_phone_number")
                    .unwrap_or_default(),
            ),
            contacts: contacts.into_iter().map(contact).collect(),
        }
    }

    /// Fills in missing metadata or contacts from `other`.
    fn or_else(self, other: Self) -> Self {
        let (metadata, business_number) = match self.metadata {
            Some(_) => (self.metadata, self.business_number),
            None => (other.metadata, other.business_number),
        };
        let contacts = if self.contacts.is_empty() {
            other.contacts
        } else {
            self.contacts
        };
        Self {
            metadata,
            business_number,
            contacts,
        }
    }

    /// Returns the business number: Meta's ID of the number, and its digits.
    fn business_number(&self) -> Option<(Box<str>, Box<str>)> {
        let id = JsonFields::parse(self.metadata?.get())
            .ok()?
            .text("phone_number_id")?;
        (!id.is_empty() && id.len() <= PHONE_NUMBER_ID_BYTES_MAX)
            .then(|| (id.into(), self.business_number.as_str().into()))
    }

    /// Returns `true` if the business, or an agent on its behalf, sent the message.
    fn is_echo(&self, message: &JsonFields<'_>) -> bool {
        !self.business_number.is_empty()
            && message
                .text("from")
                .is_some_and(|from| digits_of(&from) == self.business_number)
    }

    fn classify(&self, catalog: &Catalog, message: &RawValue) -> MessageKind {
        let Ok(fields) = JsonFields::parse(message.get()) else {
            return self.unparsable(message, None, "the message is not an object", None);
        };
        if self.is_echo(&fields) {
            return MessageKind::Other;
        }
        let id = parse_message_id(&fields);
        let reply = fields.object("interactive").object("nfm_reply");
        // Other replies of this shape (such as an address) have other names (*Webhooks*,
        // interactive messages).
        let is_flow = match reply.get("name") {
            Some(_) => reply.text("name").as_deref() == Some("flow"),
            None => reply.get("response_json").is_some(),
        };
        if !is_flow {
            return system::parse_customer_change(&fields).map_or(MessageKind::Other, |change| {
                MessageKind::CustomerChange(Box::new(change))
            });
        }
        let text = reply.text("response_json");
        let data = text.as_deref().map(values);
        match (text, data) {
            (Some(text), Some(Ok(data))) => {
                self.parse_form(catalog, message, &fields, id.as_ref(), text, &data)
            }
            (_, Some(Err(why))) => {
                self.unparsable(message, id.as_ref(), &format!("response_json {why}"), None)
            }
            _ => self.unparsable(
                message,
                id.as_ref(),
                "response_json is not a valid text",
                None,
            ),
        }
    }

    fn parse_form(
        &self,
        catalog: &Catalog,
        message: &RawValue,
        fields: &JsonFields<'_>,
        id: Option<&MessageId>,
        text: String,
        data: &Map<String, Value>,
    ) -> MessageKind {
        let token = data
            .get("flow_token")
            .and_then(Value::as_str)
            .and_then(|token| FlowToken::new(token).ok());
        let number = self
            .metadata
            .and_then(|metadata| JsonFields::parse(metadata.get()).ok());
        let number = number.and_then(|metadata| metadata.text("phone_number_id"));
        let input = MatchInput {
            phone_number_id: number.as_deref(),
            token: token.as_ref(),
            data,
        };
        let flow = match_flow(catalog.flows.values().map(AsRef::as_ref), &input);
        let usable_token = token.clone().filter(FlowToken::is_usable);
        if id.is_none() && usable_token.is_none() {
            return self.unparsable(
                message,
                None,
                "the message has neither an ID nor a flow_token: it can't be distinguished from a duplicate",
                None,
            );
        }
        let key_in_flow = |flow: &Flow| {
            usable_token
                .as_ref()
                .map(|token| IdempotencyKey::for_token(&flow.name, token))
        };
        let other_flows = catalog.flows.values().filter(|other| {
            // A flow whose matcher excludes the message may still expect its own message with the
            // same token. Its key must not match the form of another flow.
            flow.is_none_or(|flow| flow.name != other.name)
                && !other.matcher.excludes(&input, flow.is_some())
        });
        // A form without a usable token may have been completed at the endpoint of its flow. Its
        // fields then contain the reference from the completion.
        let reference_text = data
            .get(IdempotencyKey::REFERENCE_FIELD)
            .and_then(Value::as_str);
        let reference_key = reference_text.and_then(IdempotencyKey::from_reference);
        let cross_flow_keys: Vec<IdempotencyKey> =
            other_flows.filter_map(|other| key_in_flow(other)).collect();
        let mut submission = Submission {
            flow: match flow.or_else(|| catalog.flows.values().next().map(AsRef::as_ref)) {
                Some(flow) => flow.name.clone(),
                None => return self.unparsable(message, id, "the config has no flow", None),
            },
            flow_token: token,
            customer: self.customer(fields),
            channel: SubmissionChannel::Webhook,
            message_id: id.cloned(),
            screen: None,
            data: text.into(),
            unknown_fields: "".into(),
            problems: Vec::new(),
            sent_at: fields
                .text("timestamp")
                .and_then(|seconds| seconds.parse().ok())
                .map(from_unix_seconds),
        };
        let Some(flow) = flow else {
            let reason =
                "no flow in the config matches the message: set a matching `webhook` in one flow";
            let known_keys = cross_flow_keys
                .into_iter()
                .chain(reference_key.filter(|_| usable_token.is_none()))
                .collect();
            return self.unparsable(
                message,
                id,
                reason,
                Some((known_keys, Box::new(submission))),
            );
        };
        submission.problems = flow
            .validate(None, data)
            .iter()
            .map(ToString::to_string)
            .collect();
        MessageKind::Submission(Box::new(InboundSubmission {
            form_key: key_in_flow(flow),
            message_key: id.map(IdempotencyKey::for_message),
            previous_press_key: None,
            message_reference: reference_key,
            cross_flow_keys,
            draft_key: IdempotencyKey::for_draft(
                &flow.name,
                submission.flow_token.as_ref(),
                &submission.customer,
            )
            .filter(|_| flow.needs_drafts()),
            slot_selector: catalog.slot_selector(flow),
            encrypted_request_key: None,
            custom_completion: None,
            reject_resubmission: false,
            allows_new_choice: false,
            submission,
        }))
    }

    fn unparsable(
        &self,
        message: &RawValue,
        id: Option<&MessageId>,
        reason: &str,
        late_arrival: Option<(Vec<IdempotencyKey>, Box<Submission>)>,
    ) -> MessageKind {
        MessageKind::Unparsable(Box::new(self.unparsable_message(
            message,
            id,
            reason,
            late_arrival,
        )))
    }

    /// Creates a dead letter for a message, with all data that is needed to parse it again.
    fn unparsable_message(
        &self,
        message: &RawValue,
        id: Option<&MessageId>,
        reason: &str,
        late_arrival: Option<(Vec<IdempotencyKey>, Box<Submission>)>,
    ) -> UnparsableMessage {
        let fields = JsonFields::parse(message.get()).unwrap_or_default();
        let contact = self
            .find_contact(&fields)
            .map_or("", |contact| contact.text.get());
        let metadata = self.metadata.map_or("null", RawValue::get);
        let payload = format!(
            "{{\"metadata\":{metadata},\"contacts\":[{contact}],\"message\":{}}}",
            message.get()
        );
        let (elsewhere, late_submission) = late_arrival
            .map_or((Vec::new(), None), |(keys, submission)| {
                (keys, Some(submission))
            });
        UnparsableMessage {
            message_key: id.map(IdempotencyKey::for_message),
            cross_flow_keys: elsewhere,
            late_arrival: late_submission,
            reason: reason.to_owned(),
            payload,
        }
    }

    /// Returns the sender of the message: phone number, business-scoped ID, or both
    /// (*Business-scoped user IDs*).
    fn customer(&self, message: &JsonFields<'_>) -> Customer {
        let contact = self.find_contact(message);
        let id = message.text("from_user_id").or_else(|| contact?.id.clone());
        let phone = message.text("from").or_else(|| contact?.number.clone());
        Customer::new(id.as_deref(), phone.as_deref())
    }

    /// Returns the contact of the sender: the contact with the same number or ID. A single contact
    /// also counts as the sender, unless its number or ID differs.
    fn find_contact(&self, message: &JsonFields<'_>) -> Option<&Contact<'a>> {
        let (number, id) = (message.text("from"), message.text("from_user_id"));
        let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        let conflicts = |one: &Option<String>, other: &Option<String>| {
            one.is_some() && other.is_some() && one != other
        };
        let is_contact_of_customer =
            |contact: &&Contact<'_>| same(&contact.id, &id) || same(&contact.number, &number);
        self.contacts
            .iter()
            .find(is_contact_of_customer)
            .or(match self.contacts.as_slice() {
                [only] if !conflicts(&only.id, &id) && !conflicts(&only.number, &number) => {
                    Some(only)
                }
                _ => None,
            })
    }
}

/// Parses an event of Meta's monitoring (*Flows Webhooks*). Any content is accepted.
fn parse_health_event(sent_at: Option<Timestamp>, value: Option<&RawValue>) -> HealthEvent {
    let text = value.map_or("null", RawValue::get);
    let fields = JsonFields::parse(text).unwrap_or_default();
    // Meta's samples contain the ID as a string of digits. A number is accepted too.
    let flow_id = fields
        .text("flow_id")
        .or_else(|| fields.get("flow_id").map(|id| id.get().to_owned()));
    HealthEvent::new(
        sent_at,
        &fields.text("event").unwrap_or_default(),
        &flow_id.unwrap_or_default(),
        text,
    )
}

fn digits_of(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}

/// Returns the `time` of an entry: Unix seconds, as a number or a string.
fn entry_time(entry: &JsonFields<'_>) -> Option<Timestamp> {
    entry
        .get("time")
        .and_then(|time| time.get().trim_matches('"').parse().ok())
        .map(from_unix_seconds)
}

/// Converts Unix seconds to a timestamp. Meta's timestamps are Unix seconds.
const fn from_unix_seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests;
