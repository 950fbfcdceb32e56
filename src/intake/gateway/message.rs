//! Parses the messages of each kind of gateway.

use serde_json::value::RawValue;

use crate::domain::gateway::GatewayKind;
use crate::domain::ids::{Customer, MessageId};
use crate::domain::time::Timestamp;
use crate::intake::json::JsonFields;

/// Message in a form that does not depend on the gateway kind.
pub(super) struct GatewayMessage {
    pub(super) id: Option<MessageId>,
    pub(super) is_from_business: bool,
    /// `true` if the message was sent to the business alone, not to a group, a channel or a status.
    pub(super) is_private: bool,
    pub(super) customer: Customer,
    pub(super) text: Option<String>,
    pub(super) sent_at: Option<Timestamp>,
}

/// Returns the messages of an event: one object or a list of objects, inside `messages` or
/// directly.
pub(super) fn parse_messages(kind: GatewayKind, data: Option<&RawValue>) -> Vec<GatewayMessage> {
    let Some(data) = data else { return Vec::new() };
    let within = JsonFields::parse(data.get())
        .ok()
        .and_then(|fields| fields.get("messages"));
    let found = within.unwrap_or(data);
    let list: Vec<&RawValue> = serde_json::from_str(found.get()).unwrap_or_else(|_| vec![found]);
    let fields = list
        .into_iter()
        .filter_map(|message| JsonFields::parse(message.get()).ok());
    fields
        .map(|fields| {
            if kind == GatewayKind::Waha {
                GatewayMessage::from_waha(&fields)
            } else {
                GatewayMessage::from_baileys(&fields)
            }
        })
        .collect()
}

impl GatewayMessage {
    /// Parses a message of WAHA: `id`, `from`, `fromMe`, `body`.
    fn from_waha(fields: &JsonFields<'_>) -> Self {
        let from = fields.text("from").unwrap_or_default();
        Self {
            id: fields.text("id").and_then(|id| MessageId::new(&id).ok()),
            is_from_business: is_true(fields, "fromMe"),
            is_private: is_private(&from),
            customer: customer_of(&[&from]),
            text: fields.text("body"),
            sent_at: fields.unix_time("timestamp"),
        }
    }

    /// Parses a message of `WASenderApi` or Evolution API, which use the format of the same
    /// library: `key`, `message` and, for `WASenderApi`, `messageBody`.
    fn from_baileys(fields: &JsonFields<'_>) -> Self {
        let key = fields.object("key");
        let message = unwrap_message(fields.object("message"));
        let extended = message.object("extendedTextMessage").text("text");
        let remote = key.text("remoteJid").unwrap_or_default();
        let others =
            ["cleanedSenderPn", "senderPn", "remoteJidAlt", "senderLid"].map(|name| key.text(name));
        let mut names: Vec<&str> = others.iter().filter_map(Option::as_deref).collect();
        names.push(&remote);
        Self {
            id: key.text("id").and_then(|id| MessageId::new(&id).ok()),
            is_from_business: is_true(&key, "fromMe"),
            is_private: is_private(&remote),
            customer: customer_of(&names),
            text: fields
                .text("messageBody")
                .or_else(|| message.text("conversation"))
                .or(extended),
            sent_at: fields.unix_time("messageTimestamp"),
        }
    }
}

/// Returns the message inside wrappers that only define its display: disappearing messages, and
/// messages that can be viewed once.
fn unwrap_message(mut message: JsonFields<'_>) -> JsonFields<'_> {
    const WRAPPERS: [&str; 4] = [
        "ephemeralMessage",
        "viewOnceMessage",
        "viewOnceMessageV2",
        "viewOnceMessageV2Extension",
    ];
    // A wrapper may contain another wrapper.
    for _ in WRAPPERS {
        let Some(wrapper) = WRAPPERS
            .into_iter()
            .find(|name| message.get(name).is_some())
        else {
            break;
        };
        message = message.object(wrapper).object("message");
    }
    message
}

fn is_true(fields: &JsonFields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| value.get() == "true")
}

/// Returns `true` if an address belongs to one user.
fn is_private(address: &str) -> bool {
    !["@g.us", "@broadcast", "@newsletter"]
        .iter()
        .any(|end| address.ends_with(end))
}

/// Returns the sender for the given addresses. `4915…@s.whatsapp.net` (`@c.us`) contains a phone
/// number. `…@lid` contains an ID that replaces a number.
pub(super) fn customer_of(addresses: &[&str]) -> Customer {
    let (mut id, mut phone) = (None, None);
    for address in addresses {
        let (account, server) = address.split_once('@').unwrap_or((address, ""));
        // `4915…:12@…` names one device of the user. Some versions write a `+`.
        let account_name = account.split(':').next().unwrap_or_default();
        let digits = account_name.strip_prefix('+').unwrap_or(account_name);
        let is_number = digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if server == "lid" && !account_name.is_empty() {
            id.get_or_insert_with(|| format!("{account_name}@lid"));
        } else if is_number {
            phone.get_or_insert(account_name);
        }
    }
    Customer::new(id.as_deref(), phone)
}
