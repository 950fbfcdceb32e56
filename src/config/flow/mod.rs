//! Reads `[flows.NAME]`: paths, private keys and subscriptions of the flows. Two flows must not
//! have the same path or the same flow matcher.
//!
//! The other modules of this folder read the tables of a flow: screens, booking, lead, webhook,
//! texts and upstream. See [`crate::domain::flow`] for the processing of answers.

pub(in crate::config) mod booking;
pub(in crate::config) mod fields;
pub(in crate::config) mod lead;
pub(in crate::config) mod matcher;
pub(in crate::config) mod screen_data;
pub(in crate::config) mod screens;
pub(in crate::config) mod texts;
pub(in crate::config) mod upstream;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::reader::TableReader;
use super::reader::value::ValueReader;
use super::secrets::SecretRef;
use super::settings::read_secret;
use super::subscriptions;
use crate::domain::event::subscriptions::Subscription;
use crate::domain::flow::{
    ABANDONED_AFTER, EncryptionMode, Flow, FlowMatcher, ResubmitPolicy, SignaturePolicy,
    TokenSignaturePolicy,
};
use crate::domain::ids::FlowName;
use crate::domain::time::Millis;
use upstream::UpstreamSettings;

/// Paths that the server itself answers.
const RESERVED_PATHS: [&str; 3] = ["/webhook", "/healthz", "/readyz"];

/// Path prefix of the requests from unofficial gateways.
const RESERVED_PREFIX: &str = "/gateways";

/// Maximum length of a path, in bytes. Proxies reject much longer paths.
const PATH_BYTES_MAX: usize = 512;

/// Sources of the private keys of an encrypted flow.
#[derive(Clone, Debug)]
pub struct PrivateKeySources {
    /// Private keys, newest first. The others are the predecessors of the first.
    pub private_keys: Vec<SecretRef>,
    /// Passphrase for the keys that need one. `None`: the config has no passphrase.
    pub passphrase: Option<SecretRef>,
}

/// Flows, and the settings that only some flows have.
#[derive(Default)]
pub(super) struct ParsedFlows {
    pub(super) flows: BTreeMap<FlowName, Arc<Flow>>,
    pub(super) keys: BTreeMap<FlowName, PrivateKeySources>,
    pub(super) upstreams: BTreeMap<FlowName, UpstreamSettings>,
    /// Subscriptions to the events of each flow.
    pub(super) subscriptions: BTreeMap<FlowName, Vec<Subscription>>,
}

/// Reads `[flows]`. `calendars` and `destinations` are the names of those tables. `folder` is the
/// folder of the config.
pub(super) fn read(
    root: &TableReader<'_>,
    calendars: &[&str],
    destinations: &[&str],
    folder: &Path,
) -> ParsedFlows {
    let Some(flows) = root.get("flows") else {
        return ParsedFlows::default();
    };
    let read = flows.read_named_table(|table| {
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        let mut matchers: Vec<(String, FlowMatcher)> = Vec::new();
        let mut read = ParsedFlows::default();
        for item in table.entries() {
            let Some(FlowEntry {
                flow,
                keys,
                upstream,
                subscriptions: routes,
            }) = read_flow(&item, calendars, destinations, folder)
            else {
                continue;
            };
            let name = flow.name.to_string();
            if let Some(other) = paths.insert(flow.path.clone(), name.clone()) {
                item.key_error(format!(
                    "flows `{other}` and `{name}` have the same path, {}",
                    flow.path
                ));
            }
            if let Some((other, _)) = matchers
                .iter()
                .find(|(_, matcher)| flow.matcher.condition_count() > 0 && *matcher == flow.matcher)
            {
                let why = "all forms would go to the first flow in alphabetical order";
                item.key_error(format!(
                    "flows `{other}` and `{name}` have the same webhook matcher: {why}"
                ));
            }
            if let Some((other, _)) = matchers
                .iter()
                .find(|(_, matcher)| flow.matcher.is_default && matcher.is_default)
            {
                let why = "only one flow can be the default";
                item.key_error(format!(
                    "flows `{other}` and `{name}` both have `webhook = \"default\"`: {why}"
                ));
            }
            matchers.push((name, flow.matcher.clone()));
            read.keys.extend(keys.map(|keys| (flow.name.clone(), keys)));
            read.upstreams
                .extend(upstream.map(|upstream| (flow.name.clone(), upstream)));
            read.subscriptions.insert(flow.name.clone(), routes);
            read.flows.insert(flow.name.clone(), Arc::new(flow));
        }
        read
    });
    read.unwrap_or_default()
}

/// Flow, and the other settings of its table.
struct FlowEntry {
    flow: Flow,
    keys: Option<PrivateKeySources>,
    upstream: Option<UpstreamSettings>,
    subscriptions: Vec<Subscription>,
}

/// Reads one flow. Returns `None` if its name or path is invalid.
fn read_flow(
    item: &ValueReader<'_>,
    calendars: &[&str],
    destinations: &[&str],
    folder: &Path,
) -> Option<FlowEntry> {
    let name = item.parse_key(FlowName::new);
    item.read_table(|table| {
        let keys = read_key_sources(table, folder);
        let subscriptions = table.get("deliver").map(|item| {
            subscriptions::read(&item, destinations, subscriptions::SubscriptionKind::Flow)
        });
        let signature = table
            .get("signature")
            .and_then(|item| item.one_of(&["required", "none"]));
        let screens = table
            .get("screens")
            .map(|item| screens::read(&item, calendars))
            .unwrap_or_default();
        let upstream = upstream::read(table, keys.is_some(), &screens, folder);
        let path = read_path(table, name.as_ref());
        let flow = Flow {
            encryption: if keys.is_some() {
                EncryptionMode::Required
            } else {
                EncryptionMode::None
            },
            signature: if signature == Some("none") {
                SignaturePolicy::None
            } else {
                SignaturePolicy::Required
            },
            booking: table
                .read_table("booking", |booking_table| {
                    booking::read(booking_table, calendars, &screens)
                })
                .flatten(),
            lead: table
                .read_table("lead", |lead_table| lead::read(lead_table, &screens))
                .flatten(),
            matcher: table
                .get("webhook")
                .and_then(|item| matcher::read(&item))
                .unwrap_or_default(),
            token_signature: read_token_signature(table, keys.is_some()),
            has_upstream: upstream.is_some(),
            texts: texts::read(table),
            resubmit: read_resubmit(table, keys.is_some()),
            abandoned_after: table.duration(
                "abandoned_after",
                ABANDONED_AFTER,
                Millis::from_secs(60)..=Millis::from_secs(90 * 24 * 3600),
            ),
            screens,
            name: name?,
            path: path?,
        };
        Some(FlowEntry {
            flow,
            keys,
            upstream,
            subscriptions: subscriptions.unwrap_or_default(),
        })
    })?
}

/// Reads the sources of the private keys. Returns `None` for a flow without encryption.
fn read_key_sources(table: &TableReader<'_>, folder: &Path) -> Option<PrivateKeySources> {
    let mode = table
        .get("encryption")
        .and_then(|item| item.one_of(&["none", "required"]));
    let (keys, passphrase) = (table.get("private_keys"), table.get("passphrase"));
    if mode != Some("required") {
        for item in [keys, passphrase].into_iter().flatten() {
            item.key_error(format!(
                "{}: a flow without `encryption = \"required\"` can't have `{}`",
                table.path, item.key
            ));
        }
        return None;
    }
    if keys.is_none() {
        table.error(
            "`private_keys` is missing: an encrypted flow needs one, like [\"file:flow_key.pem\"]",
        );
    }
    let keys = keys
        .and_then(|item| item.non_empty_list())
        .unwrap_or_default();
    Some(PrivateKeySources {
        private_keys: keys
            .iter()
            .filter_map(|item| read_secret(item, folder))
            .collect(),
        passphrase: passphrase.and_then(|item| read_secret(&item, folder)),
    })
}

fn read_path(table: &TableReader<'_>, name: Option<&FlowName>) -> Option<String> {
    if let Some(item) = table.get("path") {
        return item.parse(check_path).map(str::to_owned);
    }
    let path = format!("/flows/{}", name?);
    if check_path(&path).is_err() {
        table.error("`path` is missing, and this name can't be part of a URL: set `path`");
        return None;
    }
    Some(path)
}

/// Checks that a URL can contain the path unchanged, and that the server does not answer the path
/// itself.
fn check_path(path: &str) -> Result<&str, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/!$&'()*+,;=:@".contains(c);
    let is_reserved = path
        .strip_prefix(RESERVED_PREFIX)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let problem = if !path.starts_with('/') {
        "must begin with '/', like \"/flows/appointment\"".to_owned()
    } else if path.len() > PATH_BYTES_MAX {
        format!("must have at most {PATH_BYTES_MAX} characters")
    } else if path.contains(['?', '#']) {
        "must be the path alone, without '?' or '#'".to_owned()
    } else if let Some(bad) = path.chars().find(|c| !is_plain(*c)) {
        format!("must not contain {bad:?}: letters, digits and -._~/ are safe")
    } else if path
        .split('/')
        .skip(1)
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        "must not have empty parts, \".\" or \"..\" between its slashes, and must not end with '/'"
            .to_owned()
    } else if RESERVED_PATHS.contains(&path) || is_reserved {
        "is reserved for the server: choose another, like \"/flows/appointment\"".to_owned()
    } else {
        return Ok(path);
    };
    Err(format!("{path:?} {problem}"))
}

/// Reads the policy for a flow token that was already used. Only an encrypted flow can refuse such
/// a token.
fn read_resubmit(table: &TableReader<'_>, is_encrypted: bool) -> ResubmitPolicy {
    let Some(item) = table.get("resubmit") else {
        return ResubmitPolicy::default();
    };
    let word = item.one_of(&["success", "refuse"]);
    if word == Some("refuse") && !is_encrypted {
        item.key_error(format!(
            "{}: only a flow with `encryption = \"required\"` can refuse a token",
            table.path
        ));
    }
    if word == Some("refuse") {
        ResubmitPolicy::Refuse
    } else {
        ResubmitPolicy::Success
    }
}

/// Reads the policy for the signatures of flow tokens. Only encrypted requests have these
/// signatures. `None`: the config has no `token_signature`.
fn read_token_signature(
    table: &TableReader<'_>,
    is_encrypted: bool,
) -> Option<TokenSignaturePolicy> {
    let item = table.get("token_signature")?;
    let word = item.one_of(&["check", "require", "off"]);
    if word.is_some_and(|word| word != "off") && !is_encrypted {
        let why = "only requests to a flow with `encryption = \"required\"` carry a `flow_token_signature`";
        item.key_error(format!("{}: {why}", table.path));
    }
    match word? {
        "require" => Some(TokenSignaturePolicy::Require),
        "off" => Some(TokenSignaturePolicy::Off),
        _ => Some(TokenSignaturePolicy::Check),
    }
}

#[cfg(test)]
mod tests {
    use super::TokenSignaturePolicy;
    use crate::config::tests::{assert_refused, error_of, parse_valid};

    #[test]
    fn token_signature_requires_encryption() {
        let why = "only requests to a flow with `encryption = \"required\"` carry a `flow_token_signature`";
        assert_refused(
            "[flows.form]",
            &[
                (
                    "token_signature = \"require\"",
                    &format!("2:1: flows.form: {why}"),
                ),
                (
                    "token_signature = \"required\"",
                    "2:19: flows.form.token_signature: \"required\" is not a valid value: did you mean `require`?",
                ),
            ],
        );
        let read = |line: &str| {
            let flow = "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:key\"]\n";
            parse_valid(&format!("{flow}{line}"))
                .flows
                .values()
                .next()
                .unwrap()
                .token_signature
        };
        for (line, expected) in [
            ("", None),
            (
                "token_signature = \"check\"",
                Some(TokenSignaturePolicy::Check),
            ),
            (
                "token_signature = \"require\"",
                Some(TokenSignaturePolicy::Require),
            ),
            ("token_signature = \"off\"", Some(TokenSignaturePolicy::Off)),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        parse_valid("[flows.form]\ntoken_signature = \"off\"");
    }

    #[test]
    fn flow_path_is_valid_and_not_reserved() {
        let ours = "is reserved for the server: choose another, like \"/flows/appointment\"";
        let parts = "must not have empty parts, \".\" or \"..\" between its slashes, and must not end with '/'";
        for (path, why) in [
            ("form", "must begin with '/', like \"/flows/appointment\""),
            ("", "must begin with '/', like \"/flows/appointment\""),
            ("/form?a=b", "must be the path alone, without '?' or '#'"),
            ("/form#top", "must be the path alone, without '?' or '#'"),
            (
                "/my form",
                "must not contain ' ': letters, digits and -._~/ are safe",
            ),
            (
                "/%2e%2e",
                "must not contain '%': letters, digits and -._~/ are safe",
            ),
            (
                "/größe",
                "must not contain 'ö': letters, digits and -._~/ are safe",
            ),
            ("/a/../b", parts),
            ("/./a", parts),
            ("/a//b", parts),
            ("/a/", parts),
            ("/", parts),
            ("/webhook", ours),
            ("/healthz", ours),
            ("/readyz", ours),
            ("/gateways", ours),
            ("/gateways/waha", ours),
            (
                &format!("/{}", "a".repeat(512)),
                "must have at most 512 characters",
            ),
        ] {
            let expected = format!("2:8: flows.form.path: {path:?} {why}");
            assert_refused("[flows.form]", &[(&format!("path = {path:?}"), &expected)]);
        }
        for path in ["/webhooks", "/gateways-of-ours", "/a.b/c~d", "/a..b"] {
            parse_valid(&format!("[flows.form]\npath = {path:?}"));
        }
    }

    #[test]
    fn default_path_is_flow_name_and_unique() {
        let config = parse_valid("[flows.form]");
        assert_eq!(config.flows.values().next().unwrap().path, "/flows/form");
        assert_refused(
            "[flows.\"größe\"]",
            &[(
                "",
                "1:8: flows.größe: `path` is missing, and this name can't be part of a URL: set `path`",
            )],
        );
        assert_refused(
            "[flows.a]\npath = \"/flows/b\"",
            &[(
                "[flows.b]",
                "3:8: flows `a` and `b` have the same path, /flows/b",
            )],
        );
    }

    #[test]
    fn flow_names_and_keys_are_checked() {
        assert_refused(
            "",
            &[
                (
                    "[flows.\"a b\"]",
                    "2:8: flows.a b: flow name may have letters, digits, '-', '_' and '.' only",
                ),
                (
                    "flows = 3",
                    "2:9: flows: must be a table, and is a whole number",
                ),
                (
                    "flows.a = 3",
                    "2:11: flows.a: must be a table, and is a whole number",
                ),
            ],
        );
        assert_refused(
            "[flows.form]",
            &[
                (
                    "paht = \"/a\"",
                    "2:1: unknown key `paht` in flows.form: did you mean `path`?",
                ),
                (
                    "signature = \"optional\"",
                    "2:13: flows.form.signature: \"optional\" is not a valid value: expected one of `required`, `none`",
                ),
                (
                    "encryption = \"nope\"",
                    "2:14: flows.form.encryption: \"nope\" is not a valid value: did you mean `none`?",
                ),
            ],
        );
    }

    #[test]
    fn private_keys_only_for_encrypted_flow() {
        assert_refused(
            "[flows.form]",
            &[
                (
                    "encryption = \"required\"",
                    "1:8: flows.form: `private_keys` is missing: an encrypted flow needs one, like [\"file:flow_key.pem\"]",
                ),
                (
                    "private_keys = [\"file:key\"]",
                    "2:1: flows.form: a flow without `encryption = \"required\"` can't have `private_keys`",
                ),
            ],
        );
        assert!(
            error_of("[flows.form]\nencryption = \"required\"\nprivate_keys = []")
                .contains("private_keys")
        );
        assert!(
            !error_of("[flows.form]\nencryption = \"required\"\nprivate_keys = [\"hush\"]")
                .contains("hush")
        );
        let config = parse_valid(
            "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:a\", \"env:B\"]",
        );
        assert_eq!(
            config
                .private_keys
                .values()
                .next()
                .unwrap()
                .private_keys
                .len(),
            2
        );
    }
}
