//! What `config check` prints: what a config comes to, and what its owner should know about it.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use super::Config;
use super::destinations::{Destination, Means};
use super::gateways::GatewayRule;
use super::secrets::SecretRef;
use super::upstream::UpstreamRule;
use super::{units, unsent};
use crate::domain::calendar::Calendar;
use crate::domain::carried::carried;
use crate::domain::complaint::Complaint;
use crate::domain::flow::{Encryption, Flow, SignatureRule};
use crate::domain::ids::{DestinationName, GatewayName};
use crate::domain::routes::Route;
use crate::domain::time::{Millis, Timestamp};

/// Days with free starts that are shown of each calendar.
const DAYS_SHOWN: usize = 3;

/// Days that are searched for them.
const DAYS_SEARCHED: i32 = 62;

/// The time that WhatsApp waits for an answer (*Implementing Endpoint for Flows*).
const WHATSAPP_WAITS: Millis = Millis::from_secs(10);

/// A shorter limit meets senders that are only slow.
const HEADER_TIMEOUT_MIN: Millis = Millis::from_secs(1);

/// A shorter limit closes connections that proxies mean to use again.
const IDLE_MIN: Millis = Millis::from_secs(10);

/// A shorter memory takes a form twice that a phone sends again.
const IDEMPOTENCY_MIN: Millis = Millis::from_secs(60 * 60);

/// Meta sends a webhook again for so long.
const META_RESENDS: Millis = Millis::from_secs(7 * 24 * 60 * 60);

/// What a config comes to. `Display` is for people, `Serialize` for scripts.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The file.
    pub file: String,
    /// Where requests come in.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin_listen: SocketAddr,
    /// The data file.
    pub data: String,
    /// The flows, by name.
    pub flows: Vec<FlowSummary>,
    /// The calendars, by name.
    pub calendars: Vec<CalendarSummary>,
    /// The destinations, by name.
    pub destinations: Vec<DestinationSummary>,
    /// The unofficial gateways, by name.
    pub gateways: Vec<GatewaySummary>,
    /// Those that alerts go to.
    pub alerts: Vec<String>,
    /// What is allowed but should be known, one sentence each.
    pub notes: Vec<String>,
}

/// What one flow comes to.
#[derive(Clone, Debug, Serialize)]
pub struct FlowSummary {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Whether it must be signed.
    pub signed: bool,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its screens in order.
    pub screens: Vec<String>,
    /// The program that says what it shows next.
    pub upstream: Option<String>,
    /// The calendar it books in.
    pub calendar: Option<String>,
    /// The team that takes its leads.
    pub team: Option<String>,
    /// The destinations that are told of its events.
    pub deliver: Vec<String>,
}

/// What one destination comes to.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationSummary {
    /// Its name.
    pub name: String,
    /// `webhook`, `whatsapp` or `smtp`.
    pub kind: &'static str,
    /// Its scheme, host and port: the rest of a URL may be a secret. Of one that is a secret as a whole: its place.
    pub host: String,
    /// Whether what it is told is signed, as only webhooks can be.
    pub signed: bool,
    /// The mailboxes that it writes to, where it is a mail server.
    pub to: Vec<String>,
    /// The proxy that carries it there, with its port.
    pub proxy: Option<String>,
}

/// What one unofficial gateway comes to.
#[derive(Clone, Debug, Serialize)]
pub struct GatewaySummary {
    /// Its name.
    pub name: String,
    /// Which program it is.
    pub kind: &'static str,
    /// Where its API is.
    pub url: String,
    /// Its session.
    pub session: String,
    /// Where its webhook is to send to, below this server's address.
    pub webhook: String,
    /// How often it is looked at.
    pub check: String,
    /// After how long a silence it is suspected.
    pub silent_after: Option<String>,
    /// The flows that texts can be forms of.
    pub forms: Vec<String>,
}

/// What one calendar comes to.
#[derive(Clone, Debug, Serialize)]
pub struct CalendarSummary {
    /// Its name.
    pub name: String,
    /// Its time zone.
    pub timezone: String,
    /// Places at the same time.
    pub capacity: u32,
    /// The next days on which something can be booked.
    pub days: Vec<DaySummary>,
}

/// The starts of one day.
#[derive(Clone, Debug, Serialize)]
pub struct DaySummary {
    /// The day, `2027-01-04`.
    pub date: String,
    /// The starts, `09:00`.
    pub times: Vec<String>,
}

impl Config {
    /// What the config comes to at `now`.
    #[must_use]
    pub fn summary(&self, now: Timestamp) -> Summary {
        Summary {
            file: self.file.display().to_string(),
            listen: self.listen,
            admin_listen: self.admin_listen,
            data: self.data.display().to_string(),
            flows: self.flows.values().map(|flow| self.flow_summary(flow)).collect(),
            calendars: self.calendars.values().map(|calendar| CalendarSummary::of(calendar, now)).collect(),
            destinations: self.destinations.iter().map(|(name, rule)| DestinationSummary::of(name, rule)).collect(),
            gateways: self.gateways.iter().map(|(name, gateway)| GatewaySummary::of(name, &gateway.rule)).collect(),
            alerts: names(&self.routes.alerts),
            notes: self.notes().into_iter().chain(self.flows.values().flat_map(|flow| hints(flow))).collect(),
        }
    }

    fn flow_summary(&self, flow: &Flow) -> FlowSummary {
        let routes = self.routes.flows.get(&flow.name).map(Vec::as_slice).unwrap_or_default();
        FlowSummary { deliver: names(routes), ..FlowSummary::of(flow, self.upstreams.get(&flow.name)) }
    }

    /// What is allowed but should be known, one sentence each, without any secret.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let secret = |key: &str, secret: &SecretRef| secret.note().map(|note| format!("meta.{key}: {note}"));
        let mut notes: Vec<String> =
            self.meta.app_secrets.iter().filter_map(|place| secret("app_secrets", place)).collect();
        notes.extend(secret("verify_token", &self.meta.verify_token));
        // A variable that is not set is none: serving needs no access token.
        if !matches!(self.meta.access_token, SecretRef::Env(_)) {
            notes.extend(secret("access_token", &self.meta.access_token));
        }
        for (flow, places) in &self.keys {
            let places = places.private_keys.iter().chain(&places.passphrase);
            notes.extend(places.filter_map(SecretRef::note).map(|note| format!("flow {flow}: {note}")));
        }
        for (flow, rule) in &self.upstreams {
            let found = self.flows.get(flow).map(|flow| rule.notes(flow, self.limits.request)).unwrap_or_default();
            notes.extend(found.into_iter().map(|note| format!("flow {flow}: {note}")));
        }
        for (name, destination) in &self.destinations {
            notes.extend(destination.notes().into_iter().map(|note| format!("destination {name}: {note}")));
            let is_told =
                self.routes.flows.values().chain([&self.routes.alerts]).flatten().any(|route| route.to == *name);
            if !is_told {
                notes.push(format!(
                    "destination {name}: nothing goes there: name it in the `deliver` of a flow, or in `alerts`"
                ));
            }
        }
        notes.extend(unsent::notes(self));
        for (name, gateway) in &self.gateways {
            notes.extend(gateway.notes().into_iter().map(|note| format!("gateway {name}: {note}")));
        }
        if !self.destinations.is_empty() && self.routes.alerts.is_empty() {
            notes.push(
                "nobody is told when a delivery becomes a dead letter or a destination is stopped: name a destination in \
                 `alerts`"
                    .to_owned(),
            );
        }
        if !self.gateways.is_empty() && self.routes.alerts.is_empty() {
            notes.push(
                "nobody is told when a gateway's session drops or needs a person: name a destination in `alerts`"
                    .to_owned(),
            );
        }
        for flow in self.flows.values().filter(|flow| flow.signature == SignatureRule::None) {
            notes.push(format!(
                "flow {} takes forms without a signature: anybody who reaches it can send them",
                flow.name
            ));
        }
        notes.extend(self.flows.values().flat_map(|flow| like_complaints(flow)));
        if !self.admin_listen.ip().is_loopback() {
            notes.push(format!(
                "admin_listen {} is open to other machines, and asks nobody who they are",
                self.admin_listen
            ));
        }
        if self.flows.is_empty() {
            notes.push("there is no flow: no form can come in".to_owned());
        }
        if self.flows.len() > 1 && !self.flows.values().any(|flow| flow.webhook.is_default) {
            let fits = if self.flows.values().all(|flow| flow.webhook.conditions() == 0) {
                format!("of {} flows none has a `webhook` rule: forms that", self.flows.len())
            } else {
                "no flow has `webhook = \"default\"`: forms that fit no flow's `webhook` rule and".to_owned()
            };
            let mend = "give `webhook = \"default\"` to the flow that is to take them";
            notes.push(format!("{fits} come through /webhook become dead letters: {mend}"));
        }
        notes.extend(self.odd_lengths());
        if self.retention.message_ids < META_RESENDS {
            let kept = units::show_length(self.retention.message_ids);
            notes
                .push(format!("retention.message_ids is {kept}, but Meta sends again for 7d: that would double forms"));
        }
        notes
    }
}

impl Config {
    /// Lengths of time that are allowed and hardly meant.
    fn odd_lengths(&self) -> Vec<String> {
        let Self { limits, retention, .. } = self;
        let shown = units::show_length;
        let mut notes = Vec::new();
        if limits.request > WHATSAPP_WAITS {
            notes.push(format!(
                "limits.request is {}, but WhatsApp waits for {}: a later answer reaches nobody",
                shown(limits.request),
                shown(WHATSAPP_WAITS)
            ));
        }
        if limits.header_timeout < HEADER_TIMEOUT_MIN {
            notes.push(format!("limits.header_timeout is {}: slow senders get 408", shown(limits.header_timeout)));
        }
        if limits.idle < IDLE_MIN {
            notes.push(format!(
                "limits.idle is {}: a proxy that keeps connections longer meets closed ones, and its senders get 502",
                shown(limits.idle)
            ));
        }
        if retention.idempotency < IDEMPOTENCY_MIN {
            notes.push(format!(
                "retention.idempotency is {}: a form that is sent again after that counts as a new one",
                shown(retention.idempotency)
            ));
        }
        notes
    }
}

/// What encrypted requests don't tell, and what depends on it; what a Flow JSON may make up for is not known here.
fn hints(flow: &Flow) -> Vec<String> {
    if flow.encryption != Encryption::Required {
        return Vec::new();
    }
    let sticky = flow.lead.as_ref().filter(|lead| lead.sticky).map(|_| {
        let why = "encrypted requests do not say who sends them, the messages that follow them do";
        format!(
            "flow {}: lead.sticky: {why}: subscribe Meta's app to `messages`, so that they come to /webhook",
            flow.name
        )
    });
    let ends = flow.screens.iter().filter(|screen| screen.is_final && !flow.has_program);
    let lacks = ends.flat_map(|last| carried(flow, last).into_iter().map(move |one| (last, one))).next();
    let lacks = lacks.map(|(last, one)| {
        let from = if one.on.name == last.name { String::new() } else { format!(" of {}", one.on.name) };
        format!(
            "flow {}: a form whose message has no flow_token of its own has `{}`{from} only if {} sends it along: set one in \
             each message, or let `flowgate flows check` look whether the Flow JSON does",
            flow.name, one.name, last.name
        )
    });
    sticky.into_iter().chain(lacks).collect()
}

/// Fields that are called as those of phones' error notifications, which are told from forms by their names alone.
fn like_complaints(flow: &Flow) -> impl Iterator<Item = String> {
    let screens = flow.screens.iter().filter(|_| flow.encryption == Encryption::Required);
    let fields = screens.flat_map(|screen| screen.fields.iter().map(|field| (&screen.name, &field.name)));
    fields.filter(|(_, field)| Complaint::NAMES.contains(&field.as_str())).map(|(screen, field)| {
        format!(
            "flow {}: screen {screen} has a field {field:?}, as error notifications of phones have: one from this screen \
             is taken for a form. Give the field another name",
            flow.name
        )
    })
}

impl FlowSummary {
    fn of(flow: &Flow, upstream: Option<&UpstreamRule>) -> Self {
        Self {
            name: flow.name.to_string(),
            path: flow.path.clone(),
            signed: flow.signature == SignatureRule::Required,
            encrypted: flow.encryption == Encryption::Required,
            screens: flow.screens.iter().map(|screen| screen.name.clone()).collect(),
            upstream: upstream.map(|rule| rule.url.to_string()),
            calendar: flow.booking.as_ref().map(|booking| booking.calendar.to_string()),
            team: flow.lead.as_ref().map(|lead| lead.team.to_string()),
            deliver: Vec::new(),
        }
    }
}

impl DestinationSummary {
    fn of(name: &DestinationName, rule: &Destination) -> Self {
        let (kind, signed) = match &rule.means {
            Means::Webhook(webhook) => ("webhook", !webhook.secrets.is_empty()),
            Means::Whatsapp(_) => ("whatsapp", false),
            Means::Gateway(_) => ("gateway", false),
            Means::Smtp(_) => ("smtp", false),
        };
        let to = match &rule.means {
            Means::Smtp(smtp) => smtp.to.iter().map(|to| to.email.to_string()).collect(),
            Means::Webhook(_) | Means::Whatsapp(_) | Means::Gateway(_) => Vec::new(),
        };
        let proxy = rule.proxy.as_ref().map(|proxy| proxy.host().to_owned());
        let scheme = rule.means.url().and_then(|url| url.scheme_str()).map(|scheme| format!("{scheme}://"));
        let host = scheme.unwrap_or_default() + &rule.host();
        Self { name: name.to_string(), kind, host, signed, to, proxy }
    }
}

impl GatewaySummary {
    fn of(name: &GatewayName, rule: &GatewayRule) -> Self {
        Self {
            name: name.to_string(),
            kind: rule.kind.as_str(),
            url: rule.url.clone(),
            session: rule.session.clone(),
            webhook: format!("/gateways/{name}"),
            check: units::show_length(rule.check),
            silent_after: rule.silent_after.map(units::show_length),
            forms: rule.forms.iter().map(|form| form.flow.to_string()).collect(),
        }
    }
}

fn names(routes: &[Route]) -> Vec<String> {
    routes.iter().map(|route| route.to.to_string()).collect()
}

impl CalendarSummary {
    fn of(calendar: &Calendar, now: Timestamp) -> Self {
        let first = calendar.day_of(now);
        let dates = (0..DAYS_SEARCHED).filter_map(|days| first.checked_add(jiff::Span::new().days(days)).ok());
        let days = dates.filter_map(|date| {
            let times: Vec<String> =
                calendar.offered_on(date, now).iter().map(crate::domain::calendar::Slot::clock_time).collect();
            (!times.is_empty()).then(|| DaySummary { date: date.to_string(), times })
        });
        Self {
            name: calendar.name().to_string(),
            timezone: calendar.zone().iana_name().unwrap_or("UTC").to_owned(),
            capacity: calendar.capacity(),
            days: days.take(DAYS_SHOWN).collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is in order", self.file)?;
        writeln!(f, "  listen        {}", self.listen)?;
        writeln!(f, "  admin_listen  {}", self.admin_listen)?;
        writeln!(f, "  data          {}", self.data)?;
        self.flows.iter().try_for_each(|flow| flow.fmt(f))?;
        self.calendars.iter().try_for_each(|calendar| calendar.fmt(f))?;
        self.destinations.iter().try_for_each(|destination| destination.fmt(f))?;
        self.gateways.iter().try_for_each(|gateway| gateway.fmt(f))?;
        if !self.alerts.is_empty() {
            writeln!(f, "alerts go to {}", self.alerts.join(", "))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl fmt::Display for FlowSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "flow {}", self.name)?;
        let encrypted = if self.encrypted { " (encrypted)" } else { "" };
        writeln!(f, "  path          {}{encrypted}{}", self.path, if self.signed { "" } else { " (not signed)" })?;
        let screens = match (self.screens.as_slice(), &self.upstream) {
            ([], None) => "any, each final".to_owned(),
            ([], Some(_)) => "as its program says".to_owned(),
            (screens, _) => screens.join(", "),
        };
        writeln!(f, "  screens       {screens}")?;
        if let Some(url) = &self.upstream {
            writeln!(f, "  asks          {url}")?;
        }
        writeln!(f, "  books in      {}", self.calendar.as_deref().unwrap_or("nothing"))?;
        writeln!(f, "  leads go to   {}", self.team.as_deref().unwrap_or("nobody"))?;
        if !self.deliver.is_empty() {
            writeln!(f, "  tells         {}", self.deliver.join(", "))?;
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
        writeln!(f, "  at            {}{how}", self.host)?;
        if !self.to.is_empty() {
            writeln!(f, "  mails go to   {}", self.to.join(", "))?;
        }
        self.proxy.iter().try_for_each(|proxy| writeln!(f, "  through       {proxy}"))
    }
}

impl fmt::Display for GatewaySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "gateway {} ({})", self.name, self.kind)?;
        writeln!(f, "  at            {}, session {}", self.url, self.session)?;
        let silent = self.silent_after.as_ref().map(|after| format!(", restarted when silent for {after}"));
        writeln!(f, "  looked at     every {}{}", self.check, silent.unwrap_or_default())?;
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
            let (first, last) = (first.map_or("", String::as_str), last.map_or("", String::as_str));
            let span = if count == 1 { first.to_owned() } else { format!("{count} starts from {first} to {last}") };
            writeln!(f, "  {}    {span}", day.date)?;
        }
        if self.days.is_empty() {
            writeln!(f, "  nothing can be booked in the next two months")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::accepted;
    use super::*;

    #[test]
    fn what_encrypted_requests_do_not_tell_is_noted_where_something_depends_on_it() {
        let config = |screens: &str, more: &str| {
            let head = "[calendars.chair]\ntimezone = \"UTC\"\nslot = \"1h\"\nopen = { mon = [\"09:00-17:00\"] }\n[flows.form]\n";
            let booking = "booking = { calendar = \"chair\", date = \"slot\", time = \"slot\" }";
            accepted(&format!("{head}{booking}\nscreens = [{screens}]\n{more}")).summary(Timestamp::ZERO).notes
        };
        let is_told = |notes: Vec<String>| {
            let note = "flow form: a form whose message has no flow_token of its own has `slot` of PICK only if LAST sends it along";
            notes.iter().any(|said| said.starts_with(note))
        };
        let encrypted = "encryption = \"required\"\nprivate_keys = [\"file:key\"]";
        let (pick, last) = ("{ name = \"PICK\", fields = { slot = {} } }", "{ name = \"LAST\", final = true }");
        assert!(is_told(config(&format!("{pick}, {last}"), encrypted)));
        assert!(!is_told(config(&format!("{pick}, {last}"), "")), "a plain sender without a token is refused at once");
        let has_it = last.replace("true", "true, fields = { slot = {} }");
        assert!(!is_told(config(&format!("{pick}, {has_it}"), encrypted)));
        let program = "upstream = { url = \"http://[::1]\", secret = \"text:x\" }";
        assert!(!is_told(config(&format!("{pick}, {last}"), &format!("{encrypted}\n{program}"))));

        let sticky = |more: &str| {
            let notes = config(&has_it, &format!("lead = {{ team = \"a\", sticky = true }}\n{more}"));
            notes
                .iter()
                .any(|note| note.starts_with("flow form: lead.sticky: encrypted requests do not say who sends them"))
        };
        assert!(sticky(encrypted) && !sticky(""));
    }
}
