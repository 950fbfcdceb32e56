//! Summarizes a config for `config check`, and warns about settings that are valid but risky.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use super::Config;
use super::destination::Destination;
use super::destination::unsent;
use super::flow::upstream::UpstreamSettings;
use super::gateways::GatewaySettings;
use super::secrets::SecretRef;
use super::units;
use crate::domain::booking::calendar::Calendar;
use crate::domain::event::subscriptions::Subscription;
use crate::domain::flow::cross_screen::required_by_final_screen;
use crate::domain::flow::{EncryptionMode, Flow, SignaturePolicy};
use crate::domain::ids::{DestinationName, GatewayName};
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::{Millis, Timestamp};

/// Maximum number of days with available slots that the summary shows for each calendar.
const DAYS_SHOWN: usize = 3;

/// Number of days that are searched for available slots.
const DAYS_SEARCHED: i32 = 62;

/// Time that WhatsApp waits for a response (*Implementing Endpoint for Flows*).
const WHATSAPP_TIMEOUT: Millis = Millis::from_secs(10);

/// Minimum `limits.header_timeout` without a warning. A shorter timeout rejects senders that are
/// only slow.
const HEADER_TIMEOUT_MIN: Millis = Millis::from_secs(1);

/// Minimum `limits.idle_timeout` without a warning. A shorter timeout closes connections that
/// proxies try to reuse.
const IDLE_TIMEOUT_MIN: Millis = Millis::from_secs(10);

/// Minimum `retention.idempotency_ttl` without a warning. With a shorter time, a form that a client
/// sends again is accepted twice.
const IDEMPOTENCY_TTL_MIN: Millis = Millis::from_secs(60 * 60);

/// Time for which Meta resends a webhook.
const META_RETRY_PERIOD: Millis = Millis::from_secs(7 * 24 * 60 * 60);

/// Summary of a config. `Display` is for people, `Serialize` for scripts.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigSummary {
    /// Path of the config file.
    pub file: String,
    /// Address of the listener for Meta's requests.
    pub listen: SocketAddr,
    /// Address of the admin listener, for operators.
    pub admin_listen: SocketAddr,
    /// Path of the data file.
    pub data: String,
    /// Flows, sorted by name.
    pub flows: Vec<FlowSummary>,
    /// Calendars, sorted by name.
    pub calendars: Vec<CalendarSummary>,
    /// Destinations, sorted by name.
    pub destinations: Vec<DestinationSummary>,
    /// Unofficial gateways, sorted by name.
    pub gateways: Vec<GatewaySummary>,
    /// Names of the destinations that get alerts.
    pub alerts: Vec<String>,
    /// Warnings about settings that are valid but risky, one sentence each.
    pub warnings: Vec<String>,
}

/// Summary of a flow.
#[derive(Clone, Debug, Serialize)]
pub struct FlowSummary {
    /// Name of the flow.
    pub name: String,
    /// Path of the flow's requests.
    pub path: String,
    /// `true` if requests must have a signature.
    pub signed: bool,
    /// `true` if requests are encrypted.
    pub encrypted: bool,
    /// Names of the screens, in the order of the config.
    pub screens: Vec<String>,
    /// URL of the upstream. `None`: the flow has no upstream.
    pub upstream: Option<String>,
    /// Name of the calendar for bookings. `None`: the flow books nothing.
    pub calendar: Option<String>,
    /// Name of the team that gets the leads. `None`: the flow has no leads.
    pub team: Option<String>,
    /// Names of the destinations that get the events of the flow.
    pub deliver: Vec<String>,
}

/// Summary of a destination.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationSummary {
    /// Name of the destination.
    pub name: String,
    /// Kind of the destination: `webhook`, `whatsapp`, `gateway` or `smtp`.
    pub kind: &'static str,
    /// Scheme, host and port of the URL. The rest of the URL may be a secret. If the whole URL is a
    /// secret: its location.
    pub host: String,
    /// `true` if deliveries are signed. Only deliveries to webhooks can be signed.
    pub signed: bool,
    /// Mailboxes that get the e-mails. Empty for other kinds than `smtp`.
    pub to: Vec<String>,
    /// Host and port of the proxy. `None`: direct connections.
    pub proxy: Option<String>,
}

/// Summary of an unofficial gateway.
#[derive(Clone, Debug, Serialize)]
pub struct GatewaySummary {
    /// Name of the gateway.
    pub name: String,
    /// Kind of the gateway: the program that it runs.
    pub kind: &'static str,
    /// Base URL of the API.
    pub url: String,
    /// ID or name of the session.
    pub session: String,
    /// Path on this server that the gateway must send its webhook to.
    pub webhook: String,
    /// Interval between two probes, with its unit.
    pub probe_interval: String,
    /// Time without a message after which the session is suspected, with its unit. `None`: never.
    pub inactivity_timeout: Option<String>,
    /// Names of the flows whose forms may arrive as text messages.
    pub forms: Vec<String>,
}

/// Summary of a calendar.
#[derive(Clone, Debug, Serialize)]
pub struct CalendarSummary {
    /// Name of the calendar.
    pub name: String,
    /// IANA name of the time zone.
    pub timezone: String,
    /// Number of places at the same time.
    pub capacity: u32,
    /// Next days with available slots.
    pub days: Vec<DaySummary>,
}

/// Available slots of one day.
#[derive(Clone, Debug, Serialize)]
pub struct DaySummary {
    /// Date, such as `2027-01-04`.
    pub date: String,
    /// Start times of the slots, such as `09:00`.
    pub times: Vec<String>,
}

impl Config {
    /// Returns the summary of the config, with the slots available at `now`.
    #[must_use]
    pub fn summary(&self, now: Timestamp) -> ConfigSummary {
        ConfigSummary {
            file: self.file.display().to_string(),
            listen: self.listen,
            admin_listen: self.admin_listen,
            data: self.data.display().to_string(),
            flows: self
                .flows
                .values()
                .map(|flow| self.summarize_flow(flow))
                .collect(),
            calendars: self
                .calendars
                .values()
                .map(|calendar| CalendarSummary::new(calendar, now))
                .collect(),
            destinations: self
                .destinations
                .iter()
                .map(|(name, destination)| DestinationSummary::new(name, destination))
                .collect(),
            gateways: self
                .gateways
                .iter()
                .map(|(name, gateway)| GatewaySummary::new(name, &gateway.settings))
                .collect(),
            alerts: destination_names(&self.subscriptions.alerts),
            warnings: self
                .warnings()
                .into_iter()
                .chain(self.flows.values().flat_map(|flow| token_warnings(flow)))
                .collect(),
        }
    }

    fn summarize_flow(&self, flow: &Flow) -> FlowSummary {
        let subscriptions = self
            .subscriptions
            .flows
            .get(&flow.name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        FlowSummary {
            deliver: destination_names(subscriptions),
            ..FlowSummary::new(flow, self.upstreams.get(&flow.name))
        }
    }

    /// Returns the warnings about settings that are valid but risky, one sentence each. The
    /// warnings never contain a secret.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.secret_warnings();
        warnings.extend(self.upstream_warnings());
        warnings.extend(self.destination_warnings());
        warnings.extend(self.gateway_warnings());
        warnings.extend(self.missing_alert_warnings());
        warnings.extend(self.flow_warnings());
        warnings.extend(self.duration_warnings());
        warnings
    }
}

impl Config {
    /// Returns the warnings about secrets in the config itself.
    fn secret_warnings(&self) -> Vec<String> {
        let secret = |key: &str, secret: &SecretRef| {
            secret
                .warning()
                .map(|warning| format!("meta.{key}: {warning}"))
        };
        let mut warnings: Vec<String> = self
            .meta
            .app_secrets
            .iter()
            .filter_map(|secret_ref| secret("app_secrets", secret_ref))
            .collect();
        warnings.extend(secret("verify_token", &self.meta.verify_token));
        // An unset variable gives no warning here, because a server needs no access token.
        if !matches!(self.meta.access_token, SecretRef::Env(_)) {
            warnings.extend(secret("access_token", &self.meta.access_token));
        }
        for (flow, sources) in &self.private_keys {
            let sources = sources.private_keys.iter().chain(&sources.passphrase);
            warnings.extend(
                sources
                    .filter_map(SecretRef::warning)
                    .map(|warning| format!("flow {flow}: {warning}")),
            );
        }
        warnings
    }

    /// Returns the warnings about upstreams.
    fn upstream_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (flow, upstream) in &self.upstreams {
            let found = self
                .flows
                .get(flow)
                .map(|flow| upstream.warnings(flow, self.limits.request_timeout))
                .unwrap_or_default();
            warnings.extend(
                found
                    .into_iter()
                    .map(|warning| format!("flow {flow}: {warning}")),
            );
        }
        warnings
    }

    /// Returns the warnings about destinations and about events that no destination gets.
    fn destination_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, destination) in &self.destinations {
            warnings.extend(
                destination
                    .warnings()
                    .into_iter()
                    .map(|warning| format!("destination {name}: {warning}")),
            );
            let is_subscribed = self
                .subscriptions
                .flows
                .values()
                .chain([&self.subscriptions.alerts])
                .flatten()
                .any(|route| route.destination == *name);
            if !is_subscribed {
                warnings.push(format!(
                    "destination {name}: it gets no events: name it in the `deliver` of a flow, or in `alerts`"
                ));
            }
        }
        warnings.extend(unsent::warnings(self));
        warnings
    }

    /// Returns the warnings about gateways.
    fn gateway_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, gateway) in &self.gateways {
            warnings.extend(
                gateway
                    .warnings()
                    .into_iter()
                    .map(|warning| format!("gateway {name}: {warning}")),
            );
        }
        warnings
    }

    /// Returns the warnings about alerts that no destination gets.
    fn missing_alert_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.destinations.is_empty() && self.subscriptions.alerts.is_empty() {
            warnings.push(
                "no alert is sent when a delivery becomes a dead letter or a destination is stopped: name a destination in \
                 `alerts`"
                    .to_owned(),
            );
        }
        if !self.gateways.is_empty() && self.subscriptions.alerts.is_empty() {
            warnings.push(
                "no alert is sent when a gateway's session drops or needs a person: name a destination in `alerts`"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Returns the warnings about flows, their matchers and their listen address.
    fn flow_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for flow in self
            .flows
            .values()
            .filter(|flow| flow.signature == SignaturePolicy::None)
        {
            warnings.push(format!(
                "flow {} accepts forms without a signature: anybody who can reach it can send forms",
                flow.name
            ));
        }
        warnings.extend(
            self.flows
                .values()
                .flat_map(|flow| reserved_name_warnings(flow)),
        );
        if !self.admin_listen.ip().is_loopback() {
            warnings.push(format!(
                "admin_listen {} is open to other machines, and requires no authentication",
                self.admin_listen
            ));
        }
        if self.flows.is_empty() {
            warnings.push("no flow is configured, so no form can be received".to_owned());
        }
        if self.flows.len() > 1 && !self.flows.values().any(|flow| flow.matcher.is_default) {
            let affected = if self
                .flows
                .values()
                .all(|flow| flow.matcher.condition_count() == 0)
            {
                format!(
                    "none of the {} flows has a `webhook` matcher: forms that",
                    self.flows.len()
                )
            } else {
                "no flow has `webhook = \"default\"`: forms that match no flow's `webhook` and"
                    .to_owned()
            };
            let suggestion = "set `webhook = \"default\"` in the flow that must receive them";
            warnings.push(format!(
                "{affected} come through /webhook become dead letters: {suggestion}"
            ));
        }
        if self.retention.message_id_ttl < META_RETRY_PERIOD {
            let shown_ttl = units::format_duration(self.retention.message_id_ttl);
            warnings.push(format!(
                "retention.message_id_ttl is {shown_ttl}, but Meta resends messages for 7d: forms could be stored twice"
            ));
        }
        warnings
    }
}

impl Config {
    /// Returns the warnings about durations that are valid but probably not intended.
    fn duration_warnings(&self) -> Vec<String> {
        let Self {
            limits, retention, ..
        } = self;
        let shown = units::format_duration;
        let mut warnings = Vec::new();
        if limits.request_timeout > WHATSAPP_TIMEOUT {
            warnings.push(format!(
                "limits.request_timeout is {}, but WhatsApp waits for {}: a later response is discarded",
                shown(limits.request_timeout),
                shown(WHATSAPP_TIMEOUT)
            ));
        }
        if limits.header_timeout < HEADER_TIMEOUT_MIN {
            warnings.push(format!(
                "limits.header_timeout is {}: slow senders get 408",
                shown(limits.header_timeout)
            ));
        }
        if limits.idle_timeout < IDLE_TIMEOUT_MIN {
            warnings.push(format!(
                "limits.idle_timeout is {}: a proxy with a longer keep-alive time uses closed connections, and its clients get 502",
                shown(limits.idle_timeout)
            ));
        }
        if retention.idempotency_ttl < IDEMPOTENCY_TTL_MIN {
            warnings.push(format!(
                "retention.idempotency_ttl is {}: a form that is sent again after that counts as a new one",
                shown(retention.idempotency_ttl)
            ));
        }
        warnings
    }
}

/// Returns the warnings about data that encrypted requests lack and that the flow needs. A Flow
/// JSON may add the data, but the config has no Flow JSON.
fn token_warnings(flow: &Flow) -> Vec<String> {
    if flow.encryption != EncryptionMode::Required {
        return Vec::new();
    }
    let sticky = flow.lead.as_ref().filter(|lead| lead.is_sticky).map(|_| {
        let why = "encrypted requests do not contain the customer, but the messages after them do";
        format!(
            "flow {}: lead.sticky: {why}: subscribe Meta's app to `messages`, so that they come to /webhook",
            flow.name
        )
    });
    let final_screens = flow
        .screens
        .iter()
        .filter(|screen| screen.is_final && !flow.has_upstream);
    let missing = final_screens
        .flat_map(|screen| {
            required_by_final_screen(flow, screen)
                .into_iter()
                .map(move |field| (screen, field))
        })
        .next();
    let missing_warning = missing.map(|(screen, field)| {
        let from = if field.screen.name == screen.name { String::new() } else { format!(" of {}", field.screen.name) };
        format!(
            "flow {}: a form whose message has no flow_token of its own has `{}`{from} only if {} resends it: set a flow_token in \
             each message, or check the Flow JSON with `flowgate flows check`",
            flow.name, field.name, screen.name
        )
    });
    sticky.into_iter().chain(missing_warning).collect()
}

/// Returns the warnings about fields that have the same name as a field of an error notification.
/// Only these names distinguish an error notification of a client from a form.
fn reserved_name_warnings(flow: &Flow) -> impl Iterator<Item = String> {
    let screens = flow
        .screens
        .iter()
        .filter(|_| flow.encryption == EncryptionMode::Required);
    let fields = screens.flat_map(|screen| {
        screen
            .fields
            .iter()
            .map(|field| (&screen.name, &field.name))
    });
    fields.filter(|(_, field)| FlowError::DATA_KEYS.contains(&field.as_str())).map(|(screen, field)| {
        format!(
            "flow {}: screen {screen} has a field {field:?}, a name that error notifications of phones also use: a notification from this screen \
             is mistaken for a form: rename the field",
            flow.name
        )
    })
}

impl FlowSummary {
    fn new(flow: &Flow, upstream: Option<&UpstreamSettings>) -> Self {
        Self {
            name: flow.name.to_string(),
            path: flow.path.clone(),
            signed: flow.signature == SignaturePolicy::Required,
            encrypted: flow.encryption == EncryptionMode::Required,
            screens: flow
                .screens
                .iter()
                .map(|screen| screen.name.clone())
                .collect(),
            upstream: upstream.map(|settings| settings.url.to_string()),
            calendar: flow
                .booking
                .as_ref()
                .map(|booking| booking.calendar.to_string()),
            team: flow.lead.as_ref().map(|lead| lead.team.to_string()),
            deliver: Vec::new(),
        }
    }
}

impl DestinationSummary {
    fn new(name: &DestinationName, destination: &Destination) -> Self {
        let settings = destination.kind.settings();
        let proxy = destination.proxy.as_ref();
        let scheme = settings
            .url()
            .and_then(|url| url.scheme_str())
            .map(|scheme| format!("{scheme}://"));
        Self {
            name: name.to_string(),
            kind: settings.kind(),
            host: scheme.unwrap_or_default() + &settings.host(),
            signed: settings.is_signed(),
            to: settings.mailboxes(),
            proxy: proxy.map(|proxy| proxy.host().to_owned()),
        }
    }
}

impl GatewaySummary {
    fn new(name: &GatewayName, settings: &GatewaySettings) -> Self {
        Self {
            name: name.to_string(),
            kind: settings.kind.as_str(),
            url: settings.url.clone(),
            session: settings.session.clone(),
            webhook: format!("/gateways/{name}"),
            probe_interval: units::format_duration(settings.probe_interval),
            inactivity_timeout: settings.inactivity_timeout.map(units::format_duration),
            forms: settings
                .forms
                .iter()
                .map(|form| form.flow.to_string())
                .collect(),
        }
    }
}

fn destination_names(routes: &[Subscription]) -> Vec<String> {
    routes
        .iter()
        .map(|route| route.destination.to_string())
        .collect()
}

impl CalendarSummary {
    fn new(calendar: &Calendar, now: Timestamp) -> Self {
        let first = calendar.local_date(now);
        let dates = (0..DAYS_SEARCHED)
            .filter_map(|days| first.checked_add(jiff::Span::new().days(days)).ok());
        let days = dates.filter_map(|date| {
            let times: Vec<String> = calendar
                .collect_available_starts(date, now)
                .iter()
                .map(crate::domain::booking::calendar::Slot::clock_time)
                .collect();
            (!times.is_empty()).then(|| DaySummary {
                date: date.to_string(),
                times,
            })
        });
        Self {
            name: calendar.name().to_string(),
            timezone: calendar.time_zone().iana_name().unwrap_or("UTC").to_owned(),
            capacity: calendar.capacity(),
            days: days.take(DAYS_SHOWN).collect(),
        }
    }
}

impl fmt::Display for ConfigSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is valid", self.file)?;
        writeln!(f, "  listen        {}", self.listen)?;
        writeln!(f, "  admin_listen  {}", self.admin_listen)?;
        writeln!(f, "  data          {}", self.data)?;
        self.flows.iter().try_for_each(|flow| flow.fmt(f))?;
        self.calendars
            .iter()
            .try_for_each(|calendar| calendar.fmt(f))?;
        self.destinations
            .iter()
            .try_for_each(|destination| destination.fmt(f))?;
        self.gateways
            .iter()
            .try_for_each(|gateway| gateway.fmt(f))?;
        if !self.alerts.is_empty() {
            writeln!(f, "alerts go to {}", self.alerts.join(", "))?;
        }
        self.warnings
            .iter()
            .try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

impl fmt::Display for FlowSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "flow {}", self.name)?;
        let encrypted = if self.encrypted { " (encrypted)" } else { "" };
        writeln!(
            f,
            "  path          {}{encrypted}{}",
            self.path,
            if self.signed { "" } else { " (not signed)" }
        )?;
        let screens = match (self.screens.as_slice(), &self.upstream) {
            ([], None) => "any (each can be the final one)".to_owned(),
            ([], Some(_)) => "any (upstream)".to_owned(),
            (screens, _) => screens.join(", "),
        };
        writeln!(f, "  screens       {screens}")?;
        if let Some(url) = &self.upstream {
            writeln!(f, "  upstream      {url}")?;
        }
        writeln!(
            f,
            "  calendar      {}",
            self.calendar.as_deref().unwrap_or("none")
        )?;
        writeln!(
            f,
            "  team          {}",
            self.team.as_deref().unwrap_or("none")
        )?;
        if !self.deliver.is_empty() {
            writeln!(f, "  delivers to   {}", self.deliver.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for DestinationSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "destination {}", self.name)?;
        let how = match (self.kind, self.signed) {
            ("whatsapp", _) => " (WhatsApp messages)",
            ("smtp", _) | (_, true) => "",
            (_, false) => " (not signed)",
        };
        writeln!(f, "  address       {}{how}", self.host)?;
        if !self.to.is_empty() {
            writeln!(f, "  mails go to   {}", self.to.join(", "))?;
        }
        self.proxy
            .iter()
            .try_for_each(|proxy| writeln!(f, "  proxy         {proxy}"))
    }
}

impl fmt::Display for GatewaySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "gateway {} ({})", self.name, self.kind)?;
        writeln!(f, "  address       {}, session {}", self.url, self.session)?;
        let silent = self
            .inactivity_timeout
            .as_ref()
            .map(|after| format!(", restarted when silent for {after}"));
        writeln!(
            f,
            "  probed        every {}{}",
            self.probe_interval,
            silent.unwrap_or_default()
        )?;
        writeln!(f, "  webhook       {}", self.webhook)?;
        if !self.forms.is_empty() {
            writeln!(f, "  texts become  forms of {}", self.forms.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for CalendarSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "calendar {}", self.name)?;
        writeln!(f, "  timezone      {}", self.timezone)?;
        writeln!(f, "  capacity      {}", self.capacity)?;
        for day in &self.days {
            let (count, first, last) = (day.times.len(), day.times.first(), day.times.last());
            let (first, last) = (
                first.map_or("", String::as_str),
                last.map_or("", String::as_str),
            );
            let shown_starts = if count == 1 {
                first.to_owned()
            } else {
                format!("{count} slots from {first} to {last}")
            };
            writeln!(f, "  {}    {shown_starts}", day.date)?;
        }
        if self.days.is_empty() {
            writeln!(f, "  no slots in the next two months")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse_valid;

    #[test]
    fn encrypted_flow_without_token_gets_warning() {
        let config = |screens: &str, more: &str| {
            let head = "[calendars.chair]\ntimezone = \"UTC\"\nslot_length = \"1h\"\nhours = { mon = [\"09:00-17:00\"] }\n[flows.form]\n";
            let booking = "booking = { calendar = \"chair\", date = \"slot\", time = \"slot\" }";
            parse_valid(&format!("{head}{booking}\nscreens = [{screens}]\n{more}"))
                .summary(Timestamp::ZERO)
                .warnings
        };
        let is_warned = |warnings: Vec<String>| {
            let expected = "flow form: a form whose message has no flow_token of its own has `slot` of PICK only if LAST resends it";
            warnings.iter().any(|warning| warning.starts_with(expected))
        };
        let encrypted = "encryption = \"required\"\nprivate_keys = [\"file:key\"]";
        let (pick, last) = (
            "{ name = \"PICK\", fields = { slot = {} } }",
            "{ name = \"LAST\", final = true }",
        );
        assert!(is_warned(config(&format!("{pick}, {last}"), encrypted)));
        assert!(
            !is_warned(config(&format!("{pick}, {last}"), "")),
            "a plain sender without a token is refused at once"
        );
        let has_it = last.replace("true", "true, fields = { slot = {} }");
        assert!(!is_warned(config(&format!("{pick}, {has_it}"), encrypted)));
        let program = "upstream = { url = \"http://[::1]\", secret = \"text:x\" }";
        assert!(!is_warned(config(
            &format!("{pick}, {last}"),
            &format!("{encrypted}\n{program}")
        )));

        let sticky = |more: &str| {
            let warnings = config(
                &has_it,
                &format!("lead = {{ team = \"a\", sticky = true }}\n{more}"),
            );
            warnings.iter().any(|warning| {
                warning.starts_with(
                    "flow form: lead.sticky: encrypted requests do not contain the customer",
                )
            })
        };
        assert!(sticky(encrypted) && !sticky(""));
    }
}
