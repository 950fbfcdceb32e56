//! Meta's webhooks: batches of messages, of which completed flows are ours.
//!
//! One body may carry up to a thousand updates (*Create a webhook endpoint*); anything but a 200 makes Meta send all of
//! it again for days. So one message that can't be read must not fail the others: every layer is taken apart on its
//! own, and what can't be read becomes a dead letter with its reason. Only a body that is no JSON object is refused.

use std::collections::BTreeMap;

mod status;
mod system;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::customer_change::CustomerChange;
use crate::domain::flow::{Flow, WebhookFacts, beginning, claimant};
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::{Customer, FlowToken, MessageId};
use crate::domain::receipt::StatusUpdate;
use crate::domain::submission::{Channel, IdempotencyKey, Submission};
use crate::domain::time::Timestamp;

use super::flow_endpoint::object;
use super::json::{Fields, values};
use super::{Catalog, IntakeError};

/// The field of messages in chats that Meta's own agent answers (*Standby webhooks*).
const STANDBY: &str = "standby";

/// An id of a number with more is none of Meta's.
const NUMBER_BYTES_MAX: usize = 64;

/// What one body brought.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Completed flows, and what can't be read.
    pub arrivals: Vec<Arrival>,
    /// Messages that are no completed flow.
    pub other_messages: u64,
    /// Statuses of messages that may be ours.
    pub statuses: Vec<StatusUpdate>,
    /// Statuses that say nothing to us: of what somebody else sent with the same number, or of kinds that nobody asked for.
    pub other_statuses: u64,
    /// Customers who have another number or id.
    pub changes: Vec<CustomerChange>,
    /// Our numbers that customers' messages came to, by Meta's id, with their digits.
    pub numbers: BTreeMap<Box<str>, Box<str>>,
    /// Events of Meta's flow monitoring.
    pub health_events: Vec<HealthEvent>,
    /// Updates of other fields, without messages.
    pub other_updates: u64,
    /// Where they are asked for, the letters that arrivals would become, in order.
    letters: Option<Vec<Unreadable>>,
}

/// Reads a body that Meta signed.
///
/// # Errors
/// [`IntakeError`] for a body that is no JSON object. Whatever is wrong further inside becomes a dead letter.
pub fn read(catalog: &Catalog, body: &[u8]) -> Result<Delivery, IntakeError> {
    read_into(Delivery::default(), catalog, body)
}

/// Reads a body as [`read`] does, and makes a letter of each of its arrivals, in order: for those that can't be taken.
///
/// # Errors
/// As [`read`].
pub fn letters(catalog: &Catalog, body: &[u8]) -> Result<Vec<Unreadable>, IntakeError> {
    let delivery = Delivery { letters: Some(Vec::new()), ..Delivery::default() };
    Ok(read_into(delivery, catalog, body)?.letters.unwrap_or_default())
}

fn read_into(mut delivery: Delivery, catalog: &Catalog, body: &[u8]) -> Result<Delivery, IntakeError> {
    let fields = object(body)?;
    let Some(entries) = fields.items("entry") else {
        let whole = std::str::from_utf8(body).unwrap_or_default();
        delivery.unreadable("entry is no array", whole.to_owned());
        return Ok(delivery);
    };
    for entry in entries {
        let fields = Fields::of(entry.get()).ok();
        match fields.and_then(|fields| Some((unix_time(&fields), fields.items("changes")?))) {
            Some((sent_at, changes)) => {
                for change in changes {
                    delivery.change(catalog, sent_at, change);
                }
            }
            None => delivery.unreadable("an entry without changes that can be read", entry.get().to_owned()),
        }
    }
    Ok(delivery)
}

/// Reads one stored message once more: the payload of a dead letter, as it came or as an admin corrected it.
///
/// # Errors
/// Why nothing can be made of it.
pub fn reread(catalog: &Catalog, payload: &str) -> Result<Form, String> {
    let envelope = Fields::of(payload).map_err(|error| format!("the payload is no JSON object ({error})"))?;
    let message = envelope.get("message").ok_or("the payload has no `message`")?;
    match Context::of(&envelope).message(catalog, message) {
        Found::Form(form) => Ok(*form),
        Found::Change(_) | Found::Other => Err("the message is no completed flow".to_owned()),
        Found::Unreadable(unreadable) => Err(unreadable.reason),
    }
}

impl Delivery {
    fn change(&mut self, catalog: &Catalog, sent_at: Option<Timestamp>, change: &RawValue) {
        let Ok(fields) = Fields::of(change.get()) else {
            return self.unreadable("a change that is no object", change.get().to_owned());
        };
        let value = fields.get("value");
        match fields.text("field").as_deref() {
            Some(field @ ("messages" | STANDBY)) => match value.map(|value| Fields::of(value.get())) {
                Some(Ok(value)) => {
                    for (part, context) in parts(field, &value) {
                        self.messages(catalog, change, &part, &context);
                    }
                }
                Some(Err(_)) => self.unreadable("the value of a change is no object", change.get().to_owned()),
                None => {}
            },
            Some("flows") => self.health_events.push(health_event(sent_at, value)),
            Some(field) => self.other(field, change, value),
            None => self.unreadable("a change without a field", change.get().to_owned()),
        }
    }

    fn messages(&mut self, catalog: &Catalog, change: &RawValue, value: &Fields<'_>, context: &Context<'_>) {
        let Some(messages) = value.items("messages") else {
            return self.unreadable("messages is no array", change.get().to_owned());
        };
        for status in value.items("statuses").unwrap_or_default() {
            match status::read(status) {
                Some(status) => self.statuses.push(status),
                None => self.other_statuses += 1,
            }
        }
        let is_echo = |message: &&RawValue| context.is_echo(&Fields::of(message.get()).unwrap_or_default());
        if !messages.iter().all(is_echo) {
            self.numbers.extend(context.number());
        }
        for message in messages {
            match context.message(catalog, message) {
                Found::Form(form) => {
                    if let Some(letters) = &mut self.letters {
                        letters.push(context.kept(message, form.submission.message_id.as_ref(), "", None));
                    }
                    self.arrivals.push(Arrival::Form(form));
                }
                Found::Unreadable(unreadable) => self.keep(unreadable),
                Found::Change(change) => self.changes.push(*change),
                Found::Other => self.other_messages += 1,
            }
        }
    }

    /// Takes an update of another field: templates, accounts, history and so on come as soon as somebody subscribes to them. The
    /// messages in it are kept: Meta has moved customers' messages to a new field before, and a form may be among them.
    fn other(&mut self, field: &str, change: &RawValue, value: Option<&RawValue>) {
        let value = value.and_then(|value| Fields::of(value.get()).ok()).unwrap_or_default();
        let reason = format!(
            "it came in the webhook field {:?}, which messages are not read from: if it is a form, retry takes it",
            beginning(field)
        );
        let mut has_messages = false;
        for (part, context) in parts(field, &value) {
            let messages = part.get("messages").filter(|messages| !matches!(messages.get(), "[]" | "{}" | "\"\""));
            let Some(messages) = messages else { continue };
            has_messages = true;
            let Ok(messages) = serde_json::from_str::<Vec<&RawValue>>(messages.get()) else {
                self.unreadable(&reason, change.get().to_owned());
                continue;
            };
            for message in messages {
                let fields = Fields::of(message.get()).unwrap_or_default();
                if context.is_echo(&fields) {
                    self.other_messages += 1;
                } else {
                    self.keep(Box::new(context.kept(message, message_id(&fields).as_ref(), &reason, None)));
                }
            }
        }
        self.other_updates += u64::from(!has_messages);
    }

    /// Keeps a piece that has no message id: nothing tells it from its own copy, should it come again.
    fn unreadable(&mut self, reason: &str, payload: String) {
        let unreadable =
            Unreadable { message_key: None, elsewhere: Vec::new(), join: None, reason: reason.to_owned(), payload };
        self.keep(Box::new(unreadable));
    }

    fn keep(&mut self, unreadable: Box<Unreadable>) {
        if let Some(letters) = &mut self.letters {
            letters.push(Unreadable { elsewhere: Vec::new(), join: None, ..Unreadable::clone(&unreadable) });
        }
        self.arrivals.push(Arrival::Unreadable(unreadable));
    }
}

/// What one message turned out to be.
enum Found {
    Form(Box<Form>),
    Unreadable(Box<Unreadable>),
    Change(Box<CustomerChange>),
    Other,
}

/// The objects of a change that may have messages, each with what stands around them: the value and, in it, an object that is
/// called as the field. *Standby webhooks* has the former, pilots of autumn 2026 show the latter.
fn parts<'a>(field: &str, value: &Fields<'a>) -> Vec<(Fields<'a>, Context<'a>)> {
    let inner = if field == "messages" { Fields::default() } else { value.object(field) };
    let context = Context::of(&inner).or(Context::of(value));
    vec![(value.clone(), Context::of(value)), (inner, context)]
}

/// The id of a message.
fn message_id(message: &Fields<'_>) -> Option<MessageId> {
    message.text("id").and_then(|id| MessageId::new(&id).ok())
}

/// What stands around a message.
struct Context<'a> {
    metadata: Option<&'a RawValue>,
    /// The number of ours, its digits only: whoever sends from it is no customer.
    own_number: String,
    contacts: Vec<Contact<'a>>,
}

/// Somebody that messages came from. Read once: a batch may have a thousand.
struct Contact<'a> {
    text: &'a RawValue,
    number: Option<String>,
    id: Option<String>,
}

impl<'a> Context<'a> {
    fn of(value: &Fields<'a>) -> Self {
        let contact = |text: &'a RawValue| {
            let fields = Fields::of(text.get()).unwrap_or_default();
            Contact { text, number: fields.text("wa_id"), id: fields.text("user_id") }
        };
        // Contacts only add to what the messages say: without those that can't be read the rest goes on.
        let contacts = value.items("contacts").unwrap_or_default();
        Self {
            metadata: value.get("metadata"),
            own_number: digits(&value.object("metadata").text("display_phone_number").unwrap_or_default()),
            contacts: contacts.into_iter().map(contact).collect(),
        }
    }

    /// What is missing here, from `other`.
    fn or(self, other: Self) -> Self {
        let (metadata, own_number) = match self.metadata {
            Some(_) => (self.metadata, self.own_number),
            None => (other.metadata, other.own_number),
        };
        let contacts = if self.contacts.is_empty() { other.contacts } else { self.contacts };
        Self { metadata, own_number, contacts }
    }

    /// The number of ours: Meta's id of it, and its digits.
    fn number(&self) -> Option<(Box<str>, Box<str>)> {
        let id = Fields::of(self.metadata?.get()).ok()?.text("phone_number_id")?;
        (!id.is_empty() && id.len() <= NUMBER_BYTES_MAX).then(|| (id.into(), self.own_number.as_str().into()))
    }

    /// Whether the business sent the message, or an agent on its behalf.
    fn is_echo(&self, message: &Fields<'_>) -> bool {
        !self.own_number.is_empty() && message.text("from").is_some_and(|from| digits(&from) == self.own_number)
    }

    fn message(&self, catalog: &Catalog, message: &RawValue) -> Found {
        let Ok(fields) = Fields::of(message.get()) else {
            return self.unreadable(message, None, "the message is no object", None);
        };
        if self.is_echo(&fields) {
            return Found::Other;
        }
        let id = message_id(&fields);
        let reply = fields.object("interactive").object("nfm_reply");
        // Other replies of this shape (an address, for instance) have other names (*Webhooks*, interactive messages).
        let is_flow = match reply.get("name") {
            Some(_) => reply.text("name").as_deref() == Some("flow"),
            None => reply.get("response_json").is_some(),
        };
        if !is_flow {
            return system::read(&fields).map_or(Found::Other, |change| Found::Change(Box::new(change)));
        }
        let text = reply.text("response_json");
        let data = text.as_deref().map(values);
        match (text, data) {
            (Some(text), Some(Ok(data))) => self.form(catalog, message, &fields, id.as_ref(), text, &data),
            (_, Some(Err(why))) => self.unreadable(message, id.as_ref(), &format!("response_json {why}"), None),
            _ => self.unreadable(message, id.as_ref(), "response_json is no text that can be read", None),
        }
    }

    fn form(
        &self,
        catalog: &Catalog,
        message: &RawValue,
        fields: &Fields<'_>,
        id: Option<&MessageId>,
        text: String,
        data: &Map<String, Value>,
    ) -> Found {
        let token = data.get("flow_token").and_then(Value::as_str).and_then(|token| FlowToken::new(token).ok());
        let number = self.metadata.and_then(|metadata| Fields::of(metadata.get()).ok());
        let number = number.and_then(|metadata| metadata.text("phone_number_id"));
        let facts = WebhookFacts { phone_number_id: number.as_deref(), token: token.as_ref(), data };
        let flow = claimant(catalog.flows.values().map(AsRef::as_ref), &facts);
        let usable = token.clone().filter(FlowToken::usable);
        if id.is_none() && usable.is_none() {
            return self.unreadable(
                message,
                None,
                "it has neither an id nor a token: it can't be told from a copy",
                None,
            );
        }
        let key_in = |flow: &Flow| usable.as_ref().map(|token| IdempotencyKey::of_token(&flow.name, token));
        let others = catalog.flows.values().filter(|other| {
            // A flow whose rule excludes the message may still wait for its own: it must not take another flow's form.
            flow.is_none_or(|flow| flow.name != other.name) && !other.webhook.excludes(&facts, flow.is_some())
        });
        // A form without a usable token that ended at its flow's own path says so in what its last answer put in.
        let ended = data.get(IdempotencyKey::REFERENCE).and_then(Value::as_str);
        let ended = ended.and_then(IdempotencyKey::from_reference);
        let elsewhere: Vec<IdempotencyKey> = others.filter_map(|other| key_in(other)).collect();
        let mut submission = Submission {
            flow: match flow.or_else(|| catalog.flows.values().next().map(AsRef::as_ref)) {
                Some(flow) => flow.name.clone(),
                None => return self.unreadable(message, id, "the config has no flow", None),
            },
            flow_token: token,
            customer: self.customer(fields),
            channel: Channel::Webhook,
            message_id: id.cloned(),
            screen: None,
            data: text.into(),
            extra: "".into(),
            problems: Vec::new(),
            sent_at: fields.text("timestamp").and_then(|seconds| seconds.parse().ok()).map(seconds),
        };
        let Some(flow) = flow else {
            let reason = "no flow of the config claims it: give one a `webhook` rule that fits";
            let known = elsewhere.into_iter().chain(ended.filter(|_| usable.is_none())).collect();
            return self.unreadable(message, id, reason, Some((known, Box::new(submission))));
        };
        submission.problems = flow.problems(None, data).iter().map(ToString::to_string).collect();
        Found::Form(Box::new(Form {
            form_key: key_in(flow),
            message_key: id.map(IdempotencyKey::of_message),
            former_key: None,
            reference: ended,
            elsewhere,
            draft_key: IdempotencyKey::of_draft(&flow.name, submission.flow_token.as_ref(), &submission.customer)
                .filter(|_| flow.has_drafts()),
            asks: catalog.asks(flow),
            request: None,
            end: None,
            for_good: false,
            answerable: false,
            submission,
        }))
    }

    fn unreadable(
        &self,
        message: &RawValue,
        id: Option<&MessageId>,
        reason: &str,
        known: Option<(Vec<IdempotencyKey>, Box<Submission>)>,
    ) -> Found {
        Found::Unreadable(Box::new(self.kept(message, id, reason, known)))
    }

    /// A message that is kept with all that is needed to read it again.
    fn kept(
        &self,
        message: &RawValue,
        id: Option<&MessageId>,
        reason: &str,
        known: Option<(Vec<IdempotencyKey>, Box<Submission>)>,
    ) -> Unreadable {
        let fields = Fields::of(message.get()).unwrap_or_default();
        let contact = self.contact(&fields).map_or("", |contact| contact.text.get());
        let metadata = self.metadata.map_or("null", RawValue::get);
        let payload = format!("{{\"metadata\":{metadata},\"contacts\":[{contact}],\"message\":{}}}", message.get());
        let (elsewhere, join) = known.map_or((Vec::new(), None), |(keys, join)| (keys, Some(join)));
        Unreadable {
            message_key: id.map(IdempotencyKey::of_message),
            elsewhere,
            join,
            reason: reason.to_owned(),
            payload,
        }
    }

    /// Who sent the message: by number, by business-scoped id, or both (*Business-scoped user IDs*).
    fn customer(&self, message: &Fields<'_>) -> Customer {
        let contact = self.contact(message);
        let id = message.text("from_user_id").or_else(|| contact?.id.clone());
        let phone = message.text("from").or_else(|| contact?.number.clone());
        Customer::new(id.as_deref(), phone.as_deref())
    }

    /// The contact of the message's sender: one that shares its number or id or, where there is only one, that one, unless
    /// it is somebody else's.
    fn contact(&self, message: &Fields<'_>) -> Option<&Contact<'a>> {
        let (number, id) = (message.text("from"), message.text("from_user_id"));
        let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        let differs = |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
        let shares = |contact: &&Contact<'_>| same(&contact.id, &id) || same(&contact.number, &number);
        self.contacts.iter().find(shares).or(match self.contacts.as_slice() {
            [only] if !differs(&only.id, &id) && !differs(&only.number, &number) => Some(only),
            _ => None,
        })
    }
}

/// An event of Meta's monitoring (*Flows Webhooks*), whatever it holds.
fn health_event(sent_at: Option<Timestamp>, value: Option<&RawValue>) -> HealthEvent {
    let text = value.map_or("null", RawValue::get);
    let fields = Fields::of(text).unwrap_or_default();
    // The samples have a text of digits; a number would do as well.
    let flow_id = fields.text("flow_id").or_else(|| fields.get("flow_id").map(|id| id.get().to_owned()));
    HealthEvent::new(sent_at, &fields.text("event").unwrap_or_default(), &flow_id.unwrap_or_default(), text)
}

fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}

/// The `time` of an entry: Unix seconds, as a number or a text.
fn unix_time(entry: &Fields<'_>) -> Option<Timestamp> {
    entry.get("time").and_then(|time| time.get().trim_matches('"').parse().ok()).map(seconds)
}

/// Meta's timestamps are Unix seconds.
const fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests;
