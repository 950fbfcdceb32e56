//! `[flows.NAME]`: paths that nothing else answers, keys for those that are encrypted, messages that are one flow's.
//!
//! Its tables are read by `screens`, `booking`, `lead`, `webhook`, `texts` and `upstream`. What a flow then does with an
//! answer is `crate::domain::flow`'s.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::raw::Table;
use super::secrets::SecretRef;
use super::settings::secret;
use super::upstream::{self, UpstreamRule};
use super::value::Item;
use super::{booking, deliver, lead, screens, texts, webhook};
use crate::domain::flow::{ABANDONED_AFTER, Encryption, Flow, Resubmit, SignatureRule, TokenSignature, WebhookRule};
use crate::domain::ids::FlowName;
use crate::domain::routes::Route;
use crate::domain::time::Millis;

/// Paths that the server answers itself.
const TAKEN_PATHS: [&str; 3] = ["/webhook", "/healthz", "/readyz"];

/// Below this, unofficial gateways call.
const TAKEN_FOLDER: &str = "/gateways";

/// No proxy lets much longer ones through.
const PATH_BYTES_MAX: usize = 512;

/// Where the private keys of an encrypted flow are.
#[derive(Clone, Debug)]
pub struct KeyPlaces {
    /// Newest first; those behind the first are its predecessors.
    pub private_keys: Vec<SecretRef>,
    /// What those behind a passphrase are opened with.
    pub passphrase: Option<SecretRef>,
}

/// The flows, and what only some of them have.
#[derive(Default)]
pub(super) struct Declared {
    pub(super) flows: BTreeMap<FlowName, Arc<Flow>>,
    pub(super) keys: BTreeMap<FlowName, KeyPlaces>,
    pub(super) upstreams: BTreeMap<FlowName, UpstreamRule>,
    /// Who is told of their events.
    pub(super) routes: BTreeMap<FlowName, Vec<Route>>,
}

/// Reads `[flows]`. `calendars` and `destinations` are the names under those tables, `folder` is the config's.
pub(super) fn read(root: &Table<'_>, calendars: &[&str], destinations: &[&str], folder: &Path) -> Declared {
    let Some(flows) = root.get("flows") else { return Declared::default() };
    let read = flows.names(|table| {
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        let mut rules: Vec<(String, WebhookRule)> = Vec::new();
        let mut read = Declared::default();
        for item in table.named() {
            let Some(Entry { flow, keys, upstream, routes }) = flow(&item, calendars, destinations, folder) else {
                continue;
            };
            let name = flow.name.to_string();
            if let Some(other) = paths.insert(flow.path.clone(), name.clone()) {
                item.refuse_key(format!("flows `{other}` and `{name}` have the same path, {}", flow.path));
            }
            if let Some((other, _)) =
                rules.iter().find(|(_, rule)| flow.webhook.conditions() > 0 && *rule == flow.webhook)
            {
                let why = "all forms would go to the first by name";
                item.refuse_key(format!("flows `{other}` and `{name}` have the same webhook rule: {why}"));
            }
            if let Some((other, _)) = rules.iter().find(|(_, rule)| flow.webhook.is_default && rule.is_default) {
                let why = "only one flow can take what fits no other";
                item.refuse_key(format!("flows `{other}` and `{name}` both have `webhook = \"default\"`: {why}"));
            }
            rules.push((name, flow.webhook.clone()));
            read.keys.extend(keys.map(|keys| (flow.name.clone(), keys)));
            read.upstreams.extend(upstream.map(|upstream| (flow.name.clone(), upstream)));
            read.routes.insert(flow.name.clone(), routes);
            read.flows.insert(flow.name.clone(), Arc::new(flow));
        }
        read
    });
    read.unwrap_or_default()
}

/// One flow, and what stands in its table beside it.
struct Entry {
    flow: Flow,
    keys: Option<KeyPlaces>,
    upstream: Option<UpstreamRule>,
    routes: Vec<Route>,
}

/// One flow; `None` where it has no name or no path.
fn flow(item: &Item<'_>, calendars: &[&str], destinations: &[&str], folder: &Path) -> Option<Entry> {
    let name = item.parsed_key(FlowName::new);
    item.table(|table| {
        let keys = encryption(table, folder);
        let routes = table.get("deliver").map(|item| deliver::read(&item, destinations, deliver::Kind::Flow));
        let signature = table.get("signature").and_then(|item| item.word(&["required", "none"]));
        let screens = table.get("screens").map(|item| screens::read(&item, calendars)).unwrap_or_default();
        let upstream = upstream::read(table, keys.is_some(), &screens, folder);
        let path = path(table, name.as_ref());
        let flow = Flow {
            encryption: if keys.is_some() { Encryption::Required } else { Encryption::None },
            signature: if signature == Some("none") { SignatureRule::None } else { SignatureRule::Required },
            booking: table
                .table("booking", |booking_table| booking::read(booking_table, calendars, &screens))
                .flatten(),
            lead: table.table("lead", |lead_table| lead::read(lead_table, &screens)).flatten(),
            webhook: table.get("webhook").and_then(|item| webhook::read(&item)).unwrap_or_default(),
            token_signature: token_signature(table, keys.is_some()),
            has_program: upstream.is_some(),
            texts: texts::read(table),
            resubmit: resubmit(table, keys.is_some()),
            abandoned_after: table.length(
                "abandoned_after",
                ABANDONED_AFTER,
                Millis::from_secs(60)..=Millis::from_secs(90 * 24 * 3600),
            ),
            screens,
            name: name?,
            path: path?,
        };
        Some(Entry { flow, keys, upstream, routes: routes.unwrap_or_default() })
    })?
}

/// The keys of an encrypted flow; `None` for a plain one.
fn encryption(table: &Table<'_>, folder: &Path) -> Option<KeyPlaces> {
    let word = table.get("encryption").and_then(|item| item.word(&["none", "required"]));
    let (keys, passphrase) = (table.get("private_keys"), table.get("passphrase"));
    if word != Some("required") {
        for item in [keys, passphrase].into_iter().flatten() {
            item.refuse_key(format!(
                "{}: a flow without `encryption = \"required\"` has no `{}`",
                table.name, item.key
            ));
        }
        return None;
    }
    if keys.is_none() {
        table.refuse("`private_keys` is missing: an encrypted flow needs one, like [\"file:flow_key.pem\"]");
    }
    let keys = keys.and_then(|item| item.some_items()).unwrap_or_default();
    Some(KeyPlaces {
        private_keys: keys.iter().filter_map(|item| secret(item, folder)).collect(),
        passphrase: passphrase.and_then(|item| secret(&item, folder)),
    })
}

fn path(table: &Table<'_>, name: Option<&FlowName>) -> Option<String> {
    if let Some(item) = table.get("path") {
        return item.parsed(check_path).map(str::to_owned);
    }
    let path = format!("/flows/{}", name?);
    if check_path(&path).is_err() {
        table.refuse("`path` is missing, and can't be made of a name that has more than plain letters and digits");
        return None;
    }
    Some(path)
}

/// A path that a URL can carry as it stands, and that nothing else answers.
fn check_path(path: &str) -> Result<&str, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/!$&'()*+,;=:@".contains(c);
    let of_ours = path.strip_prefix(TAKEN_FOLDER).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let problem = if !path.starts_with('/') {
        "must begin with '/', like \"/flows/appointment\"".to_owned()
    } else if path.len() > PATH_BYTES_MAX {
        format!("must have at most {PATH_BYTES_MAX} characters")
    } else if path.contains(['?', '#']) {
        "must be the path alone, without '?' or '#'".to_owned()
    } else if let Some(bad) = path.chars().find(|c| !plain(*c)) {
        format!("may not have {bad:?}: letters, digits and -._~/ are safe")
    } else if path.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..") {
        "may have no empty part, no \".\" and no \"..\" between its slashes, and none behind the last".to_owned()
    } else if TAKEN_PATHS.contains(&path) || of_ours {
        "is answered by the server itself: choose another, like \"/flows/appointment\"".to_owned()
    } else {
        return Ok(path);
    };
    Err(format!("{path:?} {problem}"))
}

/// What comes of a token that was used: only encrypted flows have an answer for that.
fn resubmit(table: &Table<'_>, is_encrypted: bool) -> Resubmit {
    let Some(item) = table.get("resubmit") else { return Resubmit::default() };
    let word = item.word(&["success", "refuse"]);
    if word == Some("refuse") && !is_encrypted {
        item.refuse_key(format!("{}: only a flow with `encryption = \"required\"` can refuse a token", table.name));
    }
    if word == Some("refuse") { Resubmit::Refuse } else { Resubmit::Success }
}

/// Rule for the signatures of tokens, which only encrypted requests carry. `None`: the config has no `token_signature`.
fn token_signature(table: &Table<'_>, is_encrypted: bool) -> Option<TokenSignature> {
    let item = table.get("token_signature")?;
    let word = item.word(&["check", "require", "off"]);
    if word.is_some_and(|word| word != "off") && !is_encrypted {
        let why = "only requests to a flow with `encryption = \"required\"` carry a `flow_token_signature`";
        item.refuse_key(format!("{}: {why}", table.name));
    }
    match word? {
        "require" => Some(TokenSignature::Require),
        "off" => Some(TokenSignature::Off),
        _ => Some(TokenSignature::Check),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused, refused};
    use super::TokenSignature;

    #[test]
    fn only_an_encrypted_flow_can_ask_for_the_signature_of_a_token() {
        let why = "only requests to a flow with `encryption = \"required\"` carry a `flow_token_signature`";
        assert_refused(
            "[flows.form]",
            &[
                ("token_signature = \"require\"", &format!("2:1: flows.form: {why}")),
                (
                    "token_signature = \"required\"",
                    "2:19: flows.form.token_signature: \"required\" is not known here: did you mean `require`?",
                ),
            ],
        );
        let read = |line: &str| {
            let flow = "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:key\"]\n";
            accepted(&format!("{flow}{line}")).flows.values().next().unwrap().token_signature
        };
        for (line, expected) in [
            ("", None),
            ("token_signature = \"check\"", Some(TokenSignature::Check)),
            ("token_signature = \"require\"", Some(TokenSignature::Require)),
            ("token_signature = \"off\"", Some(TokenSignature::Off)),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        accepted("[flows.form]\ntoken_signature = \"off\"");
    }

    #[test]
    fn a_path_is_one_that_a_url_can_carry_and_nothing_else_answers() {
        let ours = "is answered by the server itself: choose another, like \"/flows/appointment\"";
        let parts = "may have no empty part, no \".\" and no \"..\" between its slashes, and none behind the last";
        for (path, why) in [
            ("form", "must begin with '/', like \"/flows/appointment\""),
            ("", "must begin with '/', like \"/flows/appointment\""),
            ("/form?a=b", "must be the path alone, without '?' or '#'"),
            ("/form#top", "must be the path alone, without '?' or '#'"),
            ("/my form", "may not have ' ': letters, digits and -._~/ are safe"),
            ("/%2e%2e", "may not have '%': letters, digits and -._~/ are safe"),
            ("/größe", "may not have 'ö': letters, digits and -._~/ are safe"),
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
            (&format!("/{}", "a".repeat(512)), "must have at most 512 characters"),
        ] {
            let expected = format!("2:8: flows.form.path: {path:?} {why}");
            assert_refused("[flows.form]", &[(&format!("path = {path:?}"), &expected)]);
        }
        for path in ["/webhooks", "/gateways-of-ours", "/a.b/c~d", "/a..b"] {
            accepted(&format!("[flows.form]\npath = {path:?}"));
        }
    }

    #[test]
    fn without_a_path_the_name_is_it_and_no_two_flows_share_one() {
        let config = accepted("[flows.form]");
        assert_eq!(config.flows.values().next().unwrap().path, "/flows/form");
        assert_refused(
            "[flows.\"größe\"]",
            &[(
                "",
                "1:8: flows.größe: `path` is missing, and can't be made of a name that has more than plain letters and digits",
            )],
        );
        assert_refused(
            "[flows.a]\npath = \"/flows/b\"",
            &[("[flows.b]", "3:8: flows `a` and `b` have the same path, /flows/b")],
        );
    }

    #[test]
    fn names_and_words_are_checked() {
        assert_refused(
            "",
            &[
                ("[flows.\"a b\"]", "2:8: flows.a b: flow name may have letters, digits, '-', '_' and '.' only"),
                ("flows = 3", "2:9: flows: must be a table, and is a whole number"),
                ("flows.a = 3", "2:11: flows.a: must be a table, and is a whole number"),
            ],
        );
        assert_refused(
            "[flows.form]",
            &[
                ("paht = \"/a\"", "2:1: unknown key `paht` in flows.form: did you mean `path`?"),
                (
                    "signature = \"optional\"",
                    "2:13: flows.form.signature: \"optional\" is not known here: there are `required`, `none`",
                ),
                (
                    "encryption = \"nope\"",
                    "2:14: flows.form.encryption: \"nope\" is not known here: did you mean `none`?",
                ),
            ],
        );
    }

    #[test]
    fn an_encrypted_flow_has_keys_and_a_plain_one_has_none() {
        assert_refused(
            "[flows.form]",
            &[
                (
                    "encryption = \"required\"",
                    "1:8: flows.form: `private_keys` is missing: an encrypted flow needs one, like [\"file:flow_key.pem\"]",
                ),
                (
                    "private_keys = [\"file:key\"]",
                    "2:1: flows.form: a flow without `encryption = \"required\"` has no `private_keys`",
                ),
            ],
        );
        assert!(refused("[flows.form]\nencryption = \"required\"\nprivate_keys = []").contains("private_keys"));
        assert!(!refused("[flows.form]\nencryption = \"required\"\nprivate_keys = [\"hush\"]").contains("hush"));
        let config = accepted("[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:a\", \"env:B\"]");
        assert_eq!(config.keys.values().next().unwrap().private_keys.len(), 2);
    }
}
