//! Reads `[flows.NAME.upstream]`: the owner's own program that decides what an encrypted flow
//! shows. The program must run on this machine.
//!
//! See [`crate::http`] for the requests to the upstream, and [`crate::bootstrap`] for its secret.

use hyper::Uri;
use hyper::http::uri::Scheme;

use crate::config::destination::policy::read_breaker;
use crate::config::destination::webhook::{check_port, split_url};
use crate::config::reader::TableReader;
use crate::config::secrets::SecretRef;
use crate::config::units::{format_duration, minutes};
use crate::domain::circuit_breaker::BreakerPolicy;
use crate::domain::flow::{Flow, Screen};
use crate::domain::ip_range::is_loopback_host;
use crate::domain::time::Millis;

/// Part of `limits.request_timeout` that is reserved for the writer and the encryption, after the
/// response of the upstream.
pub const WRITER_RESERVE: Millis = Millis::new(500);

/// Settings of the requests to the upstream of a flow.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// URL of the upstream: `http://`, and a host that is this machine.
    pub url: Uri,
    /// Secret that signs the requests (*Standard Webhooks*).
    pub secret: SecretRef,
    /// Maximum time for one response. Default 4 s. Maximum 8 s, because Meta waits ten seconds for
    /// our response.
    pub timeout: Millis,
    /// Screen and message for the customer if the upstream gives no response.
    pub fallback: UpstreamFallback,
    /// Policy of the circuit breaker. Default: open for 10 s after 5 failures in a row.
    pub breaker: BreakerPolicy,
}

/// Screen and message for the customer if the upstream gives no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFallback {
    /// Screen to show. `None`: the current screen of the customer.
    pub screen: Option<String>,
    /// Text of the error bar on that screen. `None`: the default text of the flow.
    pub message: Option<String>,
}

/// Returns the warnings about the upstream, one sentence each. `request_timeout` is the maximum
/// time of a whole request to `flow`.
pub fn warnings(upstream: &UpstreamSettings, flow: &Flow, request_timeout: Millis) -> Vec<String> {
    let secret_warning = upstream.secret.labelled_warning("upstream.secret");
    let mut warnings = Vec::from_iter(secret_warning);
    let remaining = request_timeout.get().saturating_sub(WRITER_RESERVE.get());
    if upstream.timeout.get() >= remaining {
        let [timeout, remaining] = [upstream.timeout, Millis::new(remaining)].map(format_duration);
        warnings.push(format!(
            "upstream.timeout is {timeout}, but limits.request_timeout leaves the upstream less than \
             {remaining}: the circuit breaker never opens on timeouts"
        ));
    }
    if flow.screens.is_empty() && upstream.fallback.screen.is_none() {
        warnings.push(
            "if the upstream does not respond, opening this flow shows WhatsApp's generic error: set \
             upstream.fallback.screen"
                .to_owned(),
        );
    }
    warnings
}

/// Reads `upstream` of a flow. `flow` is the table of the flow, and `screens` are its screens.
pub fn read(
    flow: &TableReader<'_>,
    encrypted: bool,
    screens: &[Screen],
) -> Option<UpstreamSettings> {
    let item = flow.get("upstream")?;
    if !encrypted {
        flow.error_at_key(
            &item,
            "a flow without `encryption = \"required\"` can't have `upstream`",
        );
        return None;
    }
    item.read_table(|table| {
        let url = table.require_parsed("url", parse_upstream_url);
        let secret = table.require_secret("secret");
        let timeouts = Millis::new(100)..=Millis::from_secs(8);
        Some(UpstreamSettings {
            timeout: table.duration("timeout", Millis::from_secs(4), timeouts),
            fallback: table.read_table_or_empty("fallback", |table| read_fallback(table, screens)),
            breaker: read_breaker(table, Millis::from_secs(10), minutes(10)),
            url: url?,
            secret: secret?,
        })
    })?
}

fn read_fallback(table: &TableReader<'_>, screens: &[Screen]) -> UpstreamFallback {
    let names: Vec<&str> = screens.iter().map(|screen| screen.name.as_str()).collect();
    let screen = table.get("screen").and_then(|item| {
        let name = item.non_empty_text()?;
        // A flow without screens may show any.
        if !names.is_empty() {
            item.known_name("screen", &names);
        }
        Some(name.to_owned())
    });
    UpstreamFallback {
        screen,
        message: table.text("message"),
    }
}

/// Parses the URL of an upstream on this machine. Error messages never contain the URL, because a
/// URL may contain a password.
fn parse_upstream_url(text: &str) -> Result<Uri, &'static str> {
    let Some((uri, authority)) = split_url(text) else {
        return Err("is not a valid URL: write one like \"http://127.0.0.1:3000/flow\"");
    };
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(
            "must begin with \"http://\": the upstream runs on this machine, so it needs no encryption",
        );
    }
    if authority.as_str().contains('@') {
        return Err("must not contain a user or a password: requests are signed with `secret`");
    }
    if text.contains('#') {
        return Err("must not contain '#': the part after it is never sent");
    }
    if !is_loopback_host(authority.host()) {
        return Err(
            "must name this machine: 127.0.0.1, [::1] or localhost. Its requests are decrypted and must not leave this machine",
        );
    }
    check_port(&authority).map(|()| uri)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_errors, error_of, parse_valid};
    use crate::domain::time::Timestamp;

    const FLOW: &str = "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:key\"]\n\
        screens = [{ name = \"ONE\" }, { name = \"TWO\", final = true }]\n[flows.form.upstream]";

    fn upstream_from(table: &str) -> UpstreamSettings {
        let upstreams = parse_valid(&format!("{FLOW}\n{table}")).upstreams;
        upstreams.into_values().next().unwrap()
    }

    #[test]
    fn upstream_requires_url_and_secret_and_has_defaults() {
        let settings =
            upstream_from("url = \"http://localhost:3000/flow?a=b\"\nsecret = \"env:SECRET\"");
        assert_eq!(settings.url, "http://localhost:3000/flow?a=b");
        assert!(matches!(&settings.secret, SecretRef::Env(name) if name == "SECRET"));
        let breaker = settings.breaker;
        let times = [settings.timeout, breaker.open_for].map(Millis::get);
        assert_eq!((times, breaker.failure_threshold), ([4000, 10_000], 5));
        let fallback = settings.fallback;
        assert_eq!((fallback.screen, fallback.message), (None, None));
    }

    #[test]
    fn every_upstream_setting_is_read() {
        let settings = upstream_from(
            "url = \"http://[::1]\"\nsecret = \"file:s\"\ntimeout = \"100ms\"\n\
             fallback = { screen = \"ONE\", message = \"Later.\" }\nbreaker = { failure_threshold = 1, open_for = \"10m\" }",
        );
        let breaker = settings.breaker;
        let times = [settings.timeout, breaker.open_for].map(Millis::get);
        assert_eq!((times, breaker.failure_threshold), ([100, 600_000], 1));
        let expected = UpstreamFallback {
            screen: Some("ONE".to_owned()),
            message: Some("Later.".to_owned()),
        };
        assert_eq!(settings.fallback, expected);
    }

    #[test]
    fn upstream_url_must_be_loopback() {
        let good = [
            "http://127.0.0.1",
            "http://127.9.9.9:1/x",
            "http://[::1]:65535/",
            "http://LOCALHOST:80/a/b",
        ];
        for good in good {
            assert!(parse_upstream_url(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "is not a valid URL"),
            ("/flow", "is not a valid URL"),
            ("http://", "is not a valid URL"),
            ("http://127.0.0.1/ä ", "is not a valid URL"),
            ("127.0.0.1:3000", "begin with \"http://\""),
            ("https://127.0.0.1/", "begin with \"http://\""),
            ("unix://localhost/run/x", "begin with \"http://\""),
            ("http://ann:hush@127.0.0.1/", "a user"),
            ("http://127.0.0.1/#top", "not contain '#'"),
            ("http://10.0.0.1/", "this machine"),
            ("http://0.0.0.0/", "this machine"),
            ("http://[::]/", "this machine"),
            ("http://127.1/", "this machine"),
            ("http://localhost.example/", "this machine"),
            ("http://127.0.0.1.example/", "this machine"),
            ("http://127.0.0.1:0/", "an invalid port"),
            ("http://127.0.0.1:65536/", "an invalid port"),
            ("http://127.0.0.1:/", "an invalid port"),
        ] {
            let error = parse_upstream_url(bad).unwrap_err();
            assert!(
                error.contains(why) && !error.contains("hush"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn upstream_errors_have_location() {
        assert_errors(
            FLOW,
            r#"
            => 5:13: flows.form.upstream: `url` is missing
            => 5:13: flows.form.upstream: `secret` is missing
            url = "http://[::1]"
            secret = "text:x"
            timeout = "9s"
            => 8:11: flows.form.upstream.timeout: must be from 100ms to 8s, and is 9s
            url = "http://[::1]"
            secret = "text:x"
            fallback = { screen = "OEN" }
            => 8:23: flows.form.upstream.fallback.screen: there is no screen "OEN": did you mean `ONE`?
            url = "http://[::1]"
            secret = "text:x"
            fallback = { message = "" }
            => 8:24: flows.form.upstream.fallback.message: is empty
            url = "http://[::1]"
            secret = "text:x"
            breaker = { failure_threshold = 0, opne_for = "1s" }
            => 8:33: flows.form.upstream.breaker.failure_threshold: must be from 1 to 1000, and is 0
            => 8:36: unknown key `opne_for` in flows.form.upstream.breaker: did you mean `open_for`?
            url = "http://[::1]"
            secret = "text:x"
            breaker = { open_for = "1h" }
            => 8:24: flows.form.upstream.breaker.open_for: must be from 100ms to 10m, and is 1h
            "#,
        );
        let hidden = error_of(&format!(
            "{FLOW}\nurl = \"http://[::1]\"\nsecret = \"hush\""
        ));
        assert!(
            hidden.contains("flows.form.upstream.secret: ") && !hidden.contains("hush"),
            "{hidden}"
        );
        let table = error_of(
            "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:a\"]\nupstream = \"http://[::1]\"",
        );
        assert!(
            table.ends_with("4:12: flows.form.upstream: must be a table, and is a text"),
            "{table}"
        );
    }

    #[test]
    fn summary_shows_upstream_and_secret_warning() {
        let config = parse_valid(&format!(
            "{FLOW}\nurl = \"http://[::1]:3000/flow\"\nsecret = \"env:FLOWGATE_TEST_NOT_SET\""
        ));
        let summary = config.summary(Timestamp::ZERO).to_string();
        for expected in [
            "\n  upstream      http://[::1]:3000/flow\n",
            "warning: flow form: upstream.secret: the environment variable FLOWGATE_TEST_NOT_SET is not set",
        ] {
            assert!(summary.contains(expected), "{summary}");
        }
        let without = parse_valid("[flows.form]").summary(Timestamp::ZERO);
        assert!(!without.to_string().contains("  upstream "));
    }

    #[test]
    fn risky_upstream_settings_get_warning() {
        let warnings = |config: &str| parse_valid(config).warnings().join("\n");
        let upstream = "url = \"http://[::1]\"\nsecret = \"text:x\"";
        let quiet = warnings(&format!("{FLOW}\n{upstream}\ntimeout = \"8s\""));
        let is_quiet = !quiet.contains("circuit breaker") && !quiet.contains("fallback");
        assert!(is_quiet, "{quiet}");
        let limits = "limits = { request_timeout = \"4500ms\" }";
        let hurried = warnings(&format!("{limits}\n{FLOW}\n{upstream}"));
        let expected = "flow form: upstream.timeout is 4s, but limits.request_timeout leaves the upstream less than 4s: the \
                        circuit breaker never opens on timeouts";
        assert!(hurried.lines().any(|line| line == expected), "{hurried}");
        let screens = "screens = [{ name = \"ONE\" }, { name = \"TWO\", final = true }]";
        let blank = format!("{}\n{upstream}", FLOW.replace(screens, ""));
        let advice = "set upstream.fallback.screen";
        assert!(warnings(&blank).contains(advice));
        let fallback = "fallback = { screen = \"ANY\" }";
        assert!(!warnings(&format!("{blank}\n{fallback}")).contains(advice));
    }

    #[test]
    fn upstream_requires_encryption() {
        assert_errors(
            "[flows.form]",
            r#"
            upstream = { url = "http://[::1]", secret = "text:x" }
            => 2:1: flows.form: a flow without `encryption = "required"` can't have `upstream`
            "#,
        );
        parse_valid(
            "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:a\"]\n[flows.form.upstream]\n\
             url = \"http://[::1]\"\nsecret = \"text:x\"\nfallback = { screen = \"ANY\" }",
        );
    }
}
