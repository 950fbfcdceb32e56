//! `[destinations.NAME]` with `kind = "gateway"`: texts through an unofficial gateway, to customers or to agents.
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
//! The gateway itself is `super::gateways`'; what it is sent is put together in `crate::domain::gateway::text`.

use std::collections::BTreeMap;

use hyper::Uri;

use super::gateways::Gateway;
use super::nearest::hint;
use super::raw::Table;
use super::secrets::SecretRef;
use super::whatsapp::{addressee, customer_wait, texts};
use crate::domain::event::EventKind;
use crate::domain::gateway::{GatewayKind, text};
use crate::domain::ids::GatewayName;
use crate::domain::message::{Addressee, Pattern};
use crate::domain::pace::{Limit, Rate};
use crate::domain::time::Millis;

/// What any gateway may be given until its answers say otherwise: one message in 5 seconds, which is what `WASenderApi`
/// allows with its account protection (*Understanding rate limits*). Faster ones are what gets numbers banned.
const CAREFUL: Rate = Rate { count: 12, per: Millis::from_secs(60) };

/// No gateway is given more than this by its own word alone: what a paid plan of `WASenderApi` allows.
const MOST: Rate = Rate { count: 256, per: Millis::from_secs(60) };

/// Whom a gateway is asked to write to, and what.
#[derive(Clone, Debug)]
pub struct GatewayTexts {
    /// Which one.
    pub gateway: GatewayName,
    /// What that is.
    pub kind: GatewayKind,
    /// Its session.
    pub session: String,
    /// Where texts are posted to.
    pub url: Uri,
    /// What it is shown: the session's key, or that of the API.
    pub key: SecretRef,
    /// How fast it takes messages, from all destinations together.
    pub limit: Limit,
    /// Whether it may be on this machine or in a network of one's own.
    pub allow_private: bool,
    /// Whom it writes to.
    pub to: Addressee,
    /// What it says of each event. Of the others it is not told.
    pub messages: BTreeMap<EventKind, Pattern>,
    /// As [`super::WhatsappRule::customer_wait`].
    pub customer_wait: Millis,
}

impl GatewayTexts {
    pub(super) fn read(table: &Table<'_>, gateways: &BTreeMap<GatewayName, Gateway>) -> Option<Self> {
        let gateway = table.need("gateway").and_then(|item| {
            let name = item.text()?;
            let found = gateways.iter().find(|(known, _)| known.as_str() == name);
            if found.is_none() {
                let known = gateways.keys().map(GatewayName::as_str);
                item.refuse(format!("there is no gateway {name:?}{}", hint(name, known)));
            }
            found
        });
        if let Some(rate) = table.get("rate") {
            rate.refuse("is for the gateway: write it into [gateways.…], as all that goes through it shares its rate");
        }
        if let Some(allow) = table.get("allow_private") {
            allow.refuse("is for the gateway: write it into [gateways.…]");
        }
        let to = addressee(table);
        let messages = table.need("messages").map(|item| texts(&item, to.as_ref()));
        let customer_wait = customer_wait(table);
        let (name, gateway) = gateway?;
        let rule = &gateway.rule;
        Some(Self {
            gateway: name.clone(),
            kind: rule.kind,
            session: rule.session.clone(),
            url: format!("{}{}", rule.url, text::path(rule.kind, &rule.session)).parse().ok()?,
            key: gateway.keys.key.clone(),
            limit: rule.rate.map_or(Limit::Told { guess: CAREFUL, most: MOST }, Limit::Written),
            allow_private: rule.allow_private,
            to: to?,
            messages: messages?,
            customer_wait,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Means;
    use super::super::tests::{accepted, refused};
    use super::*;

    const HEAD: &str = "[gateways.main]\nkind = \"waha\"\nurl = \"http://localhost:3000/waha/\"\nallow_private = true\n\
         api_key = \"env:K\"\nwebhook_secret = \"env:W\"\n[destinations.notes]\nkind = \"gateway\"";

    const FINE: &str =
        "gateway = \"main\"\nto = \"customer\"\nmessages = { \"booking.confirmed\" = { text = \"{booking.date}\" } }";

    fn one(tables: &str) -> (super::super::Destination, GatewayTexts) {
        let destination = accepted(tables).destinations.into_values().next().unwrap();
        let Means::Gateway(rule) = destination.means.clone() else { panic!("{destination:?}") };
        (destination, rule)
    }

    #[test]
    fn what_its_gateway_is_counts_for_its_texts() {
        let (destination, rule) = one(&format!("{HEAD}\n{FINE}"));
        assert_eq!(rule.url, "http://localhost:3000/waha/api/sendText");
        assert_eq!((rule.session.as_str(), destination.allow_private), ("default", true));
        assert_eq!(rule.limit, Limit::Told { guess: CAREFUL, most: MOST });
        assert_eq!(rule.messages.keys().copied().collect::<Vec<_>>(), [EventKind::BookingConfirmed]);
        assert_eq!(destination.expires, Some(Millis::from_secs(24 * 3600)));
        let faster = HEAD.replace("api_key", "rate = \"256/m\"\napi_key");
        let (_, rule) = one(&format!("{faster}\n{FINE}"));
        assert_eq!(rule.limit, Limit::Written(Rate::parse("256/m").unwrap()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let with = |line: &str| format!("{FINE}\n{line}");
        for (typed, why) in [
            ("to = \"customer\"".to_owned(), "`gateway` is missing"),
            (FINE.replace("main", "man"), "there is no gateway \"man\": did you mean `main`?"),
            (with("rate = \"1/s\""), "destinations.notes.rate: is for the gateway"),
            (with("allow_private = true"), "destinations.notes.allow_private: is for the gateway"),
            (
                with("proxy = \"http://a:1\""),
                "destinations.notes.proxy: is for webhooks and WhatsApp: a gateway is asked",
            ),
            (with("proxy_auth = \"env:A\""), "destinations.notes.proxy_auth: is for webhooks and WhatsApp: a gateway"),
            (with("phone_number_id = \"1\""), "unknown key `phone_number_id`"),
            (with("status_wait = \"1m\""), "unknown key `status_wait`"),
            (with("expires = \"100ms\""), "destinations.notes.expires: must be from 1s to 30d"),
            (
                FINE.replace("text = \"{booking.date}\"", "template = { name = \"a\", language = \"en\" }"),
                "is for `kind = \"whatsapp\"`",
            ),
            (FINE.replace("{booking.date}", "{lead.id}"), "booking.confirmed has no \"lead\""),
            (FINE.replace("customer", "agent"), "`agents` is missing"),
        ] {
            let said = refused(&format!("{HEAD}\n{typed}"));
            assert!(said.contains(why), "{typed}\n{said}");
        }
        let alerts = refused(&format!("alerts = [\"notes\"]\n{HEAD}\n{FINE}"));
        assert!(alerts.contains("alerts: \"notes\" writes to customers or agents"), "{alerts}");
    }
}
