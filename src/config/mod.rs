//! Finds, reads and validates the config.
//!
//! A config is either valid as a whole or refused with all of its problems.
//!
//! ```text
//! file → reader (values with line and column) → settings, flow, calendars, … (checks) → Config
//! ```
//!
//! Each problem has its line and column. Unknown keys are problems: without this, a mistyped limit
//! would be ignored silently. The function that reads a setting also has its default and its range.
//! Only three kinds of files are read: the config file, the templates that the config names and, on
//! demand, secrets. A relative path in a config is relative to the folder of the config file.

mod calendars;
pub mod credential;
mod destination;
mod error;
mod event_fields;
mod flow;
mod gateways;
mod reader;
mod restart_only;
mod secrets;
mod settings;
mod subscriptions;
mod suggest;
mod summary;
pub mod units;
mod warnings;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

pub use destination::gateway::GatewayDestination;
pub use destination::kind_settings::KindSettings;
pub use destination::policy::DeliveryPolicy;
pub use destination::proxy::ProxySettings;
pub use destination::recipients::Recipients;
pub use destination::smtp::{SmtpLogin, SmtpSettings};
pub use destination::webhook::{WebhookSettings, WebhookUrl, parse_webhook_url as webhook_url};
pub use destination::whatsapp::WhatsappSettings;
pub use destination::{Destination, DestinationKind};
pub use error::{ConfigError, ConfigProblem};
pub use flow::PrivateKeySources;
pub use flow::upstream::{UpstreamFallback, UpstreamSettings, WRITER_RESERVE};
pub use gateways::{Gateway, GatewaySecrets, GatewaySettings};
pub use secrets::{InvalidSecretRef, Secret, SecretError, SecretRef};
pub use settings::{
    BackupLocation, BackupSettings, CopySettings, DashboardSettings, LeadRequestSettings,
    LimitSettings, MetaSettings, RetentionSettings, S3Settings, StoreSettings, VerifyPolicy,
    WorkerSettings,
};
pub use summary::{
    CalendarSummary, ConfigSummary, DaySummary, DestinationSummary, FlowSummary, GatewaySummary,
};

use crate::domain::booking::calendar::Calendar;
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::flow::Flow;
use crate::domain::ids::{CalendarName, DestinationName, FlowName, GatewayName};
use crate::domain::job::retry::RetryPolicy;
use flow::ParsedFlows;
use reader::{Diagnostics, TableReader};
use settings::Endpoints;
use subscriptions::SubscriptionKind;

/// Paths of the config file that are tried in this order if no path is given.
const SEARCH_PATHS: [&str; 2] = ["config.toml", "/etc/flowgate/config.toml"];

/// Maximum size of a config file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Valid config.
#[derive(Clone, Debug)]
pub struct Config {
    /// Path of the config file.
    pub file: PathBuf,
    /// Address of the listener for Meta's requests. Default 127.0.0.1:8080: a reverse proxy is
    /// expected in front of it.
    pub listen: SocketAddr,
    /// Address of the admin listener, for operators. Default 127.0.0.1:8081.
    pub admin_listen: SocketAddr,
    /// URL under which Meta reaches the server, for `flowgate doctor`. Default: `None`.
    pub public_url: Option<String>,
    /// Path of the data file. Default: `flowgate.redb` in the folder of the config.
    pub data: PathBuf,
    /// Filter of the log. Default `info`.
    pub log: String,
    /// Time zone of the business. `None`: see [`Config::business_zone`].
    pub timezone: Option<TimeZone>,
    /// Meta's app secrets, tokens and the Graph API.
    pub meta: MetaSettings,
    /// Secrets of requests that close leads.
    pub leads: LeadRequestSettings,
    /// Limits for requests, connections and queues.
    pub limits: LimitSettings,
    /// Settings of the workers that run jobs.
    pub workers: WorkerSettings,
    /// Retry policy for failed jobs.
    pub retry: RetryPolicy,
    /// Retention times of stored rows and keys.
    pub retention: RetentionSettings,
    /// Settings of the data file's engine.
    pub store: StoreSettings,
    /// Settings of the dashboard.
    pub dashboard: DashboardSettings,
    /// Settings of backups.
    pub backup: BackupSettings,
    /// Flows by name.
    pub flows: BTreeMap<FlowName, Arc<Flow>>,
    /// Sources of the private keys of encrypted flows, by flow.
    pub private_keys: BTreeMap<FlowName, PrivateKeySources>,
    /// Upstream settings by flow. Only encrypted flows may have an upstream.
    pub upstreams: BTreeMap<FlowName, UpstreamSettings>,
    /// Calendars by name.
    pub calendars: BTreeMap<CalendarName, Arc<Calendar>>,
    /// Destinations by name.
    pub destinations: BTreeMap<DestinationName, Destination>,
    /// Subscriptions of the destinations to events.
    pub subscriptions: Subscriptions,
    /// Unofficial gateways by name.
    pub gateways: BTreeMap<GatewayName, Gateway>,
}

impl Config {
    /// Loads the config at the given path. Without a path, loads `./config.toml` or, if that file
    /// does not exist, `/etc/flowgate/config.toml`.
    ///
    /// # Errors
    /// [`ConfigError::NotFound`] if no path is given and none of these files exists. Other errors
    /// are those of [`Config::load`].
    pub fn load_or_search(named: Option<&Path>) -> Result<Self, ConfigError> {
        match named {
            Some(file) => Self::load(file),
            None => Self::load_first(&SEARCH_PATHS.map(PathBuf::from)),
        }
    }

    /// Returns the time zone of the business: absences and daily limits of agents count its days,
    /// and lists show its times. Default: the time zone that all calendars share, or the one of the
    /// machine.
    #[must_use]
    pub fn business_zone(&self) -> TimeZone {
        if let Some(named) = &self.timezone {
            return named.clone();
        }
        let mut zones = self.calendars.values().map(|calendar| calendar.time_zone());
        match zones.next() {
            Some(first) if zones.all(|zone| zone == first) => first.clone(),
            _ => TimeZone::system(),
        }
    }

    fn load_first(files: &[PathBuf]) -> Result<Self, ConfigError> {
        for file in files {
            match Self::load(file) {
                // A file that exists but can't be used stops the search. Otherwise the next file
                // would be used unexpectedly.
                Err(ConfigError::Read { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
        }
        Err(ConfigError::NotFound(files.to_vec()))
    }

    /// Loads the config from a file.
    ///
    /// # Errors
    /// [`ConfigError`] if the file is missing, unreadable, not text or invalid. The error for an
    /// invalid config has all problems.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &read_text(file)?)
    }

    /// Returns the path of the data file that a config names, even if the rest of the config is
    /// invalid. Commands use the path to reach a running server while its config is being edited.
    /// `None`: no config file can be read.
    #[must_use]
    pub fn find_data_path(named: Option<&Path>) -> Option<PathBuf> {
        let mut searched = SEARCH_PATHS.iter().map(Path::new);
        let file = named.or_else(|| searched.find(|file| file.exists()))?;
        let text = read_text(file).ok()?;
        let (root, _) = toml::de::DeTable::parse_recoverable(&text);
        let diagnostics = Diagnostics::new(file, &text);
        let table = TableReader::root(&diagnostics, root.get_ref());
        Some(settings::read_endpoints(&table).data)
    }

    /// Parses a config. `file` is the path of the text, for messages and relative paths.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all problems.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let diagnostics = Diagnostics::new(file, text);
        let root = diagnostics.parse()?;
        let config = TableReader::read_root(&diagnostics, &root, |table| Self::read(file, table));
        diagnostics.check().map(|()| config)
    }

    fn read(file: &Path, root: &TableReader<'_>) -> Self {
        let Endpoints {
            listen,
            admin_listen,
            public_url,
            data,
        } = settings::read_endpoints(root);
        let destination_names = root.names_in("destinations");
        let ParsedFlows {
            flows,
            keys: private_keys,
            upstreams,
            subscriptions: mut flow_subscriptions,
        } = flow::read(root, &root.names_in("calendars"), &destination_names);
        let meta = settings::read_meta(root);
        let retry = settings::read_retry(root);
        let flow_names: Vec<&str> = flows.keys().map(FlowName::as_str).collect();
        let gateways = gateways::read(root, &flow_names);
        let destinations = destination::read(root, retry, &meta, &gateways);
        let alerts = root.get("alerts").map(|item| {
            let alerts = subscriptions::read(&item, &destination_names, SubscriptionKind::Alerts);
            destination::check_alerts(&item, &alerts, &destinations);
            alerts
        });
        let mut alerts = alerts.unwrap_or_default();
        destination::restrict_to_supported(
            flow_subscriptions.values_mut().chain([&mut alerts]),
            &destinations,
        );
        let subscriptions = Subscriptions {
            flows: flow_subscriptions,
            alerts,
            ordered_destinations: destination::ordered_destinations(&destinations),
        };
        destination::template_check::render_examples(root, &destinations, &subscriptions);
        let calendars = calendars::read(root);
        Self {
            file: file.to_owned(),
            listen,
            admin_listen,
            public_url,
            data,
            log: settings::read_log(root),
            timezone: calendars::read_business_zone(root),
            meta,
            leads: settings::read_leads(root),
            limits: settings::read_limits(root),
            workers: settings::read_workers(root),
            retry,
            retention: settings::read_retention(root),
            store: settings::read_store(root),
            dashboard: settings::read_dashboard(root),
            backup: settings::read_backup(root),
            flows,
            private_keys,
            upstreams,
            calendars,
            destinations,
            subscriptions,
            gateways,
        }
    }

    /// Returns the URL of the dashboard in the browser, without a slash at its end.
    #[must_use]
    pub fn dashboard_url(&self) -> String {
        let default = || format!("http://{}", self.admin_listen);
        self.dashboard.url.clone().unwrap_or_else(default)
    }

    /// Returns `--config FILE `, with a space at the end, for commands that are shown to the user.
    /// Returns an empty text for `config.toml`, which is found without this option.
    #[must_use]
    pub fn config_option(&self) -> String {
        let file = self.file.display().to_string();
        if file == "config.toml" {
            String::new()
        } else {
            format!("--config {file} ")
        }
    }

    /// Returns the app secrets that are set, newest first. Secrets in unset or empty environment
    /// variables are omitted, and [`Config::warnings`] names them. The list may be empty: the
    /// caller must handle this case.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if a secret file is missing, unreadable, empty or not one line of
    /// text, or if a variable is not text.
    pub fn resolve_app_secrets(&self) -> Result<Vec<Secret>, ConfigError> {
        let secrets = self.meta.app_secrets.iter();
        let resolved = secrets.filter_map(|secret| secret.resolve().transpose());
        Ok(resolved.collect::<Result<_, _>>()?)
    }

    /// Returns the verify token, or `None` if its environment variable is unset or empty.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if the secret file is missing, unreadable, empty or not one line of
    /// text, or if the variable is not text.
    pub fn resolve_verify_token(&self) -> Result<Option<Secret>, ConfigError> {
        Ok(self.meta.verify_token.resolve()?)
    }
}

fn read_text(file: &Path) -> Result<String, ConfigError> {
    let read_error = |source: io::Error| match source.kind() {
        io::ErrorKind::IsADirectory => ConfigError::Folder(file.to_owned()),
        _ => ConfigError::Read {
            file: file.to_owned(),
            source,
        },
    };
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(read_error)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(ConfigError::TooLarge {
            file: file.to_owned(),
            bytes_max: FILE_BYTES_MAX,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        ConfigError::NotText {
            file: file.to_owned(),
            line: valid.filter(|byte| **byte == b'\n').count() + 1,
        }
    })
}

#[cfg(test)]
mod tests;
