//! `[flows.NAME.upstream]`: the owner's own program, on this machine, that says what an encrypted flow shows next.
//!
//! Asking it is `crate::http`'s, reading its secret is `crate::cli`'s.

use std::path::Path;

use hyper::Uri;
use hyper::http::uri::Scheme;

use super::nearest::hint;
use super::raw::Table;
use super::secrets::SecretRef;
use super::settings::secret;
use super::units;
use crate::domain::address::is_this_machine;
use crate::domain::breaker::BreakerRule;
use crate::domain::flow::{Flow, Screen};
use crate::domain::time::Millis;

/// What is left of a request's time (`limits.request`) for the writer and the seal once its program has been asked.
pub const RESERVE: Millis = Millis::new(500);

/// How a flow's program is asked.
#[derive(Clone, Debug)]
pub struct UpstreamRule {
    /// Where: `http://`, and a host that is this machine.
    pub url: Uri,
    /// What requests are signed with: a Standard Webhooks secret.
    pub secret: SecretRef,
    /// How long one answer may take. Default 4 s, up to 8 s: Meta waits ten for ours.
    pub timeout: Millis,
    /// What users see where there is no answer.
    pub fallback: Fallback,
    /// When it is left alone. Default: for 10 s after 5 failures in a row.
    pub breaker: BreakerRule,
}

/// What users see where the program gives no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The screen; `None`: the one they are on.
    pub screen: Option<String>,
    /// The text of its error bar; `None`: the flow's own.
    pub message: Option<String>,
}

impl UpstreamRule {
    /// What should be known of it, where a request has `request` from its head to its answer and `flow` is asked about. One
    /// sentence each.
    pub(super) fn notes(&self, flow: &Flow, request: Millis) -> Vec<String> {
        let mut notes: Vec<String> =
            self.secret.note().map(|note| format!("upstream.secret: {note}")).into_iter().collect();
        let left = request.get().saturating_sub(RESERVE.get());
        if self.timeout.get() >= left {
            let (timeout, left) = (units::show_length(self.timeout), units::show_length(Millis::new(left)));
            notes.push(format!(
                "upstream.timeout is {timeout}, but limits.request leaves its program less than {left}: one that hangs is \
                 never left alone"
            ));
        }
        if flow.screens.is_empty() && self.fallback.screen.is_none() {
            notes.push(
                "who opens it while its program gives no answer sees an error of WhatsApp's: name a screen in \
                 upstream.fallback"
                    .to_owned(),
            );
        }
        notes
    }
}

/// Reads `upstream` of the flow that `flow` is, whose `screens` were read before. `folder` is the config's.
pub(super) fn read(flow: &Table<'_>, encrypted: bool, screens: &[Screen], folder: &Path) -> Option<UpstreamRule> {
    let item = flow.get("upstream")?;
    if !encrypted {
        item.refuse_key(format!("{}: a flow without `encryption = \"required\"` has no `upstream`", flow.name));
        return None;
    }
    item.table(|table| {
        let url = table.need("url").and_then(|item| item.parsed(url));
        let secret = table.need("secret").and_then(|item| secret(&item, folder));
        let timeout = table.length("timeout", Millis::new(4000), Millis::new(100)..=Millis::new(8000));
        let fallback = table.table("fallback", |table| fallback(table, screens));
        let breaker = table.table("breaker", breaker);
        Some(UpstreamRule {
            url: url?,
            secret: secret?,
            timeout,
            fallback: fallback.unwrap_or_else(|| Table::empty(|table| self::fallback(table, screens))),
            breaker: breaker.unwrap_or_else(|| Table::empty(self::breaker)),
        })
    })?
}

fn fallback(table: &Table<'_>, screens: &[Screen]) -> Fallback {
    let screen = table.get("screen").and_then(|item| {
        let name = item.some_text()?;
        let names = || screens.iter().map(|screen| screen.name.as_str());
        if !screens.is_empty() && !names().any(|known| known == name) {
            item.refuse(format!("there is no screen {name:?}{}", hint(name, names())));
        }
        Some(name.to_owned())
    });
    let message = table.get("message").and_then(|item| item.some_text());
    Fallback { screen, message: message.map(str::to_owned) }
}

fn breaker(table: &Table<'_>) -> BreakerRule {
    BreakerRule {
        failures: table.count("failures", 5, 1..=1000),
        pause: table.length("pause", Millis::from_secs(10), Millis::new(100)..=Millis::from_secs(600)),
    }
}

/// A URL of a program on this machine. It is not repeated where it is refused: a password may stand in it.
fn url(text: &str) -> Result<Uri, &'static str> {
    let Some((uri, authority)) =
        text.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned().map(|authority| (uri, authority)))
    else {
        return Err("is no URL: write one like \"http://127.0.0.1:3000/flow\"");
    };
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host);
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err("must begin with \"http://\": on the way to a program on this machine nothing needs encryption");
    }
    if authority.as_str().contains('@') {
        return Err("may have no user and no password: requests are signed with `secret`");
    }
    if text.contains('#') {
        return Err("may have no '#': what follows it is never sent");
    }
    if !is_this_machine(host) {
        return Err(
            "must name this machine: 127.0.0.1, [::1] or localhost. What is asked has been decrypted, and goes nowhere else",
        );
    }
    if port != Some("") && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is none: write one from 1 to 65535");
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused, refused};
    use super::*;
    use crate::domain::time::Timestamp;

    const FLOW: &str = "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:key\"]\n\
        screens = [{ name = \"ONE\" }, { name = \"TWO\", final = true }]\n[flows.form.upstream]";

    fn rule(table: &str) -> UpstreamRule {
        accepted(&format!("{FLOW}\n{table}")).upstreams.into_values().next().unwrap()
    }

    #[test]
    fn a_program_has_an_address_and_a_secret_and_the_rest_has_defaults() {
        let rule = rule("url = \"http://localhost:3000/flow?a=b\"\nsecret = \"env:SECRET\"");
        assert_eq!(rule.url, "http://localhost:3000/flow?a=b");
        assert!(matches!(&rule.secret, SecretRef::Env(name) if name == "SECRET"));
        assert_eq!(rule.timeout, Millis::new(4000));
        assert_eq!(rule.breaker, BreakerRule { failures: 5, pause: Millis::from_secs(10) });
        assert_eq!(rule.fallback, Fallback { screen: None, message: None });
    }

    #[test]
    fn all_that_can_be_set_is_set() {
        let rule = rule(
            "url = \"http://[::1]\"\nsecret = \"file:s\"\ntimeout = \"100ms\"\n\
             fallback = { screen = \"ONE\", message = \"Later.\" }\nbreaker = { failures = 1, pause = \"10m\" }",
        );
        assert_eq!((rule.timeout, rule.breaker.failures, rule.breaker.pause.get()), (Millis::new(100), 1, 600_000));
        assert_eq!(rule.fallback, Fallback { screen: Some("ONE".to_owned()), message: Some("Later.".to_owned()) });
    }

    #[test]
    fn what_is_decrypted_stays_on_this_machine() {
        let good = ["http://127.0.0.1", "http://127.9.9.9:1/x", "http://[::1]:65535/", "http://LOCALHOST:80/a/b"];
        for good in good {
            assert!(url(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "is no URL"),
            ("/flow", "is no URL"),
            ("http://", "is no URL"),
            ("http://127.0.0.1/ä ", "is no URL"),
            ("127.0.0.1:3000", "begin with \"http://\""),
            ("https://127.0.0.1/", "begin with \"http://\""),
            ("unix://localhost/run/x", "begin with \"http://\""),
            ("http://ann:hush@127.0.0.1/", "no user"),
            ("http://127.0.0.1/#top", "no '#'"),
            ("http://10.0.0.1/", "this machine"),
            ("http://0.0.0.0/", "this machine"),
            ("http://[::]/", "this machine"),
            ("http://127.1/", "this machine"),
            ("http://localhost.example/", "this machine"),
            ("http://127.0.0.1.example/", "this machine"),
            ("http://127.0.0.1:0/", "a port"),
            ("http://127.0.0.1:65536/", "a port"),
            ("http://127.0.0.1:/", "a port"),
        ] {
            let said = url(bad).unwrap_err();
            assert!(said.contains(why) && !said.contains("hush"), "{bad}: {said}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_said_with_its_place() {
        assert_refused(
            FLOW,
            &[
                (
                    "",
                    "5:13: flows.form.upstream: `url` is missing\nconfig.toml:5:13: flows.form.upstream: `secret` is missing",
                ),
                (
                    "url = \"http://[::1]\"\nsecret = \"text:x\"\ntimeout = \"9s\"",
                    "8:11: flows.form.upstream.timeout: must be from 100ms to 8s, and is 9s",
                ),
                (
                    "url = \"http://[::1]\"\nsecret = \"text:x\"\nfallback = { screen = \"OEN\" }",
                    "8:23: flows.form.upstream.fallback.screen: there is no screen \"OEN\": did you mean `ONE`?",
                ),
                (
                    "url = \"http://[::1]\"\nsecret = \"text:x\"\nfallback = { message = \"\" }",
                    "8:24: flows.form.upstream.fallback.message: is empty",
                ),
                (
                    "url = \"http://[::1]\"\nsecret = \"text:x\"\nbreaker = { failures = 0, puase = \"1s\" }",
                    "8:24: flows.form.upstream.breaker.failures: must be from 1 to 1000, and is 0\n\
                     config.toml:8:27: unknown key `puase` in flows.form.upstream.breaker: did you mean `pause`?",
                ),
                (
                    "url = \"http://[::1]\"\nsecret = \"text:x\"\nbreaker = { pause = \"1h\" }",
                    "8:21: flows.form.upstream.breaker.pause: must be from 100ms to 10m, and is 1h",
                ),
            ],
        );
        let hidden = refused(&format!("{FLOW}\nurl = \"http://[::1]\"\nsecret = \"hush\""));
        assert!(hidden.contains("flows.form.upstream.secret: ") && !hidden.contains("hush"), "{hidden}");
        let table = refused(
            "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:a\"]\nupstream = \"http://[::1]\"",
        );
        assert!(table.ends_with("4:12: flows.form.upstream: must be a table, and is a text"), "{table}");
    }

    #[test]
    fn the_summary_shows_where_the_program_is_and_what_is_wrong_with_its_secret() {
        let config =
            accepted(&format!("{FLOW}\nurl = \"http://[::1]:3000/flow\"\nsecret = \"env:FLOWGATE_TEST_NOT_SET\""));
        let summary = config.summary(Timestamp::ZERO).to_string();
        assert!(summary.contains("\n  asks          http://[::1]:3000/flow\n"), "{summary}");
        let note = "note: flow form: upstream.secret: the environment variable FLOWGATE_TEST_NOT_SET is not set";
        assert!(summary.contains(note), "{summary}");
        assert!(!accepted("[flows.form]").summary(Timestamp::ZERO).to_string().contains("asks"));
    }

    #[test]
    fn what_its_owner_would_find_out_too_late_is_noted() {
        let notes = |config: &str| accepted(config).notes();
        let upstream = "url = \"http://[::1]\"\nsecret = \"text:x\"";
        let quiet = notes(&format!("{FLOW}\n{upstream}\ntimeout = \"8s\""));
        assert!(!quiet.iter().any(|note| note.contains("left alone") || note.contains("fallback")), "{quiet:?}");
        let hurried = notes(&format!("limits = {{ request = \"4500ms\" }}\n{FLOW}\n{upstream}"));
        let expected = "flow form: upstream.timeout is 4s, but limits.request leaves its program less than 4s: one that \
                        hangs is never left alone";
        assert!(hurried.iter().any(|note| note == expected), "{hurried:?}");
        let blank = FLOW.replace("screens = [{ name = \"ONE\" }, { name = \"TWO\", final = true }]", "");
        let told = |notes: &[String]| notes.iter().any(|note| note.contains("name a screen in upstream.fallback"));
        assert!(told(&notes(&format!("{blank}\n{upstream}"))));
        assert!(!told(&notes(&format!("{blank}\n{upstream}\nfallback = {{ screen = \"ANY\" }}"))));
    }

    #[test]
    fn only_an_encrypted_flow_has_one_and_without_declared_screens_any_can_be_the_fallback() {
        assert_refused(
            "[flows.form]",
            &[(
                "upstream = { url = \"http://[::1]\", secret = \"text:x\" }",
                "2:1: flows.form: a flow without `encryption = \"required\"` has no `upstream`",
            )],
        );
        accepted(
            "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:a\"]\n[flows.form.upstream]\n\
             url = \"http://[::1]\"\nsecret = \"text:x\"\nfallback = { screen = \"ANY\" }",
        );
    }
}
