//! Reads `meta.api_version` and `meta.graph_url`: the Graph API that flowgate calls.
//!
//! The callers decide about requests and tokens.

use hyper::Uri;

use crate::domain::ip_range::is_loopback_host;

/// Default version, which was current when this comment was written. Meta supports each version for
/// about two years (*Graph API Changelog*).
pub const DEFAULT_VERSION: &str = "v26.0";

/// Default base URL: Meta's own.
pub const DEFAULT_URL: &str = "https://graph.facebook.com";

/// Parses a version in Meta's notation: `v26.0`.
pub fn parse_version(text: &str) -> Result<String, String> {
    let digits = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    match text
        .strip_prefix('v')
        .and_then(|number| number.split_once('.'))
    {
        Some((major, minor)) if digits(major) && digits(minor) => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?} is not a version of the Graph API: write one like \"{DEFAULT_VERSION}\""
        )),
    }
}

/// Parses a base URL, to which versions are appended. Removes slashes at its end.
///
/// The access token is sent to this URL. Therefore the URL must be encrypted, except on this
/// machine.
pub fn parse_graph_url(text: &str) -> Result<String, String> {
    if text.contains('@') {
        // The text is not shown: the part before an '@' may be a password.
        return Err(
            "must not contain a user name or a password: only the access token is sent".to_owned(),
        );
    }
    let problem = match text.parse::<Uri>() {
        Err(_) => "is not a valid URL",
        Ok(_) if text.contains(['?', '#']) => "must not contain '?' or '#'",
        Ok(uri) => match (uri.scheme_str(), uri.authority()) {
            (Some("https" | "http"), Some(to))
                if to.as_str() != to.host() && to.port_u16().is_none() =>
            {
                "has an invalid port"
            }
            (Some(scheme), Some(to))
                if (scheme == "https" && !to.host().is_empty())
                    || (scheme == "http" && is_loopback_host(to.host())) =>
            {
                return Ok(text.trim_end_matches('/').to_owned());
            }
            (Some("http"), Some(_)) => {
                "would send the access token unencrypted, which is allowed only to this machine"
            }
            _ => "is not a URL that begins with https://",
        },
    };
    Err(format!(
        "{text:?} {problem}: write one like \"{DEFAULT_URL}\""
    ))
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_refused, parse_valid};

    #[test]
    fn api_version_is_validated() {
        let meta = parse_valid("[meta]\napi_version = \"v9.12\"").meta;
        assert_eq!(meta.api_version, "v9.12");
        for typed in [
            "26.0", "v26", "v26.", "v.0", "v26.0.1", "V26.0", "v26.0/me", "vx.y", "v26.0 ",
            "v1234.0", "",
        ] {
            let why =
                format!("{typed:?} is not a version of the Graph API: write one like \"v26.0\"");
            let typed = format!("api_version = {typed:?}");
            assert_refused("[meta]", &typed, &format!("2:15: meta.api_version: {why}"));
        }
    }

    fn assert_url_refused(url: &str, why: &str) {
        let hint = "write one like \"https://graph.facebook.com\"";
        let error = format!("2:13: meta.graph_url: {url:?} {why}: {hint}");
        assert_refused("[meta]", &format!("graph_url = {url:?}"), &error);
    }

    #[test]
    fn graph_url_must_be_https_or_loopback() {
        let unencrypted =
            "would send the access token unencrypted, which is allowed only to this machine";
        for (why, urls) in [
            (
                unencrypted,
                "http://graph.facebook.com http://10.0.0.1:8080 http://localhost.example \
                 http://[fe80::1] http://0.0.0.0",
            ),
            (
                "is not a URL that begins with https://",
                "graph.facebook.com /v26.0 ftp://graph.facebook.com",
            ),
            ("is not a valid URL", "https://"),
            (
                "must not contain '?' or '#'",
                "https://graph.facebook.com/?a=b https://graph.facebook.com/#a",
            ),
            (
                "has an invalid port",
                "https://graph.facebook.com:99999 https://graph.facebook.com:",
            ),
        ] {
            for url in urls.split(' ') {
                assert_url_refused(url, why);
            }
        }
        assert_url_refused("", "is not a valid URL");
        assert_url_refused("https://graph facebook", "is not a valid URL");
        let hidden = "2:13: meta.graph_url: must not contain a user name or a password: only the access token is sent";
        let typed = "graph_url = \"https://me:hush@graph.facebook.com\"";
        assert_refused("[meta]", typed, hidden);

        for (typed, read) in [
            ("https://graph.facebook.com/", "https://graph.facebook.com"),
            (
                "https://proxy.example:8443/a",
                "https://proxy.example:8443/a",
            ),
            ("http://127.0.0.1:9", "http://127.0.0.1:9"),
            ("http://[::1]:9", "http://[::1]:9"),
            ("http://LocalHost:9/", "http://LocalHost:9"),
        ] {
            let config = parse_valid(&format!("[meta]\ngraph_url = {typed:?}"));
            assert_eq!(config.meta.graph_url, read);
        }
    }
}
