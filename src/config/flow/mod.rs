//! Reads `[flows.NAME]`: private keys, policies and subscriptions of the flows. Two flows must not
//! have the same path or the same flow matcher.
//!
//! The other modules of this folder read the path and the tables of a flow: screens, booking, lead,
//! webhook, texts and upstream. See [`crate::domain::flow`] for the processing of answers.

mod booking;
mod fields;
mod lead;
mod matcher;
mod path;
mod screen_data;
mod screens;
mod texts;
pub(super) mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reader::TableReader;
use super::reader::value::ValueReader;
use super::secrets::SecretRef;
use super::subscriptions::{self, SubscriptionKind};
use super::units::{days, minutes};
use crate::domain::event::subscriptions::Subscription;
use crate::domain::flow::{
    ABANDONED_AFTER, EncryptionMode, Flow, ResubmitPolicy, SignaturePolicy, TokenSignaturePolicy,
};
use crate::domain::ids::FlowName;
use upstream::UpstreamSettings;

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

/// Reads `[flows]`. `calendars` and `destinations` are the names of those tables.
pub(super) fn read(
    root: &TableReader<'_>,
    calendars: &[&str],
    destinations: &[&str],
) -> ParsedFlows {
    let mut parsed = ParsedFlows::default();
    for item in root.named_entries("flows") {
        if let Some(flow) = read_flow(&item, calendars, destinations, &mut parsed) {
            for earlier in parsed.flows.values() {
                check_distinct(&item, earlier, &flow);
            }
            parsed.flows.insert(flow.name.clone(), Arc::new(flow));
        }
    }
    parsed
}

/// Checks that two flows do not take the same requests or messages. `item` has the second flow.
fn check_distinct(item: &ValueReader<'_>, first: &Flow, second: &Flow) {
    let names = format!("flows `{}` and `{}`", first.name, second.name);
    if first.path == second.path {
        item.key_error(format!("{names} have the same path, {}", second.path));
    }
    if second.matcher.condition_count() > 0 && first.matcher == second.matcher {
        item.key_error(format!(
            "{names} have the same webhook matcher: all forms would go to the first flow in \
             alphabetical order"
        ));
    }
    if first.matcher.is_default && second.matcher.is_default {
        item.key_error(format!(
            "{names} both have `webhook = \"default\"`: only one flow can be the default"
        ));
    }
}

/// Reads one flow. Adds the settings that are not in [`Flow`] to `parsed`. Returns `None` if the
/// name or the path is invalid.
fn read_flow(
    item: &ValueReader<'_>,
    calendars: &[&str],
    destinations: &[&str],
    parsed: &mut ParsedFlows,
) -> Option<Flow> {
    let name = item.parse_key(FlowName::new);
    item.read_table(|table| {
        let keys = read_key_sources(table);
        let is_encrypted = keys.is_some();
        let subscriptions = table
            .get("deliver")
            .map(|item| subscriptions::read(&item, destinations, SubscriptionKind::Flow));
        let signature = table.choice(
            "signature",
            [
                ("required", SignaturePolicy::Required),
                ("none", SignaturePolicy::None),
            ],
        );
        let screens = table
            .get("screens")
            .map(|item| screens::read(&item, calendars))
            .unwrap_or_default();
        let upstream = upstream::read(table, is_encrypted, &screens);
        let path = path::read(table, name.as_ref());
        let flow = Flow {
            encryption: if is_encrypted {
                EncryptionMode::Required
            } else {
                EncryptionMode::None
            },
            signature: signature.unwrap_or_default(),
            booking: table
                .read_table("booking", |table| booking::read(table, calendars, &screens))
                .flatten(),
            lead: table
                .read_table("lead", |table| lead::read(table, &screens))
                .flatten(),
            matcher: table.read("webhook", matcher::read).unwrap_or_default(),
            token_signature: read_token_signature(table, is_encrypted),
            has_upstream: upstream.is_some(),
            texts: texts::read(table),
            resubmit: read_resubmit(table, is_encrypted),
            abandoned_after: table.duration(
                "abandoned_after",
                ABANDONED_AFTER,
                minutes(1)..=days(90),
            ),
            screens,
            name: name?,
            path: path?,
        };
        let name = || flow.name.clone();
        parsed.keys.extend(keys.map(|keys| (name(), keys)));
        let upstream = upstream.map(|upstream| (name(), upstream));
        parsed.upstreams.extend(upstream);
        let subscriptions = subscriptions.unwrap_or_default();
        parsed.subscriptions.insert(name(), subscriptions);
        Some(flow)
    })?
}

/// Reads the sources of the private keys. Returns `None` for a flow without encryption.
fn read_key_sources(table: &TableReader<'_>) -> Option<PrivateKeySources> {
    let modes = [("none", false), ("required", true)];
    let is_encrypted = table.choice("encryption", modes).unwrap_or(false);
    let (keys, passphrase) = (table.get("private_keys"), table.get("passphrase"));
    if !is_encrypted {
        for item in [keys, passphrase].into_iter().flatten() {
            table.error_at_key(
                &item,
                format!(
                    "a flow without `encryption = \"required\"` can't have `{}`",
                    item.key
                ),
            );
        }
        return None;
    }
    if keys.is_none() {
        table.error(
            "`private_keys` is missing: an encrypted flow needs one, like [\"file:flow_key.pem\"]",
        );
    }
    let keys = keys.map(|item| item.read_items(ValueReader::secret));
    Some(PrivateKeySources {
        private_keys: keys.unwrap_or_default(),
        passphrase: passphrase.and_then(|item| item.secret()),
    })
}

/// Reads the policy for a flow token that was already used. Only an encrypted flow can refuse such
/// a token.
fn read_resubmit(table: &TableReader<'_>, is_encrypted: bool) -> ResubmitPolicy {
    use ResubmitPolicy::{Refuse, Success};
    let item = table.get("resubmit");
    let policy = item
        .as_ref()
        .and_then(|item| item.choice([("success", Success), ("refuse", Refuse)]))
        .unwrap_or_default();
    if let Some(item) = item.filter(|_| policy == Refuse && !is_encrypted) {
        table.error_at_key(
            &item,
            "only a flow with `encryption = \"required\"` can refuse a token",
        );
    }
    policy
}

/// Reads the policy for the signatures of flow tokens. Only encrypted requests have these
/// signatures. `None`: the config has no `token_signature`.
fn read_token_signature(
    table: &TableReader<'_>,
    is_encrypted: bool,
) -> Option<TokenSignaturePolicy> {
    use TokenSignaturePolicy::{Check, Off, Require};
    let item = table.get("token_signature")?;
    let policy = item.choice([("check", Check), ("require", Require), ("off", Off)])?;
    if policy != Off && !is_encrypted {
        table.error_at_key(
            &item,
            "only requests to a flow with `encryption = \"required\"` carry a `flow_token_signature`",
        );
    }
    Some(policy)
}

#[cfg(test)]
mod tests {
    use super::TokenSignaturePolicy::{Check, Off, Require};
    use crate::config::tests::{assert_errors, error_of, parse_flow, parse_valid};

    const ENCRYPTED: &str = "[flows.form]\nencryption = \"required\"\n";

    #[test]
    fn token_signature_requires_encryption() {
        assert_errors(
            "[flows.form]",
            r#"
            token_signature = "require"
            => 2:1: flows.form: only requests to a flow with `encryption = "required"` carry a `flow_token_signature`
            token_signature = "required"
            => 2:19: flows.form.token_signature: "required" is not a valid value: did you mean `require`?
            "#,
        );
        for (line, expected) in [
            ("", None),
            ("token_signature = \"check\"", Some(Check)),
            ("token_signature = \"require\"", Some(Require)),
            ("token_signature = \"off\"", Some(Off)),
        ] {
            let flow = parse_flow(&format!("{ENCRYPTED}private_keys = [\"file:key\"]\n{line}"));
            assert_eq!(flow.token_signature, expected, "{line}");
        }
        parse_valid("[flows.form]\ntoken_signature = \"off\"");
    }

    #[test]
    fn flow_names_and_keys_are_checked() {
        assert_errors(
            "",
            r#"
            [flows."a b"]
            => 2:8: flows.a b: flow name may have letters, digits, '-', '_' and '.' only
            flows = 3
            => 2:9: flows: must be a table, and is a whole number
            flows.a = 3
            => 2:11: flows.a: must be a table, and is a whole number
            "#,
        );
        assert_errors(
            "[flows.form]",
            r#"
            paht = "/a"
            => 2:1: unknown key `paht` in flows.form: did you mean `path`?
            signature = "optional"
            => 2:13: flows.form.signature: "optional" is not a valid value: expected one of `required`, `none`
            encryption = "nope"
            => 2:14: flows.form.encryption: "nope" is not a valid value: did you mean `none`?
            "#,
        );
    }

    #[test]
    fn private_keys_only_for_encrypted_flow() {
        assert_errors(
            "[flows.form]",
            r#"
            encryption = "required"
            => 1:8: flows.form: `private_keys` is missing: an encrypted flow needs one, like ["file:flow_key.pem"]
            private_keys = ["file:key"]
            => 2:1: flows.form: a flow without `encryption = "required"` can't have `private_keys`
            "#,
        );
        assert!(error_of(&format!("{ENCRYPTED}private_keys = []")).contains("private_keys"));
        assert!(!error_of(&format!("{ENCRYPTED}private_keys = [\"hush\"]")).contains("hush"));
        let config = parse_valid(&format!(
            "{ENCRYPTED}private_keys = [\"file:a\", \"env:B\"]"
        ));
        let sources = config.private_keys.values().next().unwrap();
        assert_eq!(sources.private_keys.len(), 2);
    }
}
