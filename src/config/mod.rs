//! The config: found, read, and either valid as a whole or refused with everything that is wrong with it.
//!
//! ```text
//! file → raw (values with their places) → settings, flows, calendars (what is allowed) → Config
//! ```
//!
//! Each problem has its line and column, and unknown keys are problems: a typo must not turn a limit off in silence.
//! Defaults and ranges stand where a setting is read. Nothing here is looked up on the disk but the file itself, the
//! templates that it names and, on demand, secrets. A relative path in a config is relative to that file.

mod body;
mod booking;
mod calendars;
mod changes;
mod deliver;
mod destinations;
mod error;
mod fields;
mod flows;
mod gateway_texts;
mod gateways;
mod graph;
mod known;
mod lead;
mod nearest;
mod posts;
mod proxy;
mod raw;
mod screen_data;
mod screens;
mod secrets;
mod settings;
mod smtp;
mod summary;
mod texts;
pub mod units;
mod unsent;
mod upstream;
mod value;
mod webhook;
mod whatsapp;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use destinations::{Destination, Means, Rates};
pub use error::{ConfigError, Problem};
pub use flows::KeyPlaces;
pub use gateway_texts::GatewayTexts;
pub use gateways::{Gateway, GatewayKeys, GatewayRule};
pub use posts::{Address, WebhookRule, url as webhook_url};
pub use proxy::ProxyRule;
pub use secrets::{InvalidSecretRef, Secret, SecretError, SecretRef};
pub use settings::{Limits, Meta, Retention, StoreSettings, Verify, Workers};
pub use smtp::{Login, SmtpRule};
pub use summary::{CalendarSummary, DaySummary, DestinationSummary, FlowSummary, GatewaySummary, Summary};
pub use upstream::{Fallback, RESERVE, UpstreamRule};
pub use whatsapp::WhatsappRule;

use crate::domain::calendar::Calendar;
use crate::domain::flow::Flow;
use crate::domain::ids::{CalendarName, DestinationName, FlowName, GatewayName};
use crate::domain::retry::RetryPolicy;
use crate::domain::routes::Routes;
use raw::{Report, Table};

/// Where a config is looked for when none is named, in this order.
const PLACES: [&str; 2] = ["config.toml", "/etc/flowgate/config.toml"];

/// A file with more is not a config.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A valid config.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Where Meta's requests come in. Default 127.0.0.1:8080: a proxy stands in front.
    pub listen: SocketAddr,
    /// Where operators look. Default 127.0.0.1:8081.
    pub admin_listen: SocketAddr,
    /// The data file. Default `flowgate.redb` beside the config.
    pub data: PathBuf,
    /// What Meta and we share.
    pub meta: Meta,
    /// Bounds on what comes in.
    pub limits: Limits,
    /// The background.
    pub workers: Workers,
    /// How often a failing job is tried.
    pub retry: RetryPolicy,
    /// How long things are kept.
    pub retention: Retention,
    /// The data file's engine.
    pub store: StoreSettings,
    /// The flows.
    pub flows: BTreeMap<FlowName, Arc<Flow>>,
    /// Where the keys of encrypted flows are.
    pub keys: BTreeMap<FlowName, KeyPlaces>,
    /// How the programs are asked that some encrypted flows have behind them.
    pub upstreams: BTreeMap<FlowName, UpstreamRule>,
    /// The calendars.
    pub calendars: BTreeMap<CalendarName, Arc<Calendar>>,
    /// Who is told outside.
    pub destinations: BTreeMap<DestinationName, Destination>,
    /// What they are told of.
    pub routes: Routes,
    /// The unofficial gateways.
    pub gateways: BTreeMap<GatewayName, Gateway>,
}

impl Config {
    /// Loads the config that was named or, without a name, `./config.toml`, then `/etc/flowgate/config.toml`.
    ///
    /// # Errors
    /// [`ConfigError::NotFound`] where there is none; else as [`Config::load`].
    pub fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        match named {
            Some(file) => Self::load(file),
            None => Self::first_of(&PLACES.map(PathBuf::from)),
        }
    }

    fn first_of(files: &[PathBuf]) -> Result<Self, ConfigError> {
        for file in files {
            match Self::load(file) {
                // One that is there but can't be read is not passed over: another one would surprise.
                Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
        }
        Err(ConfigError::NotFound(files.to_vec()))
    }

    /// Loads a file.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that is missing, unreadable, no text, or wrong in any way; then with all that is wrong.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &read_text(file)?)
    }

    /// The data file that a config names, also where the config is wrong otherwise: a server that runs answers beside it,
    /// whatever somebody is just doing to its config. `None` where there is no text to read.
    #[must_use]
    pub fn data_of(named: Option<&Path>) -> Option<PathBuf> {
        let places = || PLACES.iter().map(Path::new).find(|file| file.exists());
        let file = named.or_else(places)?;
        let text = read_text(file).ok()?;
        let (root, _) = toml::de::DeTable::parse_recoverable(&text);
        let report = Report::new(file, &text);
        let table = Table::new(&report, root.get_ref(), String::new(), 0);
        Some(settings::Places::read(&table, file.parent().unwrap_or(Path::new(""))).data)
    }

    /// Reads a config from its text. `file` is where it stands, for errors and relative paths.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], with all that is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let report = Report::new(file, text);
        let root = report.parse()?;
        let config = Table::whole(&report, &root, |table| Self::read(file, table));
        report.check().map(|()| config)
    }

    fn read(file: &Path, root: &Table<'_>) -> Self {
        let folder = file.parent().unwrap_or(Path::new(""));
        let settings::Places { listen, admin_listen, data } = settings::Places::read(root, folder);
        let known = destinations::names(root);
        let flows::Declared { flows, keys, upstreams, mut routes } =
            flows::read(root, &calendars::names(root), &known, folder);
        let (meta, retry) = (Meta::read(root, folder), settings::retry(root));
        let names: Vec<&str> = flows.keys().map(FlowName::as_str).collect();
        let gateways = gateways::read(root, &names, folder);
        let destinations = destinations::read(root, retry, &meta, &gateways, folder);
        destinations::narrow(routes.values_mut(), &destinations);
        let alerts = root.get("alerts").map(|item| {
            let mut routes = deliver::read(&item, &known, deliver::Kind::Alerts);
            destinations::refuse_alerts(&item, &routes, &destinations);
            destinations::narrow(std::iter::once(&mut routes), &destinations);
            routes
        });
        let routes =
            Routes { flows: routes, alerts: alerts.unwrap_or_default(), ordered: destinations::ordered(&destinations) };
        body::trial::try_out(root, &destinations, &routes, folder);
        Self {
            gateways,
            file: file.to_owned(),
            listen,
            admin_listen,
            data,
            meta,
            limits: Limits::read(root),
            workers: Workers::read(root),
            routes,
            destinations,
            retry,
            retention: Retention::read(root),
            store: StoreSettings::read(root),
            flows,
            keys,
            upstreams,
            calendars: calendars::read(root),
        }
    }

    /// `--config FILE `, as it is typed where this config is not the one that is looked for.
    #[must_use]
    pub fn option(&self) -> String {
        let file = self.file.display().to_string();
        if file == "config.toml" { String::new() } else { format!("--config {file} ") }
    }

    /// The app's secrets that are there, newest first. Those in variables that are not set are left out (and told by
    /// [`Config::notes`]); none at all is for the caller to deal with.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] for a file that is missing, unreadable or empty.
    pub fn app_secrets(&self) -> Result<Vec<Secret>, ConfigError> {
        let resolved = self.meta.app_secrets.iter().filter_map(|secret| secret.resolve().transpose());
        Ok(resolved.collect::<Result<_, SecretError>>()?)
    }

    /// The verify token; `None` where its variable is not set.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] for a file that is missing, unreadable or empty.
    pub fn verify_token(&self) -> Result<Option<Secret>, ConfigError> {
        Ok(self.meta.verify_token.resolve()?)
    }
}

fn read_text(file: &Path) -> Result<String, ConfigError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::IsADirectory => ConfigError::Folder(file.to_owned()),
        _ => ConfigError::Read { file: file.to_owned(), source },
    };
    let mut bytes = Vec::new();
    File::open(file).and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(ConfigError::TooLarge { file: file.to_owned(), bytes_max: FILE_BYTES_MAX });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        ConfigError::NotText { file: file.to_owned(), line: valid.filter(|byte| **byte == b'\n').count() + 1 }
    })
}

#[cfg(test)]
mod tests;
