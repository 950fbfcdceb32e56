//! Reads `[gateways.NAME]`: an unofficial gateway, the monitoring of its session, and the text
//! messages that are forms.
//!
//! See [`crate::bootstrap`] for its secrets, [`crate::gateways`] for probes and recovery actions,
//! and [`crate::intake::gateway`] for its webhook.

use std::collections::BTreeMap;

use hyper::Uri;

use super::destination::webhook::parse_webhook_url;
use super::reader::TableReader;
use super::reader::value::ValueReader;
use super::secrets::SecretRef;
use super::units::{days, minutes};
use crate::domain::full_regex::FullRegex;
use crate::domain::gateway::GatewayKind;
use crate::domain::gateway::text_form::TextForm;
use crate::domain::ids::{FlowName, GatewayName};
use crate::domain::ip_range::is_loopback_host;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Millis;

/// Base URL of `WASenderApi`.
const WASENDER_URL: &str = "https://www.wasenderapi.com/api";
/// Name of the only session that WAHA's free version has.
const WAHA_SESSION: &str = "default";
/// Maximum number of forms. Each text message is matched against every form, so more forms would
/// only cost time.
const FORMS_MAX: usize = 32;
/// Maximum length of a session's name, in characters.
const SESSION_CHARS_MAX: usize = 128;

/// Gateway: settings and secrets.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Settings of the gateway and of its monitoring.
    pub settings: GatewaySettings,
    /// Locations of the secrets.
    pub keys: GatewaySecrets,
}

/// Settings of a gateway and of its monitoring.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySettings {
    /// Kind of the gateway: the program that it runs.
    pub kind: GatewayKind,
    /// Base URL of the API, without a slash at its end.
    pub url: String,
    /// ID (`WASenderApi`) or name of the session.
    pub session: String,
    /// Interval between two probes. Default 60 s.
    pub probe_interval: Millis,
    /// Time without a message after which the session is suspected to receive nothing. Default:
    /// `None`, never suspected.
    pub inactivity_timeout: Option<Millis>,
    /// Maximum time for one response. Default 15 s, maximum 60 s.
    pub timeout: Millis,
    /// `true` if the host may be on this machine or in a private network.
    pub allow_private: bool,
    /// Text messages that are forms, matched in this order.
    pub forms: Vec<TextForm>,
    /// Maximum number of messages per period, for all destinations together. Default: `None`, the
    /// quota that the gateway's responses report. Until a response reports a quota, the default is
    /// 12 per minute.
    pub rate: Option<Rate>,
}

/// Locations of the secrets of a gateway.
#[derive(Clone, Debug)]
pub struct GatewaySecrets {
    /// Key of the session (`WASenderApi`: `session_key`), or of the API (`api_key`).
    pub key: SecretRef,
    /// Personal access token, which manages sessions. Only `WASenderApi` has one.
    pub access_token: Option<SecretRef>,
    /// Secret that authenticates the gateway's webhook. `None`: `key` is used (Evolution API).
    pub webhook_secret: Option<SecretRef>,
}

impl Gateway {
    /// Returns the config key of `key`.
    #[must_use]
    pub const fn key_name(&self) -> &'static str {
        key_name(self.settings.kind)
    }

    /// Returns the secrets with their config keys.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretRef)> {
        let keys = &self.keys;
        let secrets = [
            (self.key_name(), Some(&keys.key)),
            ("access_token", keys.access_token.as_ref()),
            ("webhook_secret", keys.webhook_secret.as_ref()),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret?)))
    }

    /// Returns the warnings about the gateway, one sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .secrets()
            .filter_map(|(name, secret)| secret.labelled_warning(name))
            .collect();
        let uri = self.settings.url.parse::<Uri>().ok();
        if uri.is_some_and(|uri| {
            uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_loopback_host)
        }) {
            warnings.push(
                "`url` begins with http://, so the gateway's keys are sent unencrypted: use https://"
                    .to_owned(),
            );
        }
        warnings
    }
}

const fn key_name(kind: GatewayKind) -> &'static str {
    match kind {
        GatewayKind::Wasender => "session_key",
        GatewayKind::Waha | GatewayKind::Evolution => "api_key",
    }
}

/// Reads all gateways. `flows` are the names of all flows.
pub(super) fn read(root: &TableReader<'_>, flows: &[&str]) -> BTreeMap<GatewayName, Gateway> {
    let items = root.named_entries("gateways");
    let gateways = items.iter().filter_map(|item| read_gateway(item, flows));
    gateways.collect()
}

fn read_gateway(item: &ValueReader<'_>, flows: &[&str]) -> Option<(GatewayName, Gateway)> {
    let name = item.parse_key(GatewayName::new);
    item.read_table(|table| {
        let kinds = GatewayKind::ALL.map(|kind| (kind.as_str(), kind));
        let Some(kind) = table.require("kind").and_then(|item| item.choice(kinds)) else {
            // Without a valid kind, the set of valid keys is unknown.
            table.stop();
            return None;
        };
        let settings = read_settings(table, kind, flows);
        let keys = read_secrets(table, kind);
        let (settings, keys) = (settings?, keys?);
        Some((name?, Gateway { settings, keys }))
    })?
}

fn read_settings(
    table: &TableReader<'_>,
    kind: GatewayKind,
    flows: &[&str],
) -> Option<GatewaySettings> {
    let missing = |what: &str| {
        table.error(what);
        None
    };
    let allow_private = table.boolean("allow_private", false);
    let url = match table.get("url") {
        Some(item) => item.parse(|text| parse_base_url(text, allow_private)),
        None if kind == GatewayKind::Wasender => Some(WASENDER_URL.to_owned()),
        None => missing(
            "`url` is missing: the address of the gateway's API, like \"http://127.0.0.1:3000\"",
        ),
    };
    let session = match (table.get("session"), kind) {
        (Some(item), _) => item.parse(parse_session),
        (None, GatewayKind::Waha) => Some(WAHA_SESSION.to_owned()),
        (None, GatewayKind::Wasender) => missing("`session` is missing: the number of its session"),
        (None, GatewayKind::Evolution) => missing("`session` is missing: the name of its instance"),
    };
    let least = Millis::new(100);
    let inactivity_timeout =
        table.read("inactivity_timeout", |item| item.duration(least..=days(90)));
    Some(GatewaySettings {
        kind,
        probe_interval: table.duration("probe_interval", minutes(1), least..=days(1)),
        timeout: table.duration("timeout", Millis::from_secs(15), least..=minutes(1)),
        allow_private,
        forms: read_forms(table, flows),
        rate: table.parse("rate", Rate::parse),
        inactivity_timeout,
        url: url?,
        session: session?,
    })
}

fn read_secrets(table: &TableReader<'_>, kind: GatewayKind) -> Option<GatewaySecrets> {
    let key = table.require_secret(key_name(kind));
    let has_access_token = kind == GatewayKind::Wasender;
    let has_webhook_secret =
        kind != GatewayKind::Evolution || table.get("webhook_secret").is_some();
    let access_token = has_access_token.then(|| table.require_secret("access_token"));
    let webhook_secret = has_webhook_secret.then(|| table.require_secret("webhook_secret"));
    Some(GatewaySecrets {
        key: key?,
        access_token: access_token.flatten(),
        webhook_secret: webhook_secret.flatten(),
    })
}

/// Parses a base URL, to which paths are appended.
fn parse_base_url(text: &str, allow_private: bool) -> Result<String, &'static str> {
    if parse_webhook_url(text, allow_private)?.query().is_some() {
        return Err("must not contain '?': write only the base URL of the API");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn parse_session(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0 => Err("is empty".to_owned()),
        1..=SESSION_CHARS_MAX if text.chars().any(char::is_control) => {
            Err("must not contain control characters".to_owned())
        }
        1..=SESSION_CHARS_MAX => Ok(text.to_owned()),
        _ => Err(format!("is longer than {SESSION_CHARS_MAX} characters")),
    }
}

fn read_forms(table: &TableReader<'_>, flows: &[&str]) -> Vec<TextForm> {
    let Some(item) = table.get("forms") else {
        return Vec::new();
    };
    let items = item.list().unwrap_or_default();
    item.check_count(items.len(), FORMS_MAX, "forms");
    items
        .iter()
        .filter_map(|item| item.read_table(|table| read_form(table, flows))?)
        .collect()
}

fn read_form(table: &TableReader<'_>, flows: &[&str]) -> Option<TextForm> {
    let flow = table.require("flow").and_then(|item| {
        let name = item.known_name("flow", flows)?;
        FlowName::new(name).ok()
    });
    let pattern = table.require_parsed("pattern", parse_pattern);
    Some(TextForm {
        flow: flow?,
        pattern: pattern?,
    })
}

fn parse_pattern(text: &str) -> Result<FullRegex, String> {
    let pattern = FullRegex::new(text)?;
    if pattern.capture_names().next().is_none() {
        return Err(
            "has no named group, so the form would have no field: write one like \"book (?<date>\\\\S+)\"".to_owned()
        );
    }
    if pattern.is_match("") {
        return Err("matches the empty text".to_owned());
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_errors, assert_errors_in, assert_errors_in_table};
    use crate::config::tests::{error_of, parse_valid};

    fn gateway_from(table: &str) -> Gateway {
        let config = parse_valid(&format!("[flows.visit]\n[gateways.shop]\n{table}"));
        config.gateways.into_values().next().unwrap()
    }

    const WAHA: &str = "kind = \"waha\"\nurl = \"http://127.0.0.1:3000/\"\nallow_private = true\napi_key = \"env:A\"\nwebhook_secret = \"env:B\"";

    #[test]
    fn gateway_kind_requires_its_keys_and_has_defaults() {
        let wasender = gateway_from(
            "kind = \"wasender\"\nsession = \"17\"\nsession_key = \"env:A\"\naccess_token = \"env:B\"\nwebhook_secret = \"env:C\"",
        );
        let settings = &wasender.settings;
        assert_eq!(settings.url, WASENDER_URL);
        assert_eq!(settings.inactivity_timeout, None);
        assert_eq!(settings.probe_interval, minutes(1));
        assert_eq!(settings.timeout, Millis::from_secs(15));
        let secrets = wasender.secrets();
        let named = secrets.map(|(name, secret)| format!("{name}={}", secret.location()));
        let expected = "session_key=env:A access_token=env:B webhook_secret=env:C";
        assert_eq!(named.collect::<Vec<_>>().join(" "), expected);

        let waha = gateway_from(WAHA).settings;
        assert_eq!(waha.url, "http://127.0.0.1:3000");
        assert_eq!(waha.session, "default");
        let evolution = gateway_from(
            "kind = \"evolution\"\nurl = \"https://evo.example\"\nsession = \"shop\"\napi_key = \"env:A\"",
        );
        assert!(evolution.keys.webhook_secret.is_none());
    }

    #[test]
    fn every_gateway_setting_is_read() {
        let more = "session = \"b\"\nprobe_interval = \"5s\"\ninactivity_timeout = \"2h\"\ntimeout = \"3s\"\nforms = [{ flow = \"visit\", pattern = 'book (?<date>\\S+)' }]";
        let settings = gateway_from(&format!("{WAHA}\n{more}")).settings;
        assert_eq!(settings.session, "b");
        assert_eq!(
            (settings.probe_interval, settings.timeout),
            (Millis::from_secs(5), Millis::from_secs(3))
        );
        assert_eq!(settings.inactivity_timeout, Some(Millis::from_secs(7200)));
        assert_eq!(settings.forms[0].flow.as_str(), "visit");
    }

    #[test]
    fn documented_gateway_examples_are_valid() {
        let docs = include_str!("../../docs/gateways.md");
        let blocks = docs.split("```toml\n").skip(1);
        let shown: Vec<&str> = blocks
            .map(|block| block.split("```").next().unwrap())
            .collect();
        assert_eq!(shown.len(), 4);
        for text in shown {
            assert_eq!(parse_valid(text).gateways.len(), 1, "{text}");
        }
        let shipped = include_str!("../../config.toml");
        let (before, gateway) = shipped.split_once("# [gateways.shop]").unwrap();
        let gateways = parse_valid(&format!(
            "{before}[gateways.shop]{}",
            gateway.replace("\n# ", "\n")
        ))
        .gateways;
        let settings = &gateways.values().next().unwrap().settings;
        assert_eq!(
            (settings.probe_interval, settings.timeout),
            (Millis::from_secs(60), Millis::from_secs(15)),
            "the defaults"
        );
    }

    #[test]
    fn gateway_errors_have_location() {
        assert_errors(
            "[gateways.shop]",
            r#"
            => 1:11: gateways.shop: `kind` is missing
            kind = "wahaa"
            => 2:8: gateways.shop.kind: "wahaa" is not a valid value: did you mean `waha`?
            kind = "evolution"
            url = "https://evo.example"
            api_key = "env:A"
            => 1:11: gateways.shop: `session` is missing: the name of its instance
            "#,
        );
        assert_errors_in_table(
            "[gateways.shop]",
            WAHA,
            r#"
            api_keys = "env:A"
            => 1:11: gateways.shop: `api_key` is missing
            => 6:1: unknown key `api_keys` in gateways.shop: did you mean `api_key`?
            allow_private = false
            => 3:7: gateways.shop.url: is a local or private address: if that is intended, set `allow_private = true`
            url = "http://127.0.0.1:3000/?a=b"
            => 6:7: gateways.shop.url: must not contain '?': write only the base URL of the API
            probe_interval = "1ms"
            => 7:18: gateways.shop.probe_interval: must be from 100ms to 1d, and is 1ms
            session = ""
            => 7:11: gateways.shop.session: is empty
            forms = [{ flow = "visit", pattern = "(?<a>.+)" }]
            => 7:19: gateways.shop.forms.flow: there is no flow "visit"
            "#,
        );
        let form = |pattern: &str| {
            let forms = format!("forms = [{{ flow = \"visit\", pattern = '{pattern}' }}]");
            format!("[flows.visit]\n[gateways.shop]\n{WAHA}\n{forms}")
        };
        assert_errors_in(
            form,
            r#"
            book
            => 8:38: gateways.shop.forms.pattern: has no named group, so the form would have no field: write one like "book (?<date>\\S+)"
            (?<a>.*)
            => 8:38: gateways.shop.forms.pattern: matches the empty text
            (?<a>
            => 8:38: gateways.shop.forms.pattern: unclosed group
            "#,
        );
        let secret = WAHA.replace("env:A", "hush");
        let hidden = error_of(&format!("[gateways.shop]\n{secret}"));
        assert!(
            hidden.contains("gateways.shop.api_key") && !hidden.contains("hush"),
            "{hidden}"
        );
    }
}
