//! Reads `[destinations.NAME]` of kind `webhook` (default): the URL and its checks, the signing
//! secrets, and the headers.
//!
//! See [`crate::config::destination`] for the settings of all kinds, and [`super::payload`] for the
//! body.

use std::collections::BTreeMap;

use hyper::Uri;
use hyper::header::{self, HeaderName};
use hyper::http::uri::Authority;

use super::kind_settings::KindSettings;
use super::payload;
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::secrets::SecretRef;
use crate::domain::delivery::payload::PayloadFormat;
use crate::domain::event::EventKind;
use crate::domain::ip_range::{is_loopback_host, is_public, literal_ip};

/// Maximum number of secrets. Each secret makes its own signature, and a rotation needs no more.
const SECRETS_MAX: usize = 4;
/// Maximum number of additional headers.
const HEADERS_MAX: usize = 16;

/// Settings of a *Standard Webhooks* receiver.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// URL of the receiver.
    pub url: WebhookUrl,
    /// `true` if the host may be on this machine or in a private network.
    pub allow_private: bool,
    /// Format of the payload. Default: the event format of `docs/events`.
    pub payload: PayloadFormat,
    /// Secrets for the signatures, newest first. A message has one signature for each secret.
    /// Empty: messages are not signed.
    pub secrets: Vec<SecretRef>,
    /// Additional headers, such as `authorization`, with the locations of their values.
    pub headers: BTreeMap<String, SecretRef>,
}

/// URL of a webhook: `https://`, or `http://` for private networks.
#[derive(Clone, Debug)]
pub enum WebhookUrl {
    /// URL in the config itself.
    Plain(Uri),
    /// Location of a secret URL. Everybody who knows the URL of a chat's webhook can write to the
    /// chat.
    Secret(SecretRef),
}

impl WebhookSettings {
    pub(super) fn read(table: &TableReader<'_>) -> Option<Self> {
        let allow_private = table.boolean("allow_private", false);
        let url = table
            .require("url")
            .and_then(|item| read_url(&item, allow_private));
        let secrets = table.get("secrets").map(|item| item.secrets(SECRETS_MAX));
        Some(Self {
            allow_private,
            secrets: secrets.unwrap_or_default(),
            headers: read_headers(table),
            payload: payload::read(table),
            url: url?,
        })
    }
}

impl KindSettings for WebhookSettings {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn url(&self) -> Option<&Uri> {
        match &self.url {
            WebhookUrl::Plain(url) => Some(url),
            WebhookUrl::Secret(_) => None,
        }
    }

    fn host(&self) -> String {
        match &self.url {
            WebhookUrl::Plain(url) => url.authority().map(ToString::to_string).unwrap_or_default(),
            WebhookUrl::Secret(secret) => secret.location(),
        }
    }

    fn supports(&self, kind: EventKind) -> bool {
        self.payload.supports(kind)
    }

    fn is_signed(&self) -> bool {
        !self.secrets.is_empty()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        // A chat service authenticates the sender by the URL.
        let is_authenticated_by_url = matches!(self.url, WebhookUrl::Secret(_))
            || matches!(self.payload, PayloadFormat::Slack | PayloadFormat::Discord);
        if self.secrets.is_empty() && !is_authenticated_by_url {
            warnings.push(
                "`secrets` is not set, so its requests are not signed: the receiver can't verify who sent them"
                    .to_owned(),
            );
        }
        for secret in &self.secrets {
            warnings.extend(secret.labelled_warning("secrets"));
        }
        for (header, secret) in &self.headers {
            warnings.extend(secret.labelled_warning(format_args!("headers.{header}")));
        }
        if self.headers.contains_key("accept-encoding") {
            warnings.push(
                "headers.accept-encoding: a compressed response can't be read: remove this header"
                    .to_owned(),
            );
        }
        if let WebhookUrl::Secret(secret) = &self.url {
            warnings.extend(secret.labelled_warning("url"));
        }
        if let WebhookUrl::Plain(url) = &self.url
            && url.scheme_str() == Some("http")
            && !url.host().is_some_and(is_loopback_host)
        {
            warnings.push(
                "`url` begins with http://, so customer data is sent unencrypted: use https://"
                    .to_owned(),
            );
        }
        warnings
    }
}

fn read_headers(table: &TableReader<'_>) -> BTreeMap<String, SecretRef> {
    let Some(item) = table.get("headers") else {
        return BTreeMap::new();
    };
    let items = item.entries().unwrap_or_default();
    item.check_count(items.len(), HEADERS_MAX, "headers");
    let read = |item: &ValueReader<'_>| Some((item.parse_key(parse_header_name)?, item.secret()?));
    items.iter().filter_map(read).collect()
}

fn parse_header_name(text: &str) -> Result<String, &'static str> {
    let name: HeaderName = text.parse().map_err(|_| "is not a valid header name")?;
    let reserved = [
        header::HOST,
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
    ];
    if reserved.contains(&name) || name.as_str().starts_with("webhook-") {
        return Err("is a header that flowgate sets itself");
    }
    Ok(name.as_str().to_owned())
}

/// Reads a URL, or the location of a secret URL.
fn read_url(item: &ValueReader<'_>, allow_private: bool) -> Option<WebhookUrl> {
    let text = item.text()?;
    if ["env:", "file:", "text:"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
    {
        return item.secret().map(WebhookUrl::Secret);
    }
    item.parse(|text| parse_webhook_url(text, allow_private))
        .map(WebhookUrl::Plain)
}

/// Parses a URL for POST requests. Error messages never contain the URL, because a URL may contain
/// a token.
///
/// # Errors
/// Description of the problem.
pub fn parse_webhook_url(text: &str, allow_private: bool) -> Result<Uri, &'static str> {
    let Some((uri, authority)) = split_url(text) else {
        return Err("is not a valid URL: write one like \"https://crm.example/hooks/flowgate\"");
    };
    let host = authority.host();
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err("must begin with \"https://\"");
    }
    if authority.as_str().contains('@') {
        return Err(
            "must not contain a user or a password: put them into `headers`, as authorization = \"env:NAME\"",
        );
    }
    if text.contains('#') {
        return Err("must not contain '#': the part after it is never sent");
    }
    check_port(&authority)?;
    if is_private_host(host) && !allow_private {
        return Err(PRIVATE_HOST_ERROR);
    }
    Ok(uri)
}

/// Returns a URL and its authority. `None`: the text is not a URL, or the URL has no host.
pub(in crate::config) fn split_url(text: &str) -> Option<(Uri, Authority)> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?.clone();
    Some((uri, authority))
}

/// Checks the port of an authority without a user. The port may be missing.
pub(in crate::config) fn check_port(authority: &Authority) -> Result<(), &'static str> {
    let has_port = authority.as_str() != authority.host();
    if has_port && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("has an invalid port: use a port from 1 to 65535");
    }
    Ok(())
}

/// Returns `true` if the text of the host shows that the host is on this machine or in a private
/// network. No name is resolved.
pub(in crate::config) fn is_private_host(host: &str) -> bool {
    is_loopback_host(host) || literal_ip(host).is_some_and(|address| !is_public(address))
}

/// Error for a private host without `allow_private`.
pub(in crate::config) const PRIVATE_HOST_ERROR: &str =
    "is a local or private address: if that is intended, set `allow_private = true`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::destination::tests::webhook_destination;
    use crate::config::tests::error_of;

    #[test]
    fn private_host_needs_allow_private() {
        for (bad, why) in [
            ("", "is not a valid URL"),
            ("/hook", "is not a valid URL"),
            ("crm.example/hook", "is not a valid URL"),
            ("ftp://crm.example", "must begin with"),
            ("https://ann:hush@crm.example/", "a user"),
            ("https://crm.example/#a", "not contain '#'"),
            ("https://crm.example:0/", "an invalid port"),
            ("https://crm.example:/", "an invalid port"),
            ("http://localhost/", "allow_private"),
            ("https://127.0.0.1/", "allow_private"),
            ("https://[::1]/", "allow_private"),
            ("https://192.168.1.9/", "allow_private"),
            ("https://169.254.169.254/latest", "allow_private"),
            ("https://[::ffff:10.0.0.1]/", "allow_private"),
        ] {
            let error = parse_webhook_url(bad, false).unwrap_err();
            assert!(
                error.contains(why) && !error.contains("hush"),
                "{bad}: {error}"
            );
        }
        for good in [
            "http://localhost/",
            "https://127.0.0.1:1/",
            "https://[::1]/",
        ] {
            assert!(parse_webhook_url(good, true).is_ok(), "{good}");
        }
    }

    #[test]
    fn secret_url_is_shown_by_location() {
        let (team, webhook) =
            webhook_destination("url = \"env:SLACK_WEBHOOK_URL\"\npayload = \"slack\"");
        assert!(matches!(webhook.url, WebhookUrl::Secret(SecretRef::Env(_))));
        assert_eq!(
            (webhook.host().as_str(), webhook.url()),
            ("env:SLACK_WEBHOOK_URL", None)
        );
        assert_eq!(
            team.warnings(),
            ["url: the environment variable SLACK_WEBHOOK_URL is not set"]
        );
        let hidden = error_of("[destinations.team]\nurl = \"env:https://hush.example\"");
        let why = "destinations.team.url: \"env:\" needs the name";
        assert!(hidden.contains(why) && !hidden.contains("hush"), "{hidden}");
        let warnings = |table: &str| webhook_destination(table).0.warnings();
        assert!(warnings("url = \"https://crm.example\"")[0].contains("are not signed"));
        let chat = "url = \"https://chat.example\"\npayload = \"discord\"";
        assert!(warnings(chat).is_empty(), "it knows by the URL");
        assert_eq!(
            warnings("url = \"http://crm.example\"")[1],
            "`url` begins with http://, so customer data is sent unencrypted: use https://"
        );
    }
}
