//! Warns about settings that are valid but risky. The code that reads a setting refuses what is
//! invalid.

use std::fmt::Display;

use super::Config;
use super::destination::unsent;
use super::flow::upstream;
use super::secrets::SecretRef;
use super::settings::BackupLocation;
use super::units::{days, format_duration, hours};
use crate::domain::flow::cross_screen::required_by_final_screen;
use crate::domain::flow::{EncryptionMode, Flow, SignaturePolicy};
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::Millis;

/// Time that WhatsApp waits for a response (*Implementing Endpoint for Flows*).
const WHATSAPP_TIMEOUT: Millis = Millis::from_secs(10);

/// Minimum `limits.header_timeout` without a warning. A shorter timeout rejects senders that are
/// only slow.
const HEADER_TIMEOUT_MIN: Millis = Millis::from_secs(1);

/// Minimum `limits.idle_timeout` without a warning. A shorter timeout closes connections that
/// proxies try to reuse.
const IDLE_TIMEOUT_MIN: Millis = Millis::from_secs(10);

/// Minimum `retention.idempotency_ttl` without a warning. With a shorter time, a form that a client
/// sends again is accepted twice.
const IDEMPOTENCY_TTL_MIN: Millis = hours(1);

/// Time for which Meta resends a webhook.
const META_RETRY_PERIOD: Millis = days(7);

impl Config {
    /// Returns the warnings about settings that are valid but risky, one sentence each. The
    /// warnings never contain a secret.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.secret_warnings();
        for (flow, upstream) in &self.upstreams {
            if let Some(settings) = self.flows.get(flow) {
                let found = upstream::warnings(upstream, settings, self.limits.request_timeout);
                warnings.extend(labelled(format!("flow {flow}"), found));
            }
        }
        warnings.extend(self.destination_warnings());
        for (name, gateway) in &self.gateways {
            warnings.extend(labelled(format!("gateway {name}"), gateway.warnings()));
        }
        warnings.extend(self.missing_alert_warnings());
        warnings.extend(self.flow_warnings());
        warnings.extend(self.reachability_warnings());
        warnings.extend(self.duration_warnings());
        warnings
    }

    /// Returns the warnings about secrets in the config itself.
    fn secret_warnings(&self) -> Vec<String> {
        let meta = &self.meta;
        // An unset variable or credential gives no warning here, because a server needs no access
        // token.
        let access_token = Some(&meta.access_token)
            .filter(|token| !matches!(token, SecretRef::Env(_) | SecretRef::Credential(_)));
        let app_secrets = meta.app_secrets.iter();
        let secrets = app_secrets
            .map(|secret| ("meta.app_secrets", secret))
            .chain([("meta.verify_token", &meta.verify_token)])
            .chain(access_token.map(|token| ("meta.access_token", token)));
        let meta = secrets.filter_map(|(key, secret)| secret.labelled_warning(key));
        let keys = self.private_keys.iter().flat_map(|(flow, sources)| {
            let secrets = sources.private_keys.iter().chain(&sources.passphrase);
            let warnings = secrets.filter_map(SecretRef::warning);
            labelled(format!("flow {flow}"), warnings)
        });
        // An unset variable is an error of the start, not a warning.
        let close_secrets = self.leads.close_secrets.iter();
        let close_secrets = close_secrets
            .filter(|secret| !matches!(secret, SecretRef::Env(_)))
            .flat_map(|secret| labelled("leads.close_secrets".to_owned(), secret.warning()));
        let s3 = &self.backup.s3;
        let is_bucket = matches!(self.backup.location, Some(BackupLocation::Bucket { .. }));
        let s3 = [
            ("access_key_id", &s3.access_key_id),
            ("secret_access_key", &s3.secret_access_key),
        ];
        let s3 = s3.into_iter().filter(|_| is_bucket);
        let s3 = s3.flat_map(|(key, secret)| labelled(format!("backup.{key}"), secret.warning()));
        meta.chain(keys).chain(close_secrets).chain(s3).collect()
    }

    /// Returns the warnings about destinations and about events that no destination gets.
    fn destination_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let flows = self.subscriptions.flows.values();
        let routes = flows.chain([&self.subscriptions.alerts]).flatten();
        for (name, destination) in &self.destinations {
            let subject = format!("destination {name}");
            warnings.extend(labelled(subject, destination.warnings()));
            if !routes.clone().any(|route| route.destination == *name) {
                warnings.push(format!(
                    "destination {name} gets no events: add it to `deliver` of a flow, or to `alerts`"
                ));
            }
        }
        warnings.extend(unsent::warnings(self));
        warnings
    }

    /// Returns the warnings about alerts that no destination gets.
    fn missing_alert_warnings(&self) -> impl Iterator<Item = String> {
        let (delivery, session) = (
            "a delivery becomes a dead letter or a destination is stopped",
            "a gateway's session drops or needs a person",
        );
        let is_missing = self.subscriptions.alerts.is_empty();
        [
            (!self.destinations.is_empty(), delivery),
            (!self.gateways.is_empty(), session),
        ]
        .into_iter()
        .filter(move |(is_possible, _)| is_missing && *is_possible)
        .map(|(_, event)| format!("no alert is sent when {event}: name a destination in `alerts`"))
    }

    /// Returns the warnings about single flows.
    fn flow_warnings(&self) -> impl Iterator<Item = String> {
        let flows = || self.flows.values().map(|flow| &**flow);
        let unsigned = flows().filter(|flow| flow.signature == SignaturePolicy::None);
        let unsigned = unsigned.map(|flow| {
            format!(
                "flow {} accepts forms without a signature: anybody who can reach it can send forms",
                flow.name
            )
        });
        unsigned.chain(flows().flat_map(reserved_name_warnings))
    }

    /// Returns the warnings about listeners and flows that anybody or nobody can reach.
    fn reachability_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.admin_listen.ip().is_loopback() {
            warnings.push(format!(
                "admin_listen {} is open to other machines, and requires no authentication",
                self.admin_listen
            ));
        }
        if self.flows.is_empty() {
            warnings.push("no flow is configured, so no form can be received".to_owned());
        }
        let mut matchers = self.flows.values().map(|flow| &flow.matcher);
        if self.flows.len() > 1 && !matchers.clone().any(|matcher| matcher.is_default) {
            let affected = if matchers.all(|matcher| matcher.condition_count() == 0) {
                format!(
                    "none of the {} flows has a `webhook` matcher: forms that",
                    self.flows.len()
                )
            } else {
                "no flow has `webhook = \"default\"`: forms that match no flow's `webhook` and"
                    .to_owned()
            };
            warnings.push(format!(
                "{affected} come through /webhook become dead letters: set `webhook = \"default\"` \
                 in the flow that must receive them"
            ));
        }
        warnings
    }

    /// Returns the warnings about durations that are valid but probably not intended.
    fn duration_warnings(&self) -> impl Iterator<Item = String> {
        let (limits, retention) = (&self.limits, &self.retention);
        [
            (
                retention.message_id_ttl < META_RETRY_PERIOD,
                "retention.message_id_ttl",
                retention.message_id_ttl,
                ", but Meta resends messages for 7d, so forms could be stored twice: set it to 7d or more",
            ),
            (
                limits.request_timeout > WHATSAPP_TIMEOUT,
                "limits.request_timeout",
                limits.request_timeout,
                ", but WhatsApp waits for 10s: a later response is discarded",
            ),
            (
                limits.header_timeout < HEADER_TIMEOUT_MIN,
                "limits.header_timeout",
                limits.header_timeout,
                ": slow senders get 408",
            ),
            (
                limits.idle_timeout < IDLE_TIMEOUT_MIN,
                "limits.idle_timeout",
                limits.idle_timeout,
                ": a proxy with a longer keep-alive time uses closed connections, and its clients get 502",
            ),
            (
                retention.idempotency_ttl < IDEMPOTENCY_TTL_MIN,
                "retention.idempotency_ttl",
                retention.idempotency_ttl,
                ": a form that is sent again after that counts as a new one",
            ),
        ]
        .into_iter()
        .filter(|(is_risky, ..)| *is_risky)
        .map(|(_, key, length, effect)| format!("{key} is {}{effect}", format_duration(length)))
    }
}

/// Returns the warnings with `subject` before each.
fn labelled(
    subject: impl Display,
    warnings: impl IntoIterator<Item = String>,
) -> impl Iterator<Item = String> {
    let warnings = warnings.into_iter();
    warnings.map(move |warning| format!("{subject}: {warning}"))
}

/// Returns the warnings about data that encrypted requests lack and that the flow needs. A Flow
/// JSON may add the data, but the config has no Flow JSON.
pub(super) fn token_warnings(flow: &Flow) -> Vec<String> {
    if flow.encryption != EncryptionMode::Required {
        return Vec::new();
    }
    let sticky = flow.lead.as_ref().filter(|lead| lead.is_sticky).map(|_| {
        "lead.sticky: encrypted requests do not contain the customer, but the messages after them \
         do: subscribe Meta's app to `messages`, so that they come to /webhook"
            .to_owned()
    });
    let screens = flow.screens.iter();
    let mut final_screens = screens.filter(|screen| screen.is_final && !flow.has_upstream);
    let missing = final_screens.find_map(|screen| {
        let field = required_by_final_screen(flow, screen).into_iter().next()?;
        let from = if field.screen.name == screen.name {
            String::new()
        } else {
            format!(" of {}", field.screen.name)
        };
        Some(format!(
            "a form whose message has no flow_token of its own has `{}`{from} only if {} resends it: \
             set a flow_token in each message, or check the Flow JSON with `flowgate flows check`",
            field.name, screen.name
        ))
    });
    let warnings = sticky.into_iter().chain(missing);
    labelled(format!("flow {}", flow.name), warnings).collect()
}

/// Returns the warnings about fields that have the same name as a field of an error notification.
/// Only these names distinguish an error notification of a client from a form.
fn reserved_name_warnings(flow: &Flow) -> impl Iterator<Item = String> {
    let is_encrypted = flow.encryption == EncryptionMode::Required;
    let screens = flow.screens.iter().filter(move |_| is_encrypted);
    let fields = screens.flat_map(|screen| screen.fields.iter().map(move |field| (screen, field)));
    fields
        .filter(|(_, field)| FlowError::DATA_KEYS.contains(&field.name.as_str()))
        .map(|(screen, field)| {
            format!(
                "flow {}: screen {} has a field {:?}, a name that error notifications of phones \
                 also use: a notification from this screen is mistaken for a form: rename the field",
                flow.name, screen.name, field.name
            )
        })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse_valid;
    use crate::domain::time::Timestamp;

    #[test]
    fn encrypted_flow_without_token_gets_warning() {
        let config = |screens: &str, more: &str| {
            let head = "[calendars.chair]\ntimezone = \"UTC\"\nslot_length = \"1h\"\nhours = { mon = [\"09:00-17:00\"] }\n[flows.form]\n";
            let booking = "booking = { calendar = \"chair\", date = \"slot\", time = \"slot\" }";
            parse_valid(&format!("{head}{booking}\nscreens = [{screens}]\n{more}"))
                .summary(Timestamp::ZERO)
                .warnings
        };
        let is_warned = |warnings: Vec<String>| {
            let expected = "flow form: a form whose message has no flow_token of its own has `slot` of PICK only if LAST resends it";
            warnings.iter().any(|warning| warning.starts_with(expected))
        };
        let encrypted = "encryption = \"required\"\nprivate_keys = [\"file:key\"]";
        let (pick, last) = (
            "{ name = \"PICK\", fields = { slot = {} } }",
            "{ name = \"LAST\", final = true }",
        );
        assert!(is_warned(config(&format!("{pick}, {last}"), encrypted)));
        assert!(
            !is_warned(config(&format!("{pick}, {last}"), "")),
            "a plain sender without a token is refused at once"
        );
        let has_it = last.replace("true", "true, fields = { slot = {} }");
        assert!(!is_warned(config(&format!("{pick}, {has_it}"), encrypted)));
        let program = "upstream = { url = \"http://[::1]\", secret = \"text:x\" }";
        assert!(!is_warned(config(
            &format!("{pick}, {last}"),
            &format!("{encrypted}\n{program}")
        )));

        let sticky = |more: &str| {
            let lead = "lead = { team = \"a\", sticky = true }";
            let expected = "flow form: lead.sticky: encrypted requests do not contain the customer";
            let warnings = config(&has_it, &format!("{lead}\n{more}"));
            warnings.iter().any(|warning| warning.starts_with(expected))
        };
        assert!(sticky(encrypted) && !sticky(""));
    }
}
