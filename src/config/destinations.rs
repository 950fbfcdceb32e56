//! `[destinations.NAME]`: somewhere outside that is told what happens here, and how fast, how often and how patiently.
//!
//! Which events go there is `super::deliver`'s; reading its secrets is `crate::cli`'s, telling it `crate::courier`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hyper::Uri;

use super::gateway_texts::GatewayTexts;
use super::gateways::Gateway;
use super::posts::{Address, WebhookRule};
use super::proxy::ProxyRule;
use super::raw::Table;
use super::settings::{self, Meta};
use super::smtp::{self, SmtpRule};
use super::value::Item;
use super::whatsapp::WhatsappRule;
use crate::domain::address::is_this_machine;
use crate::domain::breaker::BreakerRule;
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, GatewayName};
use crate::domain::message::Addressee;
use crate::domain::pace::{Limit, Rate};
use crate::domain::retry::RetryPolicy;
use crate::domain::routes::Route;
use crate::domain::time::Millis;

/// What every number may send, also one that is shared with the Business app.
const WHATSAPP_RATE: Rate = Rate { count: 20, per: Millis::from_secs(1) };

/// One destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Where, and as whom.
    pub means: Means,
    /// What it may be asked of at once. Default 8, 2 of a mail server, up to 256.
    pub concurrency: usize,
    /// How many it is told in a time. Default: as many as there are; 20 a second by WhatsApp, as numbers have that are shared
    /// with the Business app (*Throughput*).
    pub rate: Option<Rate>,
    /// How long one answer may take, from the look-up of its name to the last byte. Default 15 s, up to 60 s; of a mail server
    /// 60 s, up to 10 min.
    pub timeout: Millis,
    /// When it is left alone. Default: for 30 s after 5 failures in a row.
    pub breaker: BreakerRule,
    /// How often one thing is tried. Default: as `[retry]` has it.
    pub retry: RetryPolicy,
    /// Whether it may be on this machine or in a network of one's own.
    pub allow_private: bool,
    /// Whether it is told of one customer in the order in which things became true: one at a time. Default: as it comes.
    pub ordered: bool,
    /// After how long it is not told of something any more: late news would do harm. Default: a day where people are written
    /// to, never elsewhere.
    pub expires: Option<Millis>,
    /// Who carries what it is told. Default: nobody, it is connected to.
    pub proxy: Option<ProxyRule>,
}

/// How fast a destination may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// By itself.
    pub own: Limit,
    /// Together with all that are told by the same gateway or number.
    pub shared: Limit,
}

/// How it is told.
#[derive(Clone, Debug)]
pub enum Means {
    /// Posts to a URL.
    Webhook(WebhookRule),
    /// Messages through Meta's Cloud API.
    Whatsapp(WhatsappRule),
    /// Texts through an unofficial gateway.
    Gateway(GatewayTexts),
    /// E-mails through a mail server.
    Smtp(SmtpRule),
}

impl Means {
    /// Where that is, if the config itself says so.
    #[must_use]
    pub const fn url(&self) -> Option<&Uri> {
        match self {
            Self::Webhook(WebhookRule { url: Address::Plain(url), .. }) => Some(url),
            Self::Webhook(WebhookRule { url: Address::Secret(_), .. }) => None,
            Self::Whatsapp(rule) => Some(&rule.url),
            Self::Gateway(rule) => Some(&rule.url),
            Self::Smtp(rule) => Some(&rule.url),
        }
    }

    /// Whom it writes to, where that is customers or agents.
    #[must_use]
    pub const fn addressee(&self) -> Option<&Addressee> {
        match self {
            Self::Whatsapp(rule) => Some(&rule.to),
            Self::Gateway(rule) => Some(&rule.to),
            Self::Webhook(_) | Self::Smtp(_) => None,
        }
    }

    /// Whether it has something to say of such an event.
    #[must_use]
    pub fn tells_of(&self, kind: EventKind) -> bool {
        match self {
            Self::Webhook(rule) => rule.body.tells_of(kind),
            Self::Whatsapp(rule) => rule.messages.contains_key(&kind),
            Self::Gateway(rule) => rule.messages.contains_key(&kind),
            Self::Smtp(_) => true,
        }
    }
}

impl Destination {
    /// Whether what is told there may have to wait, or be too late, for reasons of its own.
    #[must_use]
    pub const fn looks_inside(&self) -> bool {
        self.expires.is_some() || self.means.addressee().is_some()
    }

    /// How fast it may be told.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let shared = match &self.means {
            Means::Gateway(rule) => rule.limit,
            Means::Whatsapp(rule) => rule.number_rate.map_or(Limit::None, Limit::Written),
            Means::Webhook(_) | Means::Smtp(_) => Limit::None,
        };
        Rates { own: self.rate.map_or(Limit::None, Limit::Written), shared }
    }

    /// The host of its URL, with the port if one is written: all of it that may be shown, as the rest may hold a token. Of a
    /// URL that is a secret: the place where it is.
    #[must_use]
    pub fn host(&self) -> String {
        if let Means::Webhook(WebhookRule { url: Address::Secret(place), .. }) = &self.means {
            return place.place();
        }
        let authority = self.means.url().and_then(Uri::authority);
        authority.map(|authority| authority.as_str().to_owned()).unwrap_or_default()
    }

    /// What should be known of it, one sentence each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = match &self.means {
            Means::Webhook(rule) => rule.notes(),
            Means::Whatsapp(rule) => {
                rule.access_token.note().map(|note| format!("access_token: {note}")).into_iter().collect()
            }
            // What is to be known of a gateway is said of that.
            Means::Gateway(_) => Vec::new(),
            Means::Smtp(rule) => rule.notes(),
        };
        notes.extend(self.proxy.as_ref().and_then(ProxyRule::note));
        notes
    }
}

/// The names of all destinations, for those who refer to them.
pub(super) fn names<'d>(root: &Table<'d>) -> Vec<&'d str> {
    let names = root.get("destinations").and_then(|item| item.is_table().then(|| item.names(Table::named)));
    names.flatten().unwrap_or_default().iter().map(|item| item.key).collect()
}

/// Reads all destinations. `folder` is the config's, `retry` what `[retry]` says, `meta` what `[meta]` does.
pub(super) fn read(
    root: &Table<'_>,
    retry: RetryPolicy,
    meta: &Meta,
    gateways: &BTreeMap<GatewayName, Gateway>,
    folder: &Path,
) -> BTreeMap<DestinationName, Destination> {
    let Some(item) = root.get("destinations") else { return BTreeMap::new() };
    let read = item.names(|table| {
        let items = table.named();
        items.iter().filter_map(|item| destination(item, retry, meta, gateways, folder)).collect()
    });
    let mut read: BTreeMap<_, _> = read.unwrap_or_default();
    share_numbers(&mut read);
    read
}

/// A number takes from all destinations together what the fastest of them may be told.
fn share_numbers(destinations: &mut BTreeMap<DestinationName, Destination>) {
    let mut fastest: BTreeMap<String, Rate> = BTreeMap::new();
    for destination in destinations.values() {
        if let (Means::Whatsapp(rule), Some(rate)) = (&destination.means, destination.rate) {
            let known = fastest.entry(rule.phone_number_id.clone()).or_insert(rate);
            *known = if rate.is_faster_than(*known) { rate } else { *known };
        }
    }
    for destination in destinations.values_mut() {
        if let Means::Whatsapp(rule) = &mut destination.means {
            rule.number_rate = fastest.get(&rule.phone_number_id).copied();
        }
    }
}

/// Those that are told of each customer in order.
pub(super) fn ordered(destinations: &BTreeMap<DestinationName, Destination>) -> BTreeSet<DestinationName> {
    destinations.iter().filter(|(_, destination)| destination.ordered).map(|(name, _)| name.clone()).collect()
}

fn destination(
    item: &Item<'_>,
    retry: RetryPolicy,
    meta: &Meta,
    gateways: &BTreeMap<GatewayName, Gateway>,
    folder: &Path,
) -> Option<(DestinationName, Destination)> {
    let name = item.parsed_key(DestinationName::new);
    item.table(|table| {
        // Of a kind that is none, no other key could be told right from wrong.
        let kinds = ["webhook", "whatsapp", "gateway", "smtp"];
        let kind = table.get("kind").map_or(Some("webhook"), |item| match item.some_text() {
            Some(chat @ ("slack" | "discord")) => {
                item.refuse(format!(
                    "{chat:?} is a webhook with a body of its own: leave `kind` out, and write body = {chat:?}"
                ));
                None
            }
            text => text.and_then(|_| item.word(&kinds)),
        });
        let Some(kind) = kind else {
            table.ask_nothing_more();
            return None;
        };
        let (means, allow_private, rate) = if kind == "whatsapp" {
            let rule = WhatsappRule::read(table, meta, folder);
            let is_here = rule.as_ref().and_then(|rule| rule.url.host()).is_some_and(is_this_machine);
            (rule.map(Means::Whatsapp), is_here, Some(WHATSAPP_RATE))
        } else if kind == "gateway" {
            let rule = GatewayTexts::read(table, gateways);
            let allow_private = rule.as_ref().is_some_and(|rule| rule.allow_private);
            (rule.map(Means::Gateway), allow_private, None)
        } else if kind == "smtp" {
            let allow_private = table.boolean("allow_private", false);
            (SmtpRule::read(table, allow_private, folder).map(Means::Smtp), allow_private, None)
        } else {
            let allow_private = table.boolean("allow_private", false);
            (WebhookRule::read(table, allow_private, folder).map(Means::Webhook), allow_private, None)
        };
        let (concurrency, timeout, timeout_max) = if kind == "smtp" {
            (smtp::CONCURRENCY, smtp::TIMEOUT, smtp::TIMEOUT_MAX)
        } else {
            (8, Millis::from_secs(15), Millis::from_secs(60))
        };
        let destination = Destination {
            concurrency: table.count("concurrency", concurrency, 1..=256),
            rate: if kind == "gateway" {
                None
            } else {
                table.get("rate").map_or(rate, |item| item.parsed(Rate::parse))
            },
            timeout: table.length("timeout", timeout, Millis::new(100)..=timeout_max),
            breaker: table.table("breaker", breaker).unwrap_or_else(|| Table::empty(breaker)),
            retry: settings::retry_within(table, retry),
            allow_private,
            ordered: table.boolean("ordered", false),
            expires: expires(table, kind),
            proxy: proxy(table, kind, folder),
            means: means?,
        };
        Some((name?, destination))
    })?
}

/// Lets each route lead to what its destination has something to say of. A route that then leads nowhere is none.
pub(super) fn narrow<'r>(
    routes: impl Iterator<Item = &'r mut Vec<Route>>,
    destinations: &BTreeMap<DestinationName, Destination>,
) {
    for routes in routes {
        routes.retain_mut(|route| {
            if let Some(to) = destinations.get(&route.to) {
                route.events.retain(|event| to.means.tells_of(*event));
            }
            !route.events.is_empty()
        });
    }
}

/// Refuses alerts by means that write to customers or agents: an alert names neither. So it does those that nothing would be
/// said of.
pub(super) fn refuse_alerts(item: &Item<'_>, alerts: &[Route], destinations: &BTreeMap<DestinationName, Destination>) {
    for route in alerts {
        let (name, means) = (route.to.as_str(), destinations.get(&route.to).map(|to| &to.means));
        match means {
            Some(means) if means.addressee().is_some() => item.refuse(format!(
                "{name:?} writes to customers or agents, and an alert names neither: alert a webhook or a mailbox"
            )),
            Some(means) if !route.events.iter().any(|event| means.tells_of(*event)) => {
                item.refuse(format!("{name:?} has no template for any of these alerts: its `body` names other events"));
            }
            _ => {}
        }
    }
}

fn proxy(table: &Table<'_>, kind: &str, folder: &Path) -> Option<ProxyRule> {
    match kind {
        "smtp" => ProxyRule::refuse(
            table,
            "take a mail server that can be reached without one, as your provider's or your own",
        ),
        "gateway" => ProxyRule::refuse(
            table,
            "a gateway is asked for its health as well, and all that is asked of it goes straight",
        ),
        _ => return ProxyRule::read(table, folder),
    }
    None
}

fn expires(table: &Table<'_>, kind: &str) -> Option<Millis> {
    let day = Millis::from_secs(24 * 3600);
    match table.get("expires") {
        Some(item) => item.length(Millis::from_secs(1)..=Millis::new(30 * day.get())),
        None => matches!(kind, "whatsapp" | "gateway").then_some(day),
    }
}

fn breaker(table: &Table<'_>) -> BreakerRule {
    BreakerRule {
        failures: table.count("failures", 5, 1..=1000),
        pause: table.length("pause", Millis::from_secs(30), Millis::new(100)..=Millis::from_secs(3600)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{accepted, assert_refused, refused};
    use super::*;

    /// A destination `crm` of this table, which is a webhook.
    pub(in super::super) fn one(table: &str) -> (Destination, WebhookRule) {
        let crm = accepted(&format!("[destinations.crm]\n{table}")).destinations.into_values().next().unwrap();
        let Means::Webhook(webhook) = crm.means.clone() else { panic!("{crm:?}") };
        (crm, webhook)
    }

    #[test]
    fn a_destination_needs_an_address_and_the_rest_has_defaults() {
        let (crm, webhook) = one("url = \"https://crm.example/hooks?a=b\"");
        assert_eq!(crm.means.url().unwrap(), "https://crm.example/hooks?a=b");
        assert_eq!((crm.concurrency, crm.rate, crm.timeout.get(), crm.allow_private), (8, None, 15_000, false));
        assert_eq!(crm.breaker, BreakerRule { failures: 5, pause: Millis::from_secs(30) });
        assert_eq!(crm.retry, accepted("").retry);
        assert!(webhook.secrets.is_empty() && webhook.headers.is_empty());
    }

    #[test]
    fn all_that_can_be_set_is_set() {
        let (crm, webhook) = one(
            "url = \"http://10.0.0.7:8080/\"\nsecrets = [\"env:NEW\", \"file:old\"]\nconcurrency = 2\nrate = \"256/m\"\n\
             timeout = \"30s\"\nallow_private = true\nordered = true\nbreaker = { failures = 3, pause = \"1m\" }\n\
             retry = { first = \"1s\", attempts = 3 }\nheaders = { Authorization = \"env:TOKEN\" }",
        );
        assert_eq!(crm.rate.unwrap().to_string(), "256/m");
        assert_eq!((crm.concurrency, crm.timeout.get(), crm.allow_private, crm.ordered), (2, 30_000, true, true));
        assert_eq!(webhook.secrets.len(), 2);
        assert_eq!(webhook.headers.keys().collect::<Vec<_>>(), ["authorization"]);
        assert_eq!((crm.retry.first.get(), crm.retry.attempts), (1000, 3));
        assert_eq!(crm.retry.ceiling, accepted("").retry.ceiling, "what is not said is as everywhere");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let url = "url = \"https://crm.example\"";
        assert_refused(
            "[destinations.crm]",
            &[
                ("", "1:15: destinations.crm: `url` is missing"),
                (
                    "kind = \"slack\"",
                    "2:8: destinations.crm.kind: \"slack\" is a webhook with a body of its own: leave `kind` out, and write body = \"slack\"",
                ),
                (
                    &format!("{url}\nconcurrency = 0"),
                    "3:15: destinations.crm.concurrency: must be from 1 to 256, and is 0",
                ),
                (
                    &format!("{url}\nrate = \"fast\""),
                    "3:8: destinations.crm.rate: \"fast\" is no rate: write one like \"50/s\", \"256/m\" or \"1000/h\", from 1 to 1000000",
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
        let hidden = refused(&format!("[destinations.crm]\n{url}\nsecrets = [\"hush\"]"));
        assert!(hidden.contains("destinations.crm.secrets") && !hidden.contains("hush"), "{hidden}");
    }
}
