//! The webhooks of unofficial gateways: whose they are, and what they bring.
//!
//! Each kind proves itself in its own way (*WASenderApi webhooks*: the secret itself in a header; WAHA: an HMAC of the body;
//! Evolution API: its key within the body), and names the same things differently. Whatever is not known is no error: gateways
//! send many events, and new ones with each version. Bodies may hold the gateway's own keys: nothing of them gets into an
//! error or a log.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::Sha512;
use subtle::ConstantTimeEq;

use crate::config::{GatewayRule, Secret};
use crate::domain::arrival::Form;
use crate::domain::gateway::GatewayKind;
use crate::domain::ids::{Customer, GatewayName, MessageId};
use crate::domain::submission::{Channel, IdempotencyKey, Submission};
use crate::domain::time::Timestamp;

use super::flow_endpoint::object;
use super::json::Fields;
use super::signature::nibble;
use super::{Catalog, IntakeError};

/// Bytes of an HMAC-SHA512.
const DIGEST_BYTES: usize = 64;

/// What a gateway's requests are held against.
#[derive(Clone, Debug)]
pub struct Door {
    name: GatewayName,
    rule: GatewayRule,
    secret: Secret,
}

/// A request that does not prove whose it is. All look alike from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// The header is missing, or there more than once.
    #[error("{0} is missing, or there more than once: set the webhook's secret in the gateway")]
    Missing(&'static str),
    /// It is not what was expected.
    #[error("this is not the gateway's secret: the config's and the gateway's must be the same")]
    Wrong,
}

/// What one request brought.
#[derive(Debug, Default)]
pub struct Brought {
    /// Texts that are forms.
    pub forms: Vec<Form>,
    /// The keys of the other messages that came in.
    pub others: Vec<IdempotencyKey>,
    /// What the gateway calls its session's state now.
    pub state: Option<String>,
    /// Whether anything of it comes from WhatsApp, and not from the gateway alone.
    pub is_alive: bool,
    /// It is about another session of the same gateway.
    pub is_foreign: bool,
}

impl Door {
    /// The door of `name`, which opens to `secret`.
    #[must_use]
    pub const fn new(name: GatewayName, rule: GatewayRule, secret: Secret) -> Self {
        Self { name, rule, secret }
    }

    /// Whose door it is.
    #[must_use]
    pub const fn name(&self) -> &GatewayName {
        &self.name
    }

    /// The header that brings the proof; `None`: the body does.
    #[must_use]
    pub const fn proof_header(&self) -> Option<&'static str> {
        match self.rule.kind {
            GatewayKind::Wasender => Some("x-webhook-signature"),
            GatewayKind::Waha => Some("x-webhook-hmac"),
            GatewayKind::Evolution => None,
        }
    }

    /// Whether a request is the gateway's: `proof` is what its header says, where it has one.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn admit(&self, proof: Option<&[u8]>, body: &[u8]) -> Result<(), BadProof> {
        let missing = || self.proof_header().map_or(BadProof::Wrong, BadProof::Missing);
        let secret = self.secret.expose().as_bytes();
        let fits = match self.rule.kind {
            GatewayKind::Wasender => bool::from(proof.ok_or_else(missing)?.ct_eq(secret)),
            GatewayKind::Waha => is_hmac_of(secret, proof.ok_or_else(missing)?, body),
            GatewayKind::Evolution => {
                let said = object(body).ok().and_then(|fields| fields.text("apikey")).map(Secret::new);
                said.is_some_and(|said| said.expose().as_bytes().ct_eq(secret).into())
            }
        };
        if fits { Ok(()) } else { Err(BadProof::Wrong) }
    }

    /// Reads a request that was admitted.
    ///
    /// # Errors
    /// [`IntakeError`] for a body that is no JSON object. What it holds may be anything.
    pub fn read(&self, catalog: &Catalog, body: &[u8]) -> Result<Brought, IntakeError> {
        let fields = object(body)?;
        // One and the same event is written `messages.upsert` and, by setting, `MESSAGES_UPSERT`.
        let event = fields.text("event").unwrap_or_default().to_ascii_lowercase().replace('_', ".");
        let session = match self.rule.kind {
            // Its `sessionId` is a key, and names nothing that could be compared.
            GatewayKind::Wasender => None,
            GatewayKind::Waha => fields.text("session"),
            GatewayKind::Evolution => fields.text("instance"),
        };
        if session.is_some_and(|session| session != self.rule.session) {
            return Ok(Brought { is_foreign: true, ..Brought::default() });
        }
        let data = fields.get(if self.rule.kind == GatewayKind::Waha { "payload" } else { "data" });
        let mut brought = Brought::default();
        match event.as_str() {
            "session.status" | "connection.update" => {
                let data = data.and_then(|data| Fields::of(data.get()).ok()).unwrap_or_default();
                brought.state = data.text("status").or_else(|| data.text("state"));
            }
            // The gateway's own doings: they say nothing of what comes from WhatsApp.
            "qrcode.updated" | "logout.instance" | "remove.instance" | "state.change" | "engine.event" | "" => {}
            event => {
                brought.is_alive = true;
                if matches!(event, "message" | "message.any" | "messages.received" | "messages.upsert") {
                    for message in messages(self.rule.kind, data) {
                        self.take(catalog, &message, &mut brought);
                    }
                }
            }
        }
        Ok(brought)
    }

    /// Takes one message, unless we sent it, or it can't be told from a copy.
    fn take(&self, catalog: &Catalog, message: &Message, brought: &mut Brought) {
        let (Some(id), false) = (&message.id, message.from_me) else { return };
        let key = IdempotencyKey::of_gateway_message(&self.name, id.as_str());
        match self.form(catalog, message, id, key) {
            Some(form) => brought.forms.push(form),
            None => brought.others.push(key),
        }
    }

    fn form(&self, catalog: &Catalog, message: &Message, id: &MessageId, key: IdempotencyKey) -> Option<Form> {
        let text = message.text.as_deref().filter(|_| message.is_private)?;
        let (flow, fields) = self.rule.forms.iter().find_map(|form| {
            let flow = catalog.flows.get(&form.flow)?;
            Some((flow, form.fields(text)?))
        })?;
        Some(Form {
            form_key: None,
            message_key: Some(key),
            former_key: None,
            reference: None,
            elsewhere: Vec::new(),
            draft_key: None,
            asks: catalog.asks(flow),
            request: None,
            end: None,
            for_good: false,
            answerable: false,
            submission: Submission {
                flow: flow.name.clone(),
                flow_token: None,
                customer: message.customer.clone(),
                channel: Channel::Gateway,
                message_id: Some(id.clone()),
                screen: None,
                problems: flow.problems(None, &fields).iter().map(ToString::to_string).collect(),
                data: Value::from(fields).to_string().into(),
                extra: "".into(),
                sent_at: message.sent_at,
            },
        })
    }
}

/// A message, whatever gateway brought it.
struct Message {
    id: Option<MessageId>,
    from_me: bool,
    /// Whether it was written to us alone: not to a group, a channel or a status.
    is_private: bool,
    customer: Customer,
    text: Option<String>,
    sent_at: Option<Timestamp>,
}

/// The messages of an event: one object, or a list of them; within `messages`, or without.
fn messages(kind: GatewayKind, data: Option<&RawValue>) -> Vec<Message> {
    let Some(data) = data else { return Vec::new() };
    let within = Fields::of(data.get()).ok().and_then(|fields| fields.get("messages"));
    let found = within.unwrap_or(data);
    let list: Vec<&RawValue> = serde_json::from_str(found.get()).unwrap_or_else(|_| vec![found]);
    let fields = list.into_iter().filter_map(|message| Fields::of(message.get()).ok());
    fields
        .map(|fields| if kind == GatewayKind::Waha { Message::flat(&fields) } else { Message::keyed(&fields) })
        .collect()
}

impl Message {
    /// As WAHA writes it: `id`, `from`, `fromMe`, `body`.
    fn flat(fields: &Fields<'_>) -> Self {
        let from = fields.text("from").unwrap_or_default();
        Self {
            id: fields.text("id").and_then(|id| MessageId::new(&id).ok()),
            from_me: is_true(fields, "fromMe"),
            is_private: is_private(&from),
            customer: customer(&[&from]),
            text: fields.text("body"),
            sent_at: seconds(fields, "timestamp"),
        }
    }

    /// As `WASenderApi` and Evolution API write it, after the library below both: `key`, `message` and, in the former,
    /// `messageBody`.
    fn keyed(fields: &Fields<'_>) -> Self {
        let key = fields.object("key");
        let message = unwrapped(fields.object("message"));
        let extended = message.object("extendedTextMessage").text("text");
        let remote = key.text("remoteJid").unwrap_or_default();
        let others = ["cleanedSenderPn", "senderPn", "remoteJidAlt", "senderLid"].map(|name| key.text(name));
        let mut names: Vec<&str> = others.iter().filter_map(Option::as_deref).collect();
        names.push(&remote);
        Self {
            id: key.text("id").and_then(|id| MessageId::new(&id).ok()),
            from_me: is_true(&key, "fromMe"),
            is_private: is_private(&remote),
            customer: customer(&names),
            text: fields.text("messageBody").or_else(|| message.text("conversation")).or(extended),
            sent_at: seconds(fields, "messageTimestamp"),
        }
    }
}

/// The message within those that only say how it is shown: in a chat whose messages disappear, or once.
fn unwrapped(mut message: Fields<'_>) -> Fields<'_> {
    const WRAPPERS: [&str; 4] =
        ["ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension"];
    // One may stand in the other.
    for _ in WRAPPERS {
        let Some(wrapper) = WRAPPERS.into_iter().find(|name| message.get(name).is_some()) else { break };
        message = message.object(wrapper).object("message");
    }
    message
}

fn is_true(fields: &Fields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| value.get() == "true")
}

/// Unix seconds, as a number or a text.
fn seconds(fields: &Fields<'_>, name: &str) -> Option<Timestamp> {
    let seconds: u64 = fields.get(name)?.get().trim_matches('"').parse().ok()?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// Whether an address is that of one user.
fn is_private(address: &str) -> bool {
    !["@g.us", "@broadcast", "@newsletter"].iter().any(|end| address.ends_with(end))
}

/// Who wrote, from their addresses: `4915…@s.whatsapp.net` (`@c.us`) is a number, `…@lid` an id that stands for one.
fn customer(addresses: &[&str]) -> Customer {
    let (mut id, mut phone) = (None, None);
    for address in addresses {
        let (user, server) = address.split_once('@').unwrap_or((address, ""));
        // `4915…:12@…` names one of the user's devices. `+` is written by some versions.
        let user = user.split(':').next().unwrap_or_default();
        let digits = user.strip_prefix('+').unwrap_or(user);
        let is_number = digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if server == "lid" && !user.is_empty() {
            id.get_or_insert_with(|| format!("{user}@lid"));
        } else if is_number {
            phone.get_or_insert(user);
        }
    }
    Customer::new(id.as_deref(), phone)
}

/// Whether `hex` is the HMAC-SHA512 of `body`, in constant time.
fn is_hmac_of(secret: &[u8], hex: &[u8], body: &[u8]) -> bool {
    let mut claimed = [0; DIGEST_BYTES];
    let digits: Option<Vec<u8>> = hex.iter().map(|digit| nibble(*digit)).collect();
    let Some(digits) = digits.filter(|digits| digits.len() == 2 * DIGEST_BYTES) else { return false };
    for (byte, pair) in claimed.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| (byte << 4) | digit);
    }
    // HMAC takes keys of any length.
    let Ok(mac) = Hmac::<Sha512>::new_from_slice(secret) else { return false };
    mac.chain_update(body).finalize().into_bytes().as_slice().ct_eq(&claimed).into()
}

#[cfg(test)]
mod tests;
