//! Reads `[destinations.NAME]` with `kind = "gateway"`: text messages through an unofficial
//! gateway, to customers or to agents.
//!
//! ```toml
//! [destinations.notes]
//! kind = "gateway"
//! gateway = "main"
//! to = "agent"
//! agents = { Ann = "+491511234567" }
//! messages = { "lead.assigned" = { text = "{submission.answers.name}, {booking.date}" } }
//! ```
//!
//! See [`crate::config::gateways`] for the gateway, and [`crate::domain::gateway::text`] for the
//! content of the requests.

use std::collections::BTreeMap;

use hyper::Uri;

use super::kind_settings::{KindDefaults, KindSettings};
use super::recipients::{Recipients, read_messages, read_placeholder_text};
use crate::config::gateways::Gateway;
use crate::config::reader::TableReader;
use crate::config::secrets::SecretRef;
use crate::domain::delivery::message::PlaceholderText;
use crate::domain::event::EventKind;
use crate::domain::gateway::{GatewayKind, text};
use crate::domain::ids::GatewayName;
use crate::domain::rate_limiter::{Rate, RateLimit};
use crate::domain::time::Millis;

/// Maximum rate until the gateway's responses report a quota: one message in 5 seconds.
/// `WASenderApi` allows this rate with its account protection (*Understanding rate limits*). Faster
/// senders risk a ban of their number.
const INITIAL_RATE: Rate = Rate {
    count: 12,
    per: Millis::from_secs(60),
};

/// Maximum rate that a reported quota may set: the rate of a paid plan of `WASenderApi`.
const MAX_RATE: Rate = Rate {
    count: 256,
    per: Millis::from_secs(60),
};

pub(super) const DEFAULTS: KindDefaults = KindDefaults {
    rate_refusal: Some(
        "belongs to the gateway: set it in [gateways.NAME], because all destinations of a gateway \
         share its rate",
    ),
    proxy_refusal: Some("a gateway is probed as well, and all requests to it are direct"),
    ..KindDefaults::MESSAGE
};

/// Settings of text messages through a gateway: sender, recipients and texts.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayDestination {
    /// Name of the gateway.
    pub gateway: GatewayName,
    /// Kind of the gateway.
    pub kind: GatewayKind,
    /// Session of the gateway.
    pub session: String,
    /// URL that texts are posted to.
    pub url: Uri,
    /// Location of the key that authenticates requests: the session's key or the API's key.
    pub key: SecretRef,
    /// Rate limit of the gateway, for all destinations together.
    pub limit: RateLimit,
    /// `true` if the host may be on this machine or in a private network.
    pub allow_private: bool,
    /// People who get the texts.
    pub recipients: Recipients,
    /// Texts by kind of event. Events without a text are not sent.
    pub messages: BTreeMap<EventKind, PlaceholderText>,
}

impl GatewayDestination {
    pub(super) fn read(
        table: &TableReader<'_>,
        gateways: &BTreeMap<GatewayName, Gateway>,
    ) -> Option<Self> {
        let gateway = table.require("gateway").and_then(|item| {
            let known: Vec<&str> = gateways.keys().map(GatewayName::as_str).collect();
            let name = item.known_name("gateway", &known)?;
            gateways.iter().find(|(known, _)| known.as_str() == name)
        });
        if let Some(allow) = table.get("allow_private") {
            allow.error("belongs to the gateway: set it in [gateways.NAME]");
        }
        let recipients = Recipients::read(table);
        let to = recipients.as_ref().map(|recipients| &recipients.kind);
        let messages = table
            .require("messages")
            .map(|item| read_messages(&item, to, read_text));
        let (name, gateway) = gateway?;
        let settings = &gateway.settings;
        let path = text::send_path(settings.kind, &settings.session);
        let unknown = RateLimit::Adaptive {
            initial: INITIAL_RATE,
            max: MAX_RATE,
        };
        Some(Self {
            gateway: name.clone(),
            kind: settings.kind,
            session: settings.session.clone(),
            url: format!("{}{path}", settings.url).parse().ok()?,
            key: gateway.keys.key.clone(),
            limit: settings.rate.map_or(unknown, RateLimit::Configured),
            allow_private: settings.allow_private,
            recipients: recipients?,
            messages: messages?,
        })
    }
}

impl KindSettings for GatewayDestination {
    fn kind(&self) -> &'static str {
        "gateway"
    }

    fn url(&self) -> Option<&Uri> {
        Some(&self.url)
    }

    fn recipients(&self) -> Option<&Recipients> {
        Some(&self.recipients)
    }

    fn supports(&self, kind: EventKind) -> bool {
        self.messages.contains_key(&kind)
    }
}

fn read_text(table: &TableReader<'_>, kind: Option<EventKind>) -> Option<PlaceholderText> {
    if let Some(template) = table.get("template") {
        template.error("is allowed only with `kind = \"whatsapp\"`: a gateway sends only texts");
    }
    let text = table.require("text")?;
    read_placeholder_text(&text, kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_error, assert_errors_in_table, parse_destination};
    use crate::config::{Destination, DestinationKind};

    const HEAD: &str = "[gateways.main]\nkind = \"waha\"\nurl = \"http://localhost:3000/waha/\"\nallow_private = true\n\
         api_key = \"env:K\"\nwebhook_secret = \"env:W\"\n[destinations.notes]\nkind = \"gateway\"";

    const FINE: &str = "gateway = \"main\"\nto = \"customer\"\nmessages = { \"booking.confirmed\" = { text = \"{booking.date}\" } }";

    fn gateway_destination(tables: &str) -> (Destination, GatewayDestination) {
        let destination = parse_destination(tables);
        let DestinationKind::Gateway(settings) = destination.kind.clone() else {
            panic!("{destination:?}")
        };
        (destination, settings)
    }

    #[test]
    fn gateway_settings_apply_to_destination() {
        let (destination, settings) = gateway_destination(&format!("{HEAD}\n{FINE}"));
        assert_eq!(settings.url, "http://localhost:3000/waha/api/sendText");
        assert_eq!(
            (settings.session.as_str(), settings.allow_private),
            ("default", true)
        );
        let (initial, max) = (INITIAL_RATE, MAX_RATE);
        assert_eq!(settings.limit, RateLimit::Adaptive { initial, max });
        let events: Vec<_> = settings.messages.into_keys().collect();
        assert_eq!(events, [EventKind::BookingConfirmed]);
        let one_day = Millis::from_secs(24 * 3600);
        assert_eq!(destination.policy.max_age, Some(one_day));
        let faster = HEAD.replace("api_key", "rate = \"256/m\"\napi_key");
        let (_, settings) = gateway_destination(&format!("{faster}\n{FINE}"));
        let configured = Rate::parse("256/m").unwrap();
        assert_eq!(settings.limit, RateLimit::Configured(configured));
    }

    #[test]
    fn gateway_destination_errors_have_location() {
        assert_errors_in_table(
            HEAD,
            FINE,
            r#"
            gateway = "man"
            => 11:11: destinations.notes.gateway: there is no gateway "man": did you mean `main`?
            rate = "1/s"
            => 12:8: destinations.notes.rate: belongs to the gateway: set it in [gateways.NAME], because all destinations of a gateway share its rate
            allow_private = true
            => 12:17: destinations.notes.allow_private: belongs to the gateway: set it in [gateways.NAME]
            proxy = "http://a:1"
            => 12:9: destinations.notes.proxy: is supported only for webhooks and WhatsApp: a gateway is probed as well, and all requests to it are direct
            proxy_auth = "env:A"
            => 12:14: destinations.notes.proxy_auth: is supported only for webhooks and WhatsApp: a gateway is probed as well, and all requests to it are direct
            max_age = "100ms"
            => 12:11: destinations.notes.max_age: must be from 1s to 30d, and is 100ms
            messages = { "booking.confirmed" = { template = { name = "a", language = "en" } } }
            => 11:36: destinations.notes.messages.booking.confirmed: `text` is missing
            => 11:49: destinations.notes.messages.booking.confirmed.template: is allowed only with `kind = "whatsapp"`: a gateway sends only texts
            messages = { "booking.confirmed" = { text = "{lead.id}" } }
            => 11:45: destinations.notes.messages.booking.confirmed.text: {lead.id}: booking.confirmed has no "lead": expected one of `booking`, `flow`, `submission`
            to = "agent"
            => 7:15: destinations.notes: `agents` is missing: set the phone numbers of the agents, like agents = { Ann = "+491511234567" }
            "#,
        );
        let config = |more: &str| format!("{HEAD}\n{FINE}\n{more}");
        for key in ["phone_number_id", "status_wait"] {
            let why = format!("unknown key `{key}`");
            assert_error(&config(&format!("{key} = \"1m\"")), &why);
        }
        assert_error(HEAD, "`gateway` is missing");
        let alerts = format!("alerts = [\"notes\"]\n{}", config(""));
        assert_error(&alerts, "alerts: \"notes\" sends to customers or agents");
    }
}
