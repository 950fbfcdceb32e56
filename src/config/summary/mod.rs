//! Summarizes a config for `config check`. See [`super::warnings`] for its warnings.

mod text;

use std::net::SocketAddr;

use serde::Serialize;

use super::Config;
use super::destination::Destination;
use super::gateways::Gateway;
use super::units::format_duration;
use super::warnings::token_warnings;
use crate::domain::booking::calendar::Calendar;
use crate::domain::event::subscriptions::Subscription;
use crate::domain::flow::{EncryptionMode, Flow, SignaturePolicy};
use crate::domain::ids::{DestinationName, GatewayName};
use crate::domain::time::Timestamp;

/// Maximum number of days with available slots that the summary shows for each calendar.
const DAYS_SHOWN: usize = 3;

/// Number of days that are searched for available slots.
const DAYS_SEARCHED: i32 = 62;

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
        let mut warnings = self.warnings();
        warnings.extend(self.flows.values().flat_map(|flow| token_warnings(flow)));
        let (flows, calendars) = (self.flows.values(), self.calendars.values());
        let (destinations, gateways) = (self.destinations.iter(), self.gateways.iter());
        ConfigSummary {
            file: self.file.display().to_string(),
            listen: self.listen,
            admin_listen: self.admin_listen,
            data: self.data.display().to_string(),
            flows: flows.map(|flow| self.summarize_flow(flow)).collect(),
            calendars: calendars
                .map(|calendar| CalendarSummary::new(calendar, now))
                .collect(),
            destinations: destinations.map(DestinationSummary::new).collect(),
            gateways: gateways.map(GatewaySummary::new).collect(),
            alerts: destination_names(&self.subscriptions.alerts),
            warnings,
        }
    }

    fn summarize_flow(&self, flow: &Flow) -> FlowSummary {
        let upstream = self.upstreams.get(&flow.name);
        let subscriptions = self.subscriptions.flows.get(&flow.name);
        let screens = flow.screens.iter().map(|screen| screen.name.clone());
        let booking = flow.booking.as_ref();
        FlowSummary {
            name: flow.name.to_string(),
            path: flow.path.clone(),
            signed: flow.signature == SignaturePolicy::Required,
            encrypted: flow.encryption == EncryptionMode::Required,
            screens: screens.collect(),
            upstream: upstream.map(|settings| settings.url.to_string()),
            calendar: booking.map(|booking| booking.calendar.to_string()),
            team: flow.lead.as_ref().map(|lead| lead.team.to_string()),
            deliver: subscriptions
                .map(|all| destination_names(all))
                .unwrap_or_default(),
        }
    }
}

impl DestinationSummary {
    fn new((name, destination): (&DestinationName, &Destination)) -> Self {
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
    fn new((name, gateway): (&GatewayName, &Gateway)) -> Self {
        let settings = &gateway.settings;
        let flows = settings.forms.iter().map(|form| form.flow.to_string());
        Self {
            name: name.to_string(),
            kind: settings.kind.as_str(),
            url: settings.url.clone(),
            session: settings.session.clone(),
            webhook: format!("/gateways/{name}"),
            probe_interval: format_duration(settings.probe_interval),
            inactivity_timeout: settings.inactivity_timeout.map(format_duration),
            forms: flows.collect(),
        }
    }
}

fn destination_names(routes: &[Subscription]) -> Vec<String> {
    let destinations = routes.iter().map(|route| route.destination.to_string());
    destinations.collect()
}

impl CalendarSummary {
    fn new(calendar: &Calendar, now: Timestamp) -> Self {
        let first = calendar.local_date(now);
        let dates = (0..DAYS_SEARCHED)
            .filter_map(|days| first.checked_add(jiff::Span::new().days(days)).ok());
        let days = dates.filter_map(|date| {
            let times: Vec<String> = calendar
                .available_starts(date, now)
                .map(|slot| slot.clock_time())
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
