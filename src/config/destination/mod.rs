//! Reads `[destinations.NAME]`: a receiver of events. The file of each kind reads the settings of
//! the kind.
//!
//! See [`super::subscriptions`] for the events that a destination gets. See
//! [`crate::bootstrap`] for secrets, and [`crate::delivery`] for deliveries.

mod email;
pub(in crate::config) mod gateway;
pub(in crate::config) mod kind_settings;
mod payload;
pub(in crate::config) mod policy;
pub(in crate::config) mod proxy;
pub(in crate::config) mod recipients;
pub(in crate::config) mod smtp;
pub(in crate::config) mod template_check;
pub(in crate::config) mod unsent;
pub(in crate::config) mod webhook;
pub(in crate::config) mod whatsapp;

use std::collections::{BTreeMap, BTreeSet};

use super::gateways::Gateway;
use super::reader::TableReader;
use super::reader::value::ValueReader;
use super::settings::MetaSettings;
use crate::domain::event::subscriptions::Subscription;
use crate::domain::ids::{DestinationName, GatewayName};
use crate::domain::job::retry::RetryPolicy;
use crate::domain::rate_limiter::Rate;
use gateway::GatewayDestination;
use kind_settings::{KindDefaults, KindSettings};
use policy::DeliveryPolicy;
use proxy::ProxySettings;
use smtp::SmtpSettings;
use webhook::WebhookSettings;
use whatsapp::WhatsappSettings;

/// Settings of a destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Kind of the destination, with its settings.
    pub kind: DestinationKind,
    /// Settings that all kinds have.
    pub policy: DeliveryPolicy,
    /// Proxy for the requests. Default: `None`, direct connections.
    pub proxy: Option<ProxySettings>,
}

/// Kind of a destination, with the settings of its channel.
#[derive(Clone, Debug)]
pub enum DestinationKind {
    /// HTTP requests to a URL.
    Webhook(WebhookSettings),
    /// Messages through Meta's Cloud API.
    Whatsapp(WhatsappSettings),
    /// Text messages through an unofficial gateway.
    Gateway(GatewayDestination),
    /// E-mails through a mail server.
    Smtp(SmtpSettings),
}

impl DestinationKind {
    /// Returns the settings of the kind.
    #[must_use]
    pub fn settings(&self) -> &dyn KindSettings {
        match self {
            Self::Webhook(settings) => settings,
            Self::Whatsapp(settings) => settings,
            Self::Gateway(settings) => settings,
            Self::Smtp(settings) => settings,
        }
    }
}

/// Reader of one kind of destination.
struct KindReader {
    /// Value of `kind` in the config.
    name: &'static str,
    defaults: KindDefaults,
    read: fn(&TableReader<'_>, &ReadContext<'_>) -> Option<DestinationKind>,
}

/// Other parts of the config that destinations use.
struct ReadContext<'c> {
    /// Retry policy of `[retry]`.
    retry: RetryPolicy,
    meta: &'c MetaSettings,
    gateways: &'c BTreeMap<GatewayName, Gateway>,
}

/// Readers of all kinds. A destination without `kind` has the first.
static KIND_READERS: [KindReader; 4] = [
    KindReader {
        name: "webhook",
        defaults: KindDefaults::WEBHOOK,
        read: |table, _| WebhookSettings::read(table).map(DestinationKind::Webhook),
    },
    KindReader {
        name: "whatsapp",
        defaults: whatsapp::DEFAULTS,
        read: |table, context| {
            WhatsappSettings::read(table, context.meta).map(DestinationKind::Whatsapp)
        },
    },
    KindReader {
        name: "gateway",
        defaults: gateway::DEFAULTS,
        read: |table, context| {
            GatewayDestination::read(table, context.gateways).map(DestinationKind::Gateway)
        },
    },
    KindReader {
        name: "smtp",
        defaults: smtp::DEFAULTS,
        read: |table, _| SmtpSettings::read(table).map(DestinationKind::Smtp),
    },
];

impl Destination {
    /// Returns the warnings about the destination, one sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.kind.settings().warnings();
        warnings.extend(self.proxy.as_ref().and_then(ProxySettings::warning));
        warnings
    }

    fn read(table: &TableReader<'_>, context: &ReadContext<'_>) -> Option<Self> {
        let Some(reader) = find_kind_reader(table) else {
            // Without a valid kind, the set of valid keys is unknown.
            table.stop();
            return None;
        };
        let kind = (reader.read)(table, context);
        let policy = DeliveryPolicy::read(table, &reader.defaults, context.retry);
        let proxy = ProxySettings::read(table, reader.defaults.proxy_refusal);
        Some(Self {
            kind: kind?,
            policy,
            proxy,
        })
    }
}

fn find_kind_reader(table: &TableReader<'_>) -> Option<&'static KindReader> {
    let Some(item) = table.get("kind") else {
        return KIND_READERS.first();
    };
    let text = item.non_empty_text()?;
    if matches!(text, "slack" | "discord") {
        item.error(format!(
            "{text:?} is a webhook with a payload format of its own: remove `kind`, and set payload = \
             {text:?}"
        ));
        return None;
    }
    let name = item.one_of(&KIND_READERS.each_ref().map(|reader| reader.name))?;
    KIND_READERS.iter().find(|reader| reader.name == name)
}

/// Reads all destinations. `retry` has the settings of `[retry]`, and `meta` those of `[meta]`.
pub(super) fn read(
    root: &TableReader<'_>,
    retry: RetryPolicy,
    meta: &MetaSettings,
    gateways: &BTreeMap<GatewayName, Gateway>,
) -> BTreeMap<DestinationName, Destination> {
    let context = ReadContext {
        retry,
        meta,
        gateways,
    };
    let read_named = |item: &ValueReader<'_>| {
        let name = item.parse_key(DestinationName::new);
        let destination = item.read_table(|table| Destination::read(table, &context))?;
        Some((name?, destination?))
    };
    let items = root.named_entries("destinations");
    let mut destinations = items.iter().filter_map(read_named).collect();
    share_numbers(&mut destinations);
    destinations
}

/// Sets the rate of each phone number: the rate of the fastest destination that sends through the
/// number.
fn share_numbers(destinations: &mut BTreeMap<DestinationName, Destination>) {
    let mut fastest: BTreeMap<String, Rate> = BTreeMap::new();
    for destination in destinations.values() {
        if let (DestinationKind::Whatsapp(settings), Some(rate)) =
            (&destination.kind, destination.policy.rate)
        {
            let known = fastest
                .entry(settings.phone_number_id.clone())
                .or_insert(rate);
            if rate.is_faster_than(*known) {
                *known = rate;
            }
        }
    }
    for destination in destinations.values_mut() {
        if let DestinationKind::Whatsapp(settings) = &mut destination.kind {
            settings.number_rate = fastest.get(&settings.phone_number_id).copied();
        }
    }
}

/// Returns the destinations that get the events of each customer in order.
pub(super) fn ordered_destinations(
    destinations: &BTreeMap<DestinationName, Destination>,
) -> BTreeSet<DestinationName> {
    let ordered = destinations
        .iter()
        .filter(|(_, destination)| destination.policy.is_ordered);
    ordered.map(|(name, _)| name.clone()).collect()
}

/// Removes the events that the destination of a subscription has no message for. Removes
/// subscriptions without events.
pub(super) fn restrict_to_supported<'r>(
    subscription_lists: impl Iterator<Item = &'r mut Vec<Subscription>>,
    destinations: &BTreeMap<DestinationName, Destination>,
) {
    for subscriptions in subscription_lists {
        subscriptions.retain_mut(|subscription| {
            if let Some(destination) = destinations.get(&subscription.destination) {
                subscription
                    .events
                    .retain(|event| destination.kind.settings().supports(*event));
            }
            !subscription.events.is_empty()
        });
    }
}

/// Refuses alerts to destinations that write to customers or agents, because an alert names
/// neither. Also refuses subscriptions whose destination has no template for any of the alerts.
pub(super) fn check_alerts(
    item: &ValueReader<'_>,
    subscriptions: &[Subscription],
    destinations: &BTreeMap<DestinationName, Destination>,
) {
    for subscription in subscriptions {
        let name = subscription.destination.as_str();
        let Some(destination) = destinations.get(&subscription.destination) else {
            continue;
        };
        let settings = destination.kind.settings();
        let mut events = subscription.events.iter();
        if settings.recipients().is_some() {
            item.error(format!(
                "{name:?} sends to customers or agents, and an alert has neither: use a webhook or an \
                 e-mail destination for alerts"
            ));
        } else if !events.any(|event| settings.supports(*event)) {
            item.error(format!(
                "{name:?} has no template for any of these alerts: its `payload` has templates \
                 only for other events"
            ));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::tests::{assert_errors, error_of, parse_destination, parse_valid};
    use crate::domain::circuit_breaker::BreakerPolicy;
    use crate::domain::time::Millis;

    /// Returns the destination `crm` with the settings in `table`. The destination must be a
    /// webhook.
    pub(in crate::config) fn webhook_destination(table: &str) -> (Destination, WebhookSettings) {
        let crm = parse_destination(&format!("[destinations.crm]\n{table}"));
        let DestinationKind::Webhook(webhook) = crm.kind.clone() else {
            panic!("{crm:?}")
        };
        (crm, webhook)
    }

    #[test]
    fn destination_requires_url_and_has_defaults() {
        let (crm, webhook) = webhook_destination("url = \"https://crm.example/hooks?a=b\"");
        assert_eq!(webhook.url().unwrap(), "https://crm.example/hooks?a=b");
        let policy = crm.policy;
        assert_eq!(
            (policy.concurrency, policy.rate, policy.timeout.get()),
            (8, None, 15_000)
        );
        let breaker = BreakerPolicy {
            failure_threshold: 5,
            open_for: Millis::from_secs(30),
        };
        assert_eq!(policy.breaker, breaker);
        assert_eq!(policy.retry, parse_valid("").retry);
        assert!(!webhook.allow_private);
        assert!(webhook.secrets.is_empty() && webhook.headers.is_empty());
    }

    #[test]
    fn every_destination_setting_is_read() {
        let (crm, webhook) = webhook_destination(
            "url = \"http://10.0.0.7:8080/\"\nsecrets = [\"env:NEW\", \"file:old\"]\nconcurrency = 2\nrate = \"256/m\"\n\
             timeout = \"30s\"\nallow_private = true\nordered = true\nbreaker = { failure_threshold = 3, open_for = \"1m\" }\n\
             retry = { initial_delay = \"1s\", max_attempts = 3 }\nheaders = { Authorization = \"env:TOKEN\" }",
        );
        let policy = crm.policy;
        assert_eq!(policy.rate.unwrap().to_string(), "256/m");
        assert_eq!(
            (policy.concurrency, policy.timeout.get(), policy.is_ordered),
            (2, 30_000, true)
        );
        assert!(webhook.allow_private);
        assert_eq!(webhook.secrets.len(), 2);
        let headers: Vec<_> = webhook.headers.keys().collect();
        assert_eq!(headers, ["authorization"]);
        // Unset keys have the defaults.
        let retry = RetryPolicy {
            initial_delay: Millis::from_secs(1),
            max_attempts: 3,
            ..parse_valid("").retry
        };
        assert_eq!(policy.retry, retry);
    }

    #[test]
    fn destination_errors_have_location() {
        assert_errors(
            "[destinations.crm]",
            r#"
            => 1:15: destinations.crm: `url` is missing
            kind = "slack"
            => 2:8: destinations.crm.kind: "slack" is a webhook with a payload format of its own: remove `kind`, and set payload = "slack"
            "#,
        );
        let url = "[destinations.crm]\nurl = \"https://crm.example\"";
        assert_errors(
            url,
            r#"
            concurrency = 0
            => 3:15: destinations.crm.concurrency: must be from 1 to 256, and is 0
            rate = "fast"
            => 3:8: destinations.crm.rate: "fast" is not a valid rate: write one like "50/s", "256/m" or "1000/h", from 1 to 1000000
            headers = { Webhook-Id = "env:A" }
            => 3:13: destinations.crm.headers.Webhook-Id: is a header that flowgate sets itself
            secret = "env:A"
            => 3:1: unknown key `secret` in destinations.crm: did you mean `secrets`?
            "#,
        );
        let hidden = error_of(&format!("{url}\nsecrets = [\"hush\"]"));
        assert!(
            hidden.contains("destinations.crm.secrets") && !hidden.contains("hush"),
            "{hidden}"
        );
    }
}
