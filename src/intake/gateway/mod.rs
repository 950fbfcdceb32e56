//! Authenticates and parses the webhooks of unofficial gateways.
//!
//! Each gateway kind authenticates in a different manner. `WASenderApi` sends the secret itself in
//! a header (*`WASenderApi` webhooks*). WAHA sends an HMAC of the body. Evolution API sends its key
//! in the body. The kinds use different names for the same data.
//!
//! Unknown content is not an error, because gateways send many events, and each version adds new
//! ones. Bodies may contain the gateway's own keys. Nothing of a body goes into an error or a log.

mod message;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha512;
use subtle::ConstantTimeEq;

use crate::config::{GatewaySettings, Secret};
use crate::domain::gateway::GatewayKind;
use crate::domain::ids::{GatewayName, MessageId};
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::submission::{IdempotencyKey, Submission, SubmissionChannel};

use super::json::{JsonFields, parse_object};
use super::signature::hex_digit_value;
use super::{Catalog, IntakeError};
use message::{GatewayMessage, parse_messages};

/// Length of an HMAC-SHA512 in bytes.
const DIGEST_BYTES: usize = 64;

/// Webhook of a gateway: its settings, and the secret that authenticates requests.
#[derive(Clone, Debug)]
pub struct GatewayWebhook {
    name: GatewayName,
    settings: GatewaySettings,
    secret: Secret,
}

/// Reason why a request is not authenticated. All reasons look the same to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookAuthError {
    /// The header is missing or occurs more than once. The text is the name of the header.
    #[error("{0} is missing or occurs more than once: set the webhook secret in the gateway")]
    Missing(&'static str),
    /// The secret, key or HMAC is wrong.
    #[error("the webhook secret is wrong: set the same secret in the config and in the gateway")]
    Wrong,
}

/// Parsed content of one request.
#[derive(Debug, Default)]
pub struct GatewayEvents {
    /// Text messages that are forms.
    pub forms: Vec<InboundSubmission>,
    /// Idempotency keys of the other received messages.
    pub other_keys: Vec<IdempotencyKey>,
    /// New state of the session, as the gateway names it. `None`: the request reports no state.
    pub state: Option<String>,
    /// `true` if the event comes from WhatsApp, not only from the gateway itself.
    pub has_whatsapp_activity: bool,
    /// `true` if the event belongs to another session of the same gateway.
    pub is_other_session: bool,
}

impl GatewayWebhook {
    /// Creates the webhook of gateway `name`, which `secret` authenticates.
    #[must_use]
    pub const fn new(name: GatewayName, settings: GatewaySettings, secret: Secret) -> Self {
        Self {
            name,
            settings,
            secret,
        }
    }

    /// Returns the name of the gateway.
    #[must_use]
    pub const fn name(&self) -> &GatewayName {
        &self.name
    }

    /// Returns the header that authenticates a request. Returns `None` if the body does.
    #[must_use]
    pub const fn proof_header(&self) -> Option<&'static str> {
        match self.settings.kind {
            GatewayKind::Wasender => Some("x-webhook-signature"),
            GatewayKind::Waha => Some("x-webhook-hmac"),
            GatewayKind::Evolution => None,
        }
    }

    /// Verifies that a request comes from the gateway. `proof` is the value of
    /// [`Self::proof_header`], if the gateway kind has one.
    ///
    /// # Errors
    /// [`WebhookAuthError`] if the request is not authenticated.
    pub fn authenticate(&self, proof: Option<&[u8]>, body: &[u8]) -> Result<(), WebhookAuthError> {
        let missing = || {
            self.proof_header()
                .map_or(WebhookAuthError::Wrong, WebhookAuthError::Missing)
        };
        let secret = self.secret.expose().as_bytes();
        let fits = match self.settings.kind {
            GatewayKind::Wasender => bool::from(proof.ok_or_else(missing)?.ct_eq(secret)),
            GatewayKind::Waha => is_hmac_of(secret, proof.ok_or_else(missing)?, body),
            GatewayKind::Evolution => {
                let sent_key = parse_object(body)
                    .ok()
                    .and_then(|fields| fields.text("apikey"))
                    .map(Secret::new);
                sent_key.is_some_and(|key| key.expose().as_bytes().ct_eq(secret).into())
            }
        };
        if fits {
            Ok(())
        } else {
            Err(WebhookAuthError::Wrong)
        }
    }

    /// Parses an authenticated request.
    ///
    /// # Errors
    /// [`IntakeError`] if the body is not a JSON object. The object may have any content.
    pub fn parse(&self, catalog: &Catalog, body: &[u8]) -> Result<GatewayEvents, IntakeError> {
        let fields = parse_object(body)?;
        // The same event is named `messages.upsert` or, by a setting of the gateway,
        // `MESSAGES_UPSERT`.
        let event = fields
            .text("event")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .replace('_', ".");
        let session = match self.settings.kind {
            // `sessionId` of WASenderApi is a key and does not name the session.
            GatewayKind::Wasender => None,
            GatewayKind::Waha => fields.text("session"),
            GatewayKind::Evolution => fields.text("instance"),
        };
        if session.is_some_and(|session| session != self.settings.session) {
            return Ok(GatewayEvents {
                is_other_session: true,
                ..GatewayEvents::default()
            });
        }
        let data = fields.get(if self.settings.kind == GatewayKind::Waha {
            "payload"
        } else {
            "data"
        });
        let mut events = GatewayEvents::default();
        match event.as_str() {
            "session.status" | "connection.update" => {
                let data = data
                    .and_then(|data| JsonFields::parse(data.get()).ok())
                    .unwrap_or_default();
                events.state = data.text("status").or_else(|| data.text("state"));
            }
            // These events come from the gateway itself. They do not show that WhatsApp delivers
            // messages.
            "qrcode.updated" | "logout.instance" | "remove.instance" | "state.change"
            | "engine.event" | "" => {}
            event => {
                events.has_whatsapp_activity = true;
                if matches!(
                    event,
                    "message" | "message.any" | "messages.received" | "messages.upsert"
                ) {
                    for message in parse_messages(self.settings.kind, data) {
                        self.add_message(catalog, &message, &mut events);
                    }
                }
            }
        }
        Ok(events)
    }

    /// Adds one message. A message of the business is skipped, and so is a message without an ID,
    /// because its copies can't be recognized.
    fn add_message(&self, catalog: &Catalog, message: &GatewayMessage, events: &mut GatewayEvents) {
        let (Some(id), false) = (&message.id, message.is_from_business) else {
            return;
        };
        let key = IdempotencyKey::for_gateway_message(&self.name, id.as_str());
        match self.to_inbound(catalog, message, id, key) {
            Some(form) => events.forms.push(form),
            None => events.other_keys.push(key),
        }
    }

    fn to_inbound(
        &self,
        catalog: &Catalog,
        message: &GatewayMessage,
        id: &MessageId,
        key: IdempotencyKey,
    ) -> Option<InboundSubmission> {
        let text = message.text.as_deref().filter(|_| message.is_private)?;
        let (flow, fields) = self.settings.forms.iter().find_map(|form| {
            let flow = catalog.flows.get(&form.flow)?;
            Some((flow, form.parse_fields(text)?))
        })?;
        Some(InboundSubmission {
            message_key: Some(key),
            slot_selector: catalog.slot_selector(flow),
            ..InboundSubmission::new(Submission {
                flow: flow.name.clone(),
                flow_token: None,
                customer: message.customer.clone(),
                channel: SubmissionChannel::Gateway,
                message_id: Some(id.clone()),
                screen: None,
                problems: flow.problems(&fields),
                data: Value::from(fields).to_string().into(),
                unknown_fields: "".into(),
                sent_at: message.sent_at,
            })
        })
    }
}

/// Returns `true` if `hex` is the HMAC-SHA512 of `body`. Compares in constant time.
fn is_hmac_of(secret: &[u8], hex: &[u8], body: &[u8]) -> bool {
    let mut claimed = [0; DIGEST_BYTES];
    let digits: Option<Vec<u8>> = hex.iter().map(|digit| hex_digit_value(*digit)).collect();
    let Some(digits) = digits.filter(|digits| digits.len() == 2 * DIGEST_BYTES) else {
        return false;
    };
    for (byte, pair) in claimed.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| (byte << 4) | digit);
    }
    // HMAC accepts keys of any length.
    let Ok(mac) = Hmac::<Sha512>::new_from_slice(secret) else {
        return false;
    };
    mac.chain_update(body)
        .finalize()
        .into_bytes()
        .as_slice()
        .ct_eq(&claimed)
        .into()
}

#[cfg(test)]
mod tests;
