//! `[destinations.NAME]` without a `kind`: a URL that bodies are posted to, what they are signed with, and which URLs that may be.
//!
//! What all destinations have is `super::destinations`'; what is posted is `super::body`'s. Meta's webhook, which comes in, is
//! another one: `super::webhook`.

use std::collections::BTreeMap;
use std::path::Path;

use hyper::Uri;
use hyper::header::{self, HeaderName};

use super::body;
use super::raw::Table;
use super::secrets::SecretRef;
use super::settings::secret;
use super::value::Item;
use crate::domain::address::{is_public, is_this_machine, literal};
use crate::domain::body::BodyRule;

/// Each secret makes a signature of its own: more than a rotation needs would only cost.
const SECRETS_MAX: usize = 4;
/// Headers of its own that a destination may ask for.
const HEADERS_MAX: usize = 16;

/// A receiver of *Standard Webhooks*.
#[derive(Clone, Debug)]
pub struct WebhookRule {
    /// Where.
    pub url: Address,
    /// What it is sent. Default: what `docs/events` describes.
    pub body: BodyRule,
    /// What each message is signed with, newest first: a message has a signature for each. None: it is not signed.
    pub secrets: Vec<SecretRef>,
    /// Headers that it asks for, such as `authorization`, and where their values are.
    pub headers: BTreeMap<String, SecretRef>,
}

/// Where a webhook is: `https://`, or `http://` where the way is one's own.
#[derive(Clone, Debug)]
pub enum Address {
    /// There.
    Plain(Uri),
    /// Where this place says: whoever knows the URL of a chat's webhook may write there.
    Secret(SecretRef),
}

impl WebhookRule {
    pub(super) fn read(table: &Table<'_>, allow_private: bool, folder: &Path) -> Option<Self> {
        let url = table.need("url").and_then(|item| address(&item, allow_private, folder));
        let (secrets, headers, body) = (secrets(table, folder), headers(table, folder), body::read(table, folder));
        Some(Self { url: url?, body, secrets, headers })
    }

    /// What should be known of it, one sentence each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // A chat knows who writes by the URL.
        let is_known =
            matches!(self.url, Address::Secret(_)) || matches!(self.body, BodyRule::Slack | BodyRule::Discord);
        if self.secrets.is_empty() && !is_known {
            notes.push("it has no `secrets`: what it is told is not signed, and could come from anybody".to_owned());
        }
        for secret in &self.secrets {
            notes.extend(secret.note().map(|note| format!("secrets: {note}")));
        }
        for (header, secret) in &self.headers {
            notes.extend(secret.note().map(|note| format!("headers.{header}: {note}")));
        }
        if self.headers.contains_key("accept-encoding") {
            notes.push("headers.accept-encoding: a compressed answer can't be read: leave it out".to_owned());
        }
        if let Address::Secret(place) = &self.url {
            notes.extend(place.note().map(|note| format!("url: {note}")));
        }
        if let Address::Plain(url) = &self.url
            && url.scheme_str() == Some("http")
            && !url.host().is_some_and(is_this_machine)
        {
            notes.push("its url begins with http://: what customers wrote is readable on its way there".to_owned());
        }
        notes
    }
}

fn secrets(table: &Table<'_>, folder: &Path) -> Vec<SecretRef> {
    let Some(item) = table.get("secrets") else { return Vec::new() };
    let items = item.some_items().unwrap_or_default();
    if items.len() > SECRETS_MAX {
        item.refuse(format!("has {} secrets, and may have {SECRETS_MAX}", items.len()));
    }
    items.iter().filter_map(|item| secret(item, folder)).collect()
}

fn headers(table: &Table<'_>, folder: &Path) -> BTreeMap<String, SecretRef> {
    let Some(item) = table.get("headers") else { return BTreeMap::new() };
    let read = item.names(|table| {
        let items = table.named();
        if items.len() > HEADERS_MAX {
            item.refuse(format!("has {} headers, and may have {HEADERS_MAX}", items.len()));
        }
        let read = |item: &Item<'_>| Some((item.parsed_key(header_name)?, secret(item, folder)?));
        items.iter().filter_map(read).collect()
    });
    read.unwrap_or_default()
}

fn header_name(text: &str) -> Result<String, &'static str> {
    let name: HeaderName = text.parse().map_err(|_| "is no name of a header")?;
    let ours = [
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
    if ours.contains(&name) || name.as_str().starts_with("webhook-") {
        return Err("is a header that flowgate sets itself");
    }
    Ok(name.as_str().to_owned())
}

/// A URL, or the place of one that is a secret.
fn address(item: &Item<'_>, allow_private: bool, folder: &Path) -> Option<Address> {
    let text = item.text()?;
    if ["env:", "file:", "text:"].iter().any(|place| text.starts_with(place)) {
        return secret(item, folder).map(Address::Secret);
    }
    item.parsed(|text| url(text, allow_private)).map(Address::Plain)
}

/// A URL that a message can be posted to. It is not repeated where it is refused: a token may stand in it.
///
/// # Errors
/// What is wrong with it.
pub fn url(text: &str, allow_private: bool) -> Result<Uri, &'static str> {
    let Some((uri, authority)) =
        text.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned().map(|authority| (uri, authority)))
    else {
        return Err("is no URL: write one like \"https://crm.example/hooks/flowgate\"");
    };
    let host = authority.host();
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err("must begin with \"https://\"");
    }
    if authority.as_str().contains('@') {
        return Err("may have no user and no password: put them into `headers`, as authorization = \"env:NAME\"");
    }
    if text.contains('#') {
        return Err("may have no '#': what follows it is never sent");
    }
    if authority.as_str() != host && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is none: write one from 1 to 65535");
    }
    if is_private(host) && !allow_private {
        return Err(PRIVATE);
    }
    Ok(uri)
}

/// Whether a host says by itself that it is on this machine or in a network of one's own.
pub(super) fn is_private(host: &str) -> bool {
    is_this_machine(host) || literal(host).is_some_and(|address| !is_public(address))
}

/// Why such a host is refused.
pub(super) const PRIVATE: &str =
    "is on this machine or in a network of one's own: if that is meant, write `allow_private = true`";

#[cfg(test)]
mod tests {
    use super::super::destinations::tests::one;
    use super::super::tests::refused;
    use super::*;

    #[test]
    fn an_address_is_out_in_the_world_unless_it_is_said_twice() {
        for (bad, why) in [
            ("", "is no URL"),
            ("/hook", "is no URL"),
            ("crm.example/hook", "is no URL"),
            ("ftp://crm.example", "must begin with"),
            ("https://ann:hush@crm.example/", "no user"),
            ("https://crm.example/#a", "no '#'"),
            ("https://crm.example:0/", "a port"),
            ("https://crm.example:/", "a port"),
            ("http://localhost/", "allow_private"),
            ("https://127.0.0.1/", "allow_private"),
            ("https://[::1]/", "allow_private"),
            ("https://192.168.1.9/", "allow_private"),
            ("https://169.254.169.254/latest", "allow_private"),
            ("https://[::ffff:10.0.0.1]/", "allow_private"),
        ] {
            let said = url(bad, false).unwrap_err();
            assert!(said.contains(why) && !said.contains("hush"), "{bad}: {said}");
        }
        for good in ["http://localhost/", "https://127.0.0.1:1/", "https://[::1]/"] {
            assert!(url(good, true).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_url_may_be_a_secret_and_is_shown_by_its_place() {
        let (team, webhook) = one("url = \"env:SLACK_WEBHOOK_URL\"\nbody = \"slack\"");
        assert!(matches!(webhook.url, Address::Secret(SecretRef::Env(_))));
        assert_eq!((team.host().as_str(), team.means.url()), ("env:SLACK_WEBHOOK_URL", None));
        assert_eq!(team.notes(), ["url: the environment variable SLACK_WEBHOOK_URL is not set"]);
        let hidden = refused("[destinations.team]\nurl = \"env:https://hush.example\"");
        assert!(
            hidden.contains("destinations.team.url: \"env:\" needs the name") && !hidden.contains("hush"),
            "{hidden}"
        );
        assert!(one("url = \"https://crm.example\"").0.notes()[0].contains("is not signed"));
        assert!(one("url = \"https://chat.example\"\nbody = \"discord\"").0.notes().is_empty(), "it knows by the URL");
    }
}
