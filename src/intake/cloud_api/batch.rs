//! Collects the content of a webhook body: the items of each change, by webhook field.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::health_event::parse_health_event;
use super::message::{MessageContext, MessageKind, parse_message_id};
use super::status::parse_status;
use crate::domain::customer_change::CustomerChange;
use crate::domain::delivery::receipt::StatusUpdate;
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::submission::inbound::{Inbound, UnparsableMessage};
use crate::domain::time::Timestamp;
use crate::domain::truncation::truncate_name;
use crate::intake::Catalog;
use crate::intake::json::JsonFields;

/// Webhook field with the messages of chats that Meta's own agent answers (*Standby webhooks*).
const STANDBY: &str = "standby";

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
    pub(super) dead_letters: Option<Vec<UnparsableMessage>>,
}

impl WebhookBatch {
    pub(super) fn read_change(
        &mut self,
        catalog: &Catalog,
        sent_at: Option<Timestamp>,
        change: &RawValue,
    ) {
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
            match parse_status(status) {
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
                        let id = form.submission.message_id.as_ref();
                        dead_letters.push(context.unparsable_message(message, id, ""));
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
            truncate_name(field)
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
                    let id = parse_message_id(&fields);
                    let unparsable = context.unparsable_message(message, id.as_ref(), &reason);
                    self.push_dead_letter(Box::new(unparsable));
                }
            }
        }
        self.other_updates += u64::from(!has_messages);
    }

    /// Adds a dead letter for a piece without a message ID. Without an ID, a later copy of the
    /// piece can't be recognized as a copy.
    pub(super) fn push_unparsable(&mut self, reason: &str, payload: String) {
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
