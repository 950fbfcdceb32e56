//! Reads `[destinations.NAME]`: a receiver of events, with the rate, timeout and retries of the
//! deliveries to it.
//!
//! See [`super::subscriptions`] for the events that a destination gets. See
//! [`crate::bootstrap`] for secrets, and [`crate::delivery`] for deliveries.

pub(in crate::config) mod gateway;
pub(in crate::config) mod payload;
pub(in crate::config) mod proxy;
pub(in crate::config) mod smtp;
pub(in crate::config) mod template_check;
pub(in crate::config) mod unsent;
pub(in crate::config) mod webhook;
pub(in crate::config) mod whatsapp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hyper::Uri;

use super::gateways::Gateway;
use super::reader::TableReader;
use super::reader::value::ValueReader;
use super::settings::{self, MetaSettings};
use crate::domain::circuit_breaker::BreakerPolicy;
use crate::domain::delivery::message::RecipientKind;
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::Subscription;
use crate::domain::ids::{DestinationName, GatewayName};
use crate::domain::ip_range::is_loopback_host;
use crate::domain::job::retry::RetryPolicy;
use crate::domain::rate_limiter::{Rate, RateLimit};
use crate::domain::time::Millis;
use gateway::GatewayDestination;
use proxy::ProxySettings;
use smtp::SmtpSettings;
use webhook::{WebhookSettings, WebhookUrl};
use whatsapp::WhatsappSettings;

/// Default rate of a WhatsApp number. Every number may send at this rate, also a number that is
/// shared with the Business app.
const WHATSAPP_RATE: Rate = Rate {
    count: 20,
    per: Millis::from_secs(1),
};

/// Settings of a destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Kind of the destination, with the settings of its channel.
    pub kind: DestinationKind,
    /// Maximum number of deliveries in flight. Default 8, or 2 for a mail server. Maximum 256.
    pub concurrency: usize,
    /// Maximum number of deliveries per period. Default: `None`, no limit. Default for WhatsApp: 20
    /// per second, as for numbers that are shared with the Business app (*Throughput*).
    pub rate: Option<Rate>,
    /// Maximum time for one response, from the DNS lookup to the last byte. Default 15 s, maximum
    /// 60 s. For a mail server: default 60 s, maximum 10 min.
    pub timeout: Millis,
    /// Policy of the circuit breaker. Default: open for 30 s after 5 failures in a row.
    pub breaker: BreakerPolicy,
    /// Retry policy of deliveries. Default: the policy of `[retry]`.
    pub retry: RetryPolicy,
    /// `true` if the host may be on this machine or in a private network.
    pub allow_private: bool,
    /// `true` if the events of one customer are delivered one at a time, in the order in which they
    /// happened. Default `false`.
    pub is_ordered: bool,
    /// Maximum age of an event. Older events are not sent, because late messages would do harm.
    /// Default: one day for messages to people (WhatsApp and gateway). Default for other kinds:
    /// `None`, no maximum.
    pub max_age: Option<Millis>,
    /// Proxy for the requests. Default: `None`, direct connections.
    pub proxy: Option<ProxySettings>,
}

/// Rate limits of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationLimits {
    /// Rate limit of this destination alone.
    pub own: RateLimit,
    /// Rate limit shared by all destinations that send through the same gateway or phone number.
    pub shared: RateLimit,
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
    /// Returns the URL, or `None` if the URL is a secret.
    #[must_use]
    pub const fn url(&self) -> Option<&Uri> {
        match self {
            Self::Webhook(WebhookSettings {
                url: WebhookUrl::Plain(url),
                ..
            }) => Some(url),
            Self::Webhook(WebhookSettings {
                url: WebhookUrl::Secret(_),
                ..
            }) => None,
            Self::Whatsapp(settings) => Some(&settings.url),
            Self::Gateway(settings) => Some(&settings.url),
            Self::Smtp(settings) => Some(&settings.url),
        }
    }

    /// Returns the kind of recipient, or `None` if the destination does not write to customers or
    /// agents.
    #[must_use]
    pub const fn recipient_kind(&self) -> Option<&RecipientKind> {
        match self {
            Self::Whatsapp(settings) => Some(&settings.to),
            Self::Gateway(settings) => Some(&settings.to),
            Self::Webhook(_) | Self::Smtp(_) => None,
        }
    }

    /// Returns `true` if the destination has a payload or message for this kind of event.
    #[must_use]
    pub fn supports(&self, kind: EventKind) -> bool {
        match self {
            Self::Webhook(settings) => settings.payload.supports(kind),
            Self::Whatsapp(settings) => settings.messages.contains_key(&kind),
            Self::Gateway(settings) => settings.messages.contains_key(&kind),
            Self::Smtp(_) => true,
        }
    }
}

impl Destination {
    /// Returns `true` if the content of a delivery must be checked before it is sent. The content
    /// may make the delivery wait or expire.
    #[must_use]
    pub const fn needs_content_check(&self) -> bool {
        self.max_age.is_some() || self.kind.recipient_kind().is_some()
    }

    /// Returns the rate limits of the destination.
    #[must_use]
    pub fn limits(&self) -> DestinationLimits {
        let shared = match &self.kind {
            DestinationKind::Gateway(settings) => settings.limit,
            DestinationKind::Whatsapp(settings) => settings
                .number_rate
                .map_or(RateLimit::Unlimited, RateLimit::Configured),
            DestinationKind::Webhook(_) | DestinationKind::Smtp(_) => RateLimit::Unlimited,
        };
        DestinationLimits {
            own: self
                .rate
                .map_or(RateLimit::Unlimited, RateLimit::Configured),
            shared,
        }
    }

    /// Returns the host of the URL, with the port if the URL has one. The rest of the URL must not
    /// be shown, because it may contain a token. If the URL is a secret, returns the location of
    /// the secret.
    #[must_use]
    pub fn host(&self) -> String {
        if let DestinationKind::Webhook(WebhookSettings {
            url: WebhookUrl::Secret(secret),
            ..
        }) = &self.kind
        {
            return secret.location();
        }
        let authority = self.kind.url().and_then(Uri::authority);
        authority
            .map(|authority| authority.as_str().to_owned())
            .unwrap_or_default()
    }

    /// Returns the warnings about the destination, one sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = match &self.kind {
            DestinationKind::Webhook(settings) => settings.warnings(),
            DestinationKind::Whatsapp(settings) => settings
                .access_token
                .warning()
                .map(|warning| format!("access_token: {warning}"))
                .into_iter()
                .collect(),
            // The gateway has its own warnings.
            DestinationKind::Gateway(_) => Vec::new(),
            DestinationKind::Smtp(settings) => settings.warnings(),
        };
        warnings.extend(self.proxy.as_ref().and_then(ProxySettings::warning));
        warnings
    }
}

/// Reads all destinations. `retry` has the settings of `[retry]`, and `meta` those of `[meta]`.
/// `folder` is the folder of the config.
pub(super) fn read(
    root: &TableReader<'_>,
    retry: RetryPolicy,
    meta: &MetaSettings,
    gateways: &BTreeMap<GatewayName, Gateway>,
    folder: &Path,
) -> BTreeMap<DestinationName, Destination> {
    let Some(item) = root.get("destinations") else {
        return BTreeMap::new();
    };
    let read = item.read_named_table(|table| {
        let items = table.entries();
        items
            .iter()
            .filter_map(|item| read_destination(item, retry, meta, gateways, folder))
            .collect()
    });
    let mut read: BTreeMap<_, _> = read.unwrap_or_default();
    share_numbers(&mut read);
    read
}

/// Sets the rate of each phone number: the rate of the fastest destination that sends through the
/// number.
fn share_numbers(destinations: &mut BTreeMap<DestinationName, Destination>) {
    let mut fastest: BTreeMap<String, Rate> = BTreeMap::new();
    for destination in destinations.values() {
        if let (DestinationKind::Whatsapp(settings), Some(rate)) =
            (&destination.kind, destination.rate)
        {
            let current_fastest = fastest
                .entry(settings.phone_number_id.clone())
                .or_insert(rate);
            *current_fastest = if rate.is_faster_than(*current_fastest) {
                rate
            } else {
                *current_fastest
            };
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
    destinations
        .iter()
        .filter(|(_, destination)| destination.is_ordered)
        .map(|(name, _)| name.clone())
        .collect()
}

fn read_destination(
    item: &ValueReader<'_>,
    retry: RetryPolicy,
    meta: &MetaSettings,
    gateways: &BTreeMap<GatewayName, Gateway>,
    folder: &Path,
) -> Option<(DestinationName, Destination)> {
    let name = item.parse_key(DestinationName::new);
    item.read_table(|table| {
        // Without a valid kind, the set of valid keys is unknown.
        let kinds = ["webhook", "whatsapp", "gateway", "smtp"];
        let kind = table.get("kind").map_or(Some("webhook"), |item| match item.non_empty_text() {
            Some(chat @ ("slack" | "discord")) => {
                item.error(format!(
                    "{chat:?} is a webhook with a payload format of its own: remove `kind`, and set payload = {chat:?}"
                ));
                None
            }
            text => text.and_then(|_| item.one_of(&kinds)),
        });
        let Some(kind) = kind else {
            table.stop();
            return None;
        };
        let (destination_kind, allow_private, rate) = if kind == "whatsapp" {
            let settings = WhatsappSettings::read(table, meta, folder);
            let is_loopback = settings.as_ref().and_then(|rule| rule.url.host()).is_some_and(is_loopback_host);
            (settings.map(DestinationKind::Whatsapp), is_loopback, Some(WHATSAPP_RATE))
        } else if kind == "gateway" {
            let settings = GatewayDestination::read(table, gateways);
            let allow_private = settings.as_ref().is_some_and(|rule| rule.allow_private);
            (settings.map(DestinationKind::Gateway), allow_private, None)
        } else if kind == "smtp" {
            let allow_private = table.boolean("allow_private", false);
            (SmtpSettings::read(table, allow_private, folder).map(DestinationKind::Smtp), allow_private, None)
        } else {
            let allow_private = table.boolean("allow_private", false);
            (WebhookSettings::read(table, allow_private, folder).map(DestinationKind::Webhook), allow_private, None)
        };
        let (concurrency, timeout, timeout_max) = if kind == "smtp" {
            (smtp::CONCURRENCY, smtp::TIMEOUT, smtp::TIMEOUT_MAX)
        } else {
            (8, Millis::from_secs(15), Millis::from_secs(60))
        };
        let destination = Destination {
            concurrency: table.integer("concurrency", concurrency, 1..=256),
            rate: if kind == "gateway" { None } else { table.get("rate").map_or(rate, |item| item.parse(Rate::parse)) },
            timeout: table.duration("timeout", timeout, Millis::new(100)..=timeout_max),
            breaker: table.read_table("breaker", read_breaker).unwrap_or_else(|| TableReader::read_empty(read_breaker)),
            retry: settings::read_retry_or(table, retry),
            allow_private,
            is_ordered: table.boolean("ordered", false),
            max_age: read_max_age(table, kind),
            proxy: read_proxy(table, kind, folder),
            kind: destination_kind?,
        };
        Some((name?, destination))
    })?
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
                    .retain(|event| destination.kind.supports(*event));
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
        let (name, kind) = (
            subscription.destination.as_str(),
            destinations
                .get(&subscription.destination)
                .map(|destination| &destination.kind),
        );
        match kind {
            Some(means) if means.recipient_kind().is_some() => item.error(format!(
                "{name:?} sends to customers or agents, and an alert has neither: use a webhook or an e-mail destination for alerts"
            )),
            Some(means) if !subscription.events.iter().any(|event| means.supports(*event)) => {
                item.error(format!("{name:?} has no template for any of these alerts: its `payload` has templates only for other events"));
            }
            _ => {}
        }
    }
}

fn read_proxy(table: &TableReader<'_>, kind: &str, folder: &Path) -> Option<ProxySettings> {
    match kind {
        "smtp" => ProxySettings::reject_proxy(
            table,
            "use a mail server that can be reached without a proxy",
        ),
        "gateway" => ProxySettings::reject_proxy(
            table,
            "a gateway is probed as well, and all requests to it are direct",
        ),
        _ => return ProxySettings::read(table, folder),
    }
    None
}

fn read_max_age(table: &TableReader<'_>, kind: &str) -> Option<Millis> {
    let day = Millis::from_secs(24 * 3600);
    match table.get("max_age") {
        Some(item) => item.duration(Millis::from_secs(1)..=Millis::new(30 * day.get())),
        None => matches!(kind, "whatsapp" | "gateway").then_some(day),
    }
}

fn read_breaker(table: &TableReader<'_>) -> BreakerPolicy {
    BreakerPolicy {
        failure_threshold: table.integer("failure_threshold", 5, 1..=1000),
        open_for: table.duration(
            "open_for",
            Millis::from_secs(30),
            Millis::new(100)..=Millis::from_secs(3600),
        ),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::tests::{assert_refused, error_of, parse_valid};

    /// Returns the destination `crm` with the settings in `table`. The destination must be a
    /// webhook.
    pub(in crate::config) fn webhook_destination(table: &str) -> (Destination, WebhookSettings) {
        let crm = parse_valid(&format!("[destinations.crm]\n{table}"))
            .destinations
            .into_values()
            .next()
            .unwrap();
        let DestinationKind::Webhook(webhook) = crm.kind.clone() else {
            panic!("{crm:?}")
        };
        (crm, webhook)
    }

    #[test]
    fn destination_requires_url_and_has_defaults() {
        let (crm, webhook) = webhook_destination("url = \"https://crm.example/hooks?a=b\"");
        assert_eq!(crm.kind.url().unwrap(), "https://crm.example/hooks?a=b");
        assert_eq!(
            (
                crm.concurrency,
                crm.rate,
                crm.timeout.get(),
                crm.allow_private
            ),
            (8, None, 15_000, false)
        );
        assert_eq!(
            crm.breaker,
            BreakerPolicy {
                failure_threshold: 5,
                open_for: Millis::from_secs(30)
            }
        );
        assert_eq!(crm.retry, parse_valid("").retry);
        assert!(webhook.secrets.is_empty() && webhook.headers.is_empty());
    }

    #[test]
    fn every_destination_setting_is_read() {
        let (crm, webhook) = webhook_destination(
            "url = \"http://10.0.0.7:8080/\"\nsecrets = [\"env:NEW\", \"file:old\"]\nconcurrency = 2\nrate = \"256/m\"\n\
             timeout = \"30s\"\nallow_private = true\nordered = true\nbreaker = { failure_threshold = 3, open_for = \"1m\" }\n\
             retry = { initial_delay = \"1s\", max_attempts = 3 }\nheaders = { Authorization = \"env:TOKEN\" }",
        );
        assert_eq!(crm.rate.unwrap().to_string(), "256/m");
        assert_eq!(
            (
                crm.concurrency,
                crm.timeout.get(),
                crm.allow_private,
                crm.is_ordered
            ),
            (2, 30_000, true, true)
        );
        assert_eq!(webhook.secrets.len(), 2);
        assert_eq!(
            webhook.headers.keys().collect::<Vec<_>>(),
            ["authorization"]
        );
        assert_eq!(
            (crm.retry.initial_delay.get(), crm.retry.max_attempts),
            (1000, 3)
        );
        assert_eq!(
            crm.retry.max_delay,
            parse_valid("").retry.max_delay,
            "unset keys have the defaults"
        );
    }

    #[test]
    fn destination_errors_have_location() {
        let url = "url = \"https://crm.example\"";
        assert_refused(
            "[destinations.crm]",
            &[
                ("", "1:15: destinations.crm: `url` is missing"),
                (
                    "kind = \"slack\"",
                    "2:8: destinations.crm.kind: \"slack\" is a webhook with a payload format of its own: remove `kind`, and set payload = \"slack\"",
                ),
                (
                    &format!("{url}\nconcurrency = 0"),
                    "3:15: destinations.crm.concurrency: must be from 1 to 256, and is 0",
                ),
                (
                    &format!("{url}\nrate = \"fast\""),
                    "3:8: destinations.crm.rate: \"fast\" is not a valid rate: write one like \"50/s\", \"256/m\" or \"1000/h\", from 1 to 1000000",
                ),
                (
                    &format!("{url}\nheaders = {{ Webhook-Id = \"env:A\" }}"),
                    "3:13: destinations.crm.headers.Webhook-Id: is a header that flowgate sets itself",
                ),
                (
                    &format!("{url}\nsecret = \"env:A\""),
                    "3:1: unknown key `secret` in destinations.crm: did you mean `secrets`?",
                ),
            ],
        );
        let hidden = error_of(&format!("[destinations.crm]\n{url}\nsecrets = [\"hush\"]"));
        assert!(
            hidden.contains("destinations.crm.secrets") && !hidden.contains("hush"),
            "{hidden}"
        );
    }
}
