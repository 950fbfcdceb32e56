//! `[gateways.NAME]`: an unofficial gateway, how its session is looked after, and which of its text messages are forms.
//!
//! Reading its secrets is `crate::cli`'s, asking and calling it `crate::gateways`', its webhook `crate::intake`'s.

use std::collections::BTreeMap;
use std::path::Path;

use hyper::Uri;

use super::nearest::hint;
use super::posts::url;
use super::raw::Table;
use super::secrets::SecretRef;
use super::settings::secret;
use super::value::Item;
use crate::domain::address::is_this_machine;
use crate::domain::gateway::GatewayKind;
use crate::domain::gateway::form::TextForm;
use crate::domain::ids::{FlowName, GatewayName};
use crate::domain::pace::Rate;
use crate::domain::pattern::Pattern;
use crate::domain::time::Millis;

/// Where `WASenderApi` is.
const WASENDER_URL: &str = "https://www.wasenderapi.com/api";
/// What WAHA calls the one session that its free version has.
const WAHA_SESSION: &str = "default";
/// Texts are tried with each form: more than anybody tells apart would only cost.
const FORMS_MAX: usize = 32;
/// Characters of a session's name.
const SESSION_MAX: usize = 128;

/// One gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// What it is and how it is looked after.
    pub rule: GatewayRule,
    /// Where its secrets are.
    pub keys: GatewayKeys,
}

/// What a gateway is and how it is looked after.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayRule {
    /// Which program it is.
    pub kind: GatewayKind,
    /// Where its API is, without a slash at its end.
    pub url: String,
    /// The id (`WASenderApi`) or name of its session.
    pub session: String,
    /// How often it is asked for its state. Default 60 s.
    pub check: Millis,
    /// After how long without a message it is suspected to be deaf. Default: never.
    pub silent_after: Option<Millis>,
    /// How long one answer of it may take. Default 15 s, up to 60 s.
    pub timeout: Millis,
    /// Whether it may be on this machine or in a network of one's own.
    pub allow_private: bool,
    /// Which of its text messages are forms, tried in this order.
    pub forms: Vec<TextForm>,
    /// How many messages it is given in a time, by all destinations together. Default: as many as its answers say are left and,
    /// until they do, 12 a minute.
    pub rate: Option<Rate>,
}

/// Where the secrets of a gateway are.
#[derive(Clone, Debug)]
pub struct GatewayKeys {
    /// The session's key (`WASenderApi`: `session_key`), or that of the API (`api_key`).
    pub key: SecretRef,
    /// The personal access token, which manages sessions (`WASenderApi`).
    pub access_token: Option<SecretRef>,
    /// What its webhook proves itself with. `None` (Evolution API): `key`.
    pub webhook_secret: Option<SecretRef>,
}

impl Gateway {
    /// What the config calls its first key.
    #[must_use]
    pub const fn key_name(&self) -> &'static str {
        key_name(self.rule.kind)
    }

    /// Its secrets, by the names that the config has for them.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretRef)> {
        let GatewayKeys { key, access_token, webhook_secret } = &self.keys;
        let more = [("access_token", access_token), ("webhook_secret", webhook_secret)];
        [(self.key_name(), key)]
            .into_iter()
            .chain(more.into_iter().filter_map(|(name, key)| Some((name, key.as_ref()?))))
    }

    /// What should be known of it, one sentence each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> =
            self.secrets().filter_map(|(name, key)| key.note().map(|note| format!("{name}: {note}"))).collect();
        let uri = self.rule.url.parse::<Uri>().ok();
        if uri.is_some_and(|uri| uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_this_machine)) {
            notes.push("its url begins with http://: its keys are readable on their way there".to_owned());
        }
        notes
    }
}

const fn key_name(kind: GatewayKind) -> &'static str {
    match kind {
        GatewayKind::Wasender => "session_key",
        GatewayKind::Waha | GatewayKind::Evolution => "api_key",
    }
}

/// Reads all gateways. `flows` are the names of all flows, `folder` is the config's.
pub(super) fn read(root: &Table<'_>, flows: &[&str], folder: &Path) -> BTreeMap<GatewayName, Gateway> {
    let Some(item) = root.get("gateways") else { return BTreeMap::new() };
    let read = item.names(|table| {
        let items = table.named();
        items.iter().filter_map(|item| gateway(item, flows, folder)).collect()
    });
    read.unwrap_or_default()
}

fn gateway(item: &Item<'_>, flows: &[&str], folder: &Path) -> Option<(GatewayName, Gateway)> {
    let name = item.parsed_key(GatewayName::new);
    item.names(|table| {
        // Without its kind nothing tells which keys it may have.
        let kind = kind(&table.need("kind")?)?;
        let read = one(table, kind, flows, folder);
        table.refuse_unknown_keys();
        Some((name?, read?))
    })?
}

fn kind(item: &Item<'_>) -> Option<GatewayKind> {
    let word = item.word(&GatewayKind::ALL.map(GatewayKind::as_str))?;
    GatewayKind::ALL.into_iter().find(|kind| kind.as_str() == word)
}

fn one(table: &Table<'_>, kind: GatewayKind, flows: &[&str], folder: &Path) -> Option<Gateway> {
    let allow_private = table.boolean("allow_private", false);
    let is_hosted = kind == GatewayKind::Wasender;
    let base = match table.get("url") {
        Some(item) => item.parsed(|text| base(text, allow_private)),
        None if is_hosted => Some(WASENDER_URL.to_owned()),
        None => {
            table.refuse("`url` is missing: where its API is, like \"http://127.0.0.1:3000\"");
            None
        }
    };
    let session = match table.get("session") {
        Some(item) => item.parsed(session),
        None if kind == GatewayKind::Waha => Some(WAHA_SESSION.to_owned()),
        None => {
            let what = if is_hosted { "the number of its session" } else { "the name of its instance" };
            table.refuse(format!("`session` is missing: {what}"));
            None
        }
    };
    let need = |key| table.need(key).and_then(|item| secret(&item, folder));
    let key = need(key_name(kind));
    let access_token = if is_hosted { need("access_token").map(Some) } else { Some(None) };
    let webhook_secret = match (kind, table.get("webhook_secret")) {
        (GatewayKind::Evolution, None) => Some(None),
        _ => need("webhook_secret").map(Some),
    };
    let day = Millis::from_secs(24 * 60 * 60);
    let check = table.length("check", Millis::from_secs(60), Millis::new(100)..=day);
    let silent_after =
        table.get("silent_after").map(|item| item.length(Millis::new(100)..=Millis::new(90 * day.get())));
    let rule = GatewayRule {
        kind,
        check,
        timeout: table.length("timeout", Millis::from_secs(15), Millis::new(100)..=Millis::from_secs(60)),
        allow_private,
        forms: forms(table, flows),
        rate: table.get("rate").and_then(|item| item.parsed(Rate::parse)),
        silent_after: silent_after.flatten(),
        url: base?,
        session: session?,
    };
    let keys = GatewayKeys { key: key?, access_token: access_token?, webhook_secret: webhook_secret? };
    Some(Gateway { rule, keys })
}

/// A URL that paths can be put behind.
fn base(text: &str, allow_private: bool) -> Result<String, &'static str> {
    if url(text, allow_private)?.query().is_some() {
        return Err("may have no '?': write only where the API is");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn session(text: &str) -> Result<String, &'static str> {
    match text.chars().count() {
        0 => Err("is empty"),
        1..=SESSION_MAX if text.chars().any(char::is_control) => Err("may have no control characters"),
        1..=SESSION_MAX => Ok(text.to_owned()),
        _ => Err("is longer than 128 characters"),
    }
}

fn forms(table: &Table<'_>, flows: &[&str]) -> Vec<TextForm> {
    let Some(item) = table.get("forms") else { return Vec::new() };
    let items = item.items().unwrap_or_default();
    if items.len() > FORMS_MAX {
        item.refuse(format!("has {} forms, and may have {FORMS_MAX}", items.len()));
    }
    items.iter().filter_map(|item| item.table(|table| form(table, flows))?).collect()
}

fn form(table: &Table<'_>, flows: &[&str]) -> Option<TextForm> {
    let flow = table.need("flow").and_then(|item| {
        let name = item.text()?;
        if !flows.contains(&name) {
            item.refuse(format!("there is no flow {name:?}{}", hint(name, flows.iter().copied())));
            return None;
        }
        FlowName::new(name).ok()
    });
    let pattern = table.need("pattern").and_then(|item| item.parsed(pattern));
    Some(TextForm { flow: flow?, pattern: pattern? })
}

fn pattern(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::new(text)?;
    if pattern.group_names().next().is_none() {
        return Err(
            "has no named group, so the form would have no field: write one like \"book (?<date>\\\\S+)\"".to_owned()
        );
    }
    if pattern.fits("") {
        return Err("fits the empty text".to_owned());
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused, refused};
    use super::*;

    fn one(table: &str) -> Gateway {
        let config = accepted(&format!("[flows.visit]\npath = \"/visit\"\n[gateways.shop]\n{table}"));
        config.gateways.into_values().next().unwrap()
    }

    const WAHA: &str = "kind = \"waha\"\nurl = \"http://127.0.0.1:3000/\"\nallow_private = true\napi_key = \"env:A\"\nwebhook_secret = \"env:B\"";

    #[test]
    fn each_kind_has_the_keys_that_it_needs_and_the_rest_has_defaults() {
        let wasender = one(
            "kind = \"wasender\"\nsession = \"17\"\nsession_key = \"env:A\"\naccess_token = \"env:B\"\nwebhook_secret = \"env:C\"",
        );
        assert_eq!((wasender.rule.url.as_str(), wasender.rule.check.get()), (WASENDER_URL, 60_000));
        assert_eq!((wasender.rule.silent_after, wasender.rule.timeout.get()), (None, 15_000));
        let named: Vec<_> = wasender.secrets().map(|(name, place)| format!("{name}={}", place.place())).collect();
        assert_eq!(named, ["session_key=env:A", "access_token=env:B", "webhook_secret=env:C"]);

        let waha = one(WAHA);
        assert_eq!((waha.rule.url.as_str(), waha.rule.session.as_str()), ("http://127.0.0.1:3000", "default"));
        let evolution =
            one("kind = \"evolution\"\nurl = \"https://evo.example\"\nsession = \"shop\"\napi_key = \"env:A\"");
        assert!(evolution.keys.webhook_secret.is_none());
    }

    #[test]
    fn all_that_can_be_set_is_set() {
        let more = "session = \"b\"\ncheck = \"5s\"\nsilent_after = \"2h\"\ntimeout = \"3s\"\nforms = [{ flow = \"visit\", pattern = 'book (?<date>\\S+)' }]";
        let rule = one(&format!("{WAHA}\n{more}")).rule;
        assert_eq!((rule.session.as_str(), rule.check.get(), rule.timeout.get()), ("b", 5000, 3000));
        assert_eq!(rule.silent_after, Some(Millis::from_secs(7200)));
        assert_eq!(rule.forms[0].flow.as_str(), "visit");
    }

    #[test]
    fn what_the_docs_and_the_shipped_config_show_is_a_config() {
        let docs = include_str!("../../docs/gateways.md");
        let shown: Vec<&str> = docs.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
        assert_eq!(shown.len(), 4);
        for text in shown {
            assert_eq!(accepted(text).gateways.len(), 1, "{text}");
        }
        let shipped = include_str!("../../config.toml");
        let (before, gateway) = shipped.split_once("# [gateways.shop]").unwrap();
        let rule = accepted(&format!("{before}[gateways.shop]{}", gateway.replace("\n# ", "\n"))).gateways;
        let rule = &rule.values().next().unwrap().rule;
        assert_eq!((rule.check, rule.timeout), (Millis::from_secs(60), Millis::from_secs(15)), "the defaults");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_refused(
            "[gateways.shop]",
            &[
                ("", "1:11: gateways.shop: `kind` is missing"),
                ("kind = \"wahaa\"", "2:8: gateways.shop.kind: \"wahaa\" is not known here: did you mean `waha`?"),
                (
                    &WAHA.replace("api_key", "apikey"),
                    "1:11: gateways.shop: `api_key` is missing\nconfig.toml:5:1: unknown key `apikey` in gateways.shop: did you mean `api_key`?",
                ),
                (
                    &WAHA.replace("allow_private = true", ""),
                    "3:7: gateways.shop.url: is on this machine or in a network of one's own: if that is meant, write `allow_private = true`",
                ),
                (
                    &WAHA.replace("3000/", "3000/?a=b"),
                    "3:7: gateways.shop.url: may have no '?': write only where the API is",
                ),
                (&format!("{WAHA}\ncheck = \"1ms\""), "7:9: gateways.shop.check: must be from 100ms to 1d, and is 1ms"),
                (&format!("{WAHA}\nsession = \"\""), "7:11: gateways.shop.session: is empty"),
                (
                    &format!("{WAHA}\nforms = [{{ flow = \"visit\", pattern = \"(?<a>.+)\" }}]"),
                    "7:19: gateways.shop.forms.flow: there is no flow \"visit\"",
                ),
                (
                    "kind = \"evolution\"\nurl = \"https://evo.example\"\napi_key = \"env:A\"",
                    "1:11: gateways.shop: `session` is missing: the name of its instance",
                ),
            ],
        );
        let form = |pattern: &str| {
            refused(&format!(
                "[flows.visit]\npath = \"/v\"\n[gateways.shop]\n{WAHA}\nforms = [{{ flow = \"visit\", pattern = '{pattern}' }}]"
            ))
        };
        assert!(form("book").contains("gateways.shop.forms.pattern: has no named group"), "{}", form("book"));
        assert!(form("(?<a>.*)").contains("fits the empty text"));
        assert!(form("(?<a>").contains("gateways.shop.forms.pattern: unclosed group"));
        let hidden = refused(&format!("[gateways.shop]\n{}", WAHA.replace("env:A", "hush")));
        assert!(hidden.contains("gateways.shop.api_key") && !hidden.contains("hush"), "{hidden}");
    }
}
