//! Reads `[dashboard]`: its address in the browser, and the times after which a sign-in ends.

use hyper::Uri;

use super::base_url;
use crate::config::reader::TableReader;
use crate::config::units::days;
use crate::domain::access::account::SignInLimits;
use crate::domain::time::Millis;

/// Settings of the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DashboardSettings {
    /// URL of the dashboard in the browser, without a slash at its end. Default:
    /// `http://ADMIN_LISTEN`.
    pub url: Option<String>,
    /// Time after which a sign-in ends. Default 30 d.
    pub sign_in_ttl: Millis,
    /// Time without a request after which a sign-in ends. Default 12 h.
    pub sign_in_idle_timeout: Millis,
}

impl DashboardSettings {
    /// Returns the times after which a sign-in ends.
    #[must_use]
    pub const fn sign_in_limits(&self) -> SignInLimits {
        SignInLimits {
            ttl: self.sign_in_ttl,
            idle_timeout: self.sign_in_idle_timeout,
        }
    }
}

/// Reads `[dashboard]`.
pub fn read_dashboard(root: &TableReader<'_>) -> DashboardSettings {
    root.read_table_or_empty("dashboard", |table| {
        let minute = Millis::from_secs(60);
        let hours = Millis::from_secs(12 * 60 * 60);
        let settings = DashboardSettings {
            url: table.parse("url", parse_url),
            sign_in_ttl: table.duration("sign_in_ttl", days(30), minute..=days(365)),
            sign_in_idle_timeout: table.duration("sign_in_idle_timeout", hours, minute..=days(365)),
        };
        if settings.sign_in_idle_timeout > settings.sign_in_ttl {
            table.error_at(
                &["sign_in_idle_timeout", "sign_in_ttl"],
                "sign_in_idle_timeout must not be longer than sign_in_ttl".to_owned(),
            );
        }
        settings
    })
}

fn parse_url(text: &str) -> Result<String, String> {
    let url = base_url::parse(
        text,
        "https://forms.example.com/admin",
        "must not contain a user name or a password: people sign in on the page",
        "is not encrypted, and passwords need https:// (http:// is for this machine)",
    )?;
    let uri = url.parse::<Uri>().map_err(|error| error.to_string())?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let path = uri.path();
    if path.contains("//") || path.contains("/.") || !path.chars().all(is_plain) {
        return Err(format!(
            "the path {path:?} may have letters, digits, '-', '_', '.' and single slashes only"
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, parse_valid};

    #[test]
    fn dashboard_has_an_encrypted_url_and_sensible_times() {
        assert_errors(
            "[dashboard]",
            r#"
            url = "http://forms.example.com/admin"
            => 2:7: dashboard.url: "http://forms.example.com/admin" is not encrypted, and passwords need https:// (http:// is for this machine): write one like "https://forms.example.com/admin"
            url = "https://me@forms.example.com"
            => 2:7: dashboard.url: must not contain a user name or a password: people sign in on the page
            url = "https://forms.example.com/a//b"
            => 2:7: dashboard.url: the path "/a//b" may have letters, digits, '-', '_', '.' and single slashes only
            url = "https://forms.example.com/a/../b"
            => 2:7: dashboard.url: the path "/a/../b" may have letters, digits, '-', '_', '.' and single slashes only
            sign_in_ttl = "1h"
            => 2:15: dashboard.sign_in_ttl: sign_in_idle_timeout must not be longer than sign_in_ttl
            sign_in_idle_timeout = "1s"
            => 2:24: dashboard.sign_in_idle_timeout: must be from 1m to 365d, and is 1s
            "#,
        );
    }

    #[test]
    fn url_has_no_slash_at_its_end() {
        for url in [
            "https://forms.example.com",
            "https://forms.example.com/",
            "https://forms.example.com/admin/",
            "https://forms.example.com/a/b",
            "http://localhost:8081/x",
        ] {
            let config = parse_valid(&format!("[dashboard]\nurl = {url:?}"));
            assert_eq!(config.dashboard_url(), url.trim_end_matches('/'));
        }
        let config = parse_valid("");
        assert_eq!(config.dashboard_url(), "http://127.0.0.1:8081");
    }
}
