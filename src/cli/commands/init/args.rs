//! Defines the options of `flowgate init`.
//!
//! The locations of secrets are checked later, because an error of the command line shows the typed
//! value, which may be a secret.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::paths::PACKAGED_LISTEN;
use crate::domain::ids::{CalendarName, FlowName, TeamName};

/// Arguments of `init`.
#[derive(Debug, Clone, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct InitArgs {
    /// Public domain name of this server, like forms.example.com
    #[arg(long, value_name = "NAME", value_parser = parse_domain)]
    pub(super) domain: Option<String>,
    /// Name of the first flow
    #[arg(long, value_name = "NAME", default_value = "appointment", value_parser = parse_flow)]
    pub(super) flow: String,
    /// The Flow has an endpoint, which shows free times in the form. Creates its private key
    #[arg(long)]
    pub(super) encrypted: bool,
    /// Name of the first calendar
    #[arg(long, value_name = "NAME", default_value = "appointments", value_parser = parse_calendar)]
    pub(super) calendar: String,
    /// The forms book no appointments
    #[arg(long)]
    pub(super) no_calendar: bool,
    /// Time zone of the opening hours, like Europe/Berlin. Default: the time zone of this machine
    #[arg(long, value_name = "ZONE")]
    pub(super) timezone: Option<String>,
    /// Opening hours: days and ranges
    #[arg(
        long,
        value_name = "HOURS",
        default_value = "mon-fri 09:00-12:00 13:00-17:00"
    )]
    pub(super) hours: String,
    /// Length of one appointment
    #[arg(long, value_name = "LENGTH", default_value = "30m")]
    pub(super) slot_length: String,
    /// Team that gets the leads
    #[arg(long, value_name = "NAME", default_value = "sales", value_parser = parse_team)]
    pub(super) team: String,
    /// Language of texts for customers: de, en, es, fr, id, it, nl or pt
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    pub(super) language: String,
    /// App secret of the Meta app: `env:NAME` or `file:PATH`. The secret is copied. Default: none
    #[arg(long, value_name = "LOCATION")]
    pub(super) app_secret: Option<String>,
    /// Verify token: `env:NAME` or `file:PATH`. The token is copied. Default: a new random one
    #[arg(long, value_name = "LOCATION")]
    pub(super) verify_token: Option<String>,
    /// Access token of a system user: `env:NAME` or `file:PATH`. The token is copied. Default: none
    #[arg(long, value_name = "LOCATION")]
    pub(super) access_token: Option<String>,
    /// Address on which the reverse proxy reaches the server
    #[arg(long, value_name = "ADDRESS", default_value = PACKAGED_LISTEN)]
    pub(super) listen: SocketAddr,
    /// Address of the metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub(super) admin_listen: SocketAddr,
    /// Folder below which all files are written, in place of /
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(super) root: PathBuf,
    /// Ask nothing, and use the default of each missing option
    #[arg(long)]
    pub(super) yes: bool,
    /// Replace the config, the units and the snippets. Existing secrets and keys stay, except those
    /// that an option names
    #[arg(long)]
    pub(super) force: bool,
}

fn parse_flow(text: &str) -> Result<String, String> {
    FlowName::new(text)
        .map(|name| name.to_string())
        .map_err(|error| error.to_string())
}

fn parse_calendar(text: &str) -> Result<String, String> {
    CalendarName::new(text)
        .map(|name| name.to_string())
        .map_err(|error| error.to_string())
}

fn parse_team(text: &str) -> Result<String, String> {
    TeamName::new(text)
        .map(|name| name.to_string())
        .map_err(|error| error.to_string())
}

/// Checks a domain: labels of letters, digits and hyphens.
pub(super) fn parse_domain(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!(
        "{text:?} is not a domain: write only the name, without https:// and without a path, like \
         forms.example.com (letters of other alphabets in their xn-- form)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_has_labels_only() {
        for good in ["forms.example.com", "localhost", "xn--bcher-kva.example"] {
            assert_eq!(parse_domain(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "https://a.b",
            "a.b/",
            "a..b",
            "-a.b",
            "a b.c",
            "a.b:443",
            "bücher.example",
            "a\".b",
        ] {
            assert!(parse_domain(bad).is_err(), "{bad:?}");
        }
    }
}
