//! `meta.api_version` and `meta.graph_url`: where the Graph API is, for what flowgate itself asks of Meta.
//!
//! What is asked there, and with which token, is the business of those who ask.

use hyper::Uri;

use crate::domain::address::is_this_machine;

/// The version that was current when this was written; each lives for about two years (*Graph API Changelog*).
pub(super) const VERSION: &str = "v26.0";

/// Where Meta has it.
pub(super) const URL: &str = "https://graph.facebook.com";

/// A version as Meta writes them: `v26.0`.
pub(super) fn version(text: &str) -> Result<String, String> {
    let digits = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_prefix('v').and_then(|number| number.split_once('.')) {
        Some((major, minor)) if digits(major) && digits(minor) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no version of the Graph API: write one like \"{VERSION}\"")),
    }
}

/// A URL that versions can be put behind, without the slashes at its end.
///
/// The access token goes there, so it must be encrypted on its way, unless that way does not leave this machine.
pub(super) fn url(text: &str) -> Result<String, String> {
    if text.contains('@') {
        // Not shown: what stands before an '@' may be a password.
        return Err("may not have a user name or a password: the access token is sent, and nothing else".to_owned());
    }
    let problem = match text.parse::<Uri>() {
        Err(_) => "is no URL",
        Ok(_) if text.contains(['?', '#']) => "must end before any '?' or '#'",
        Ok(uri) => match (uri.scheme_str(), uri.authority()) {
            (Some("https" | "http"), Some(to)) if to.as_str() != to.host() && to.port_u16().is_none() => {
                "has a port that is none"
            }
            (Some("https"), Some(to)) if !to.host().is_empty() => return Ok(text.trim_end_matches('/').to_owned()),
            (Some("http"), Some(to)) if is_this_machine(to.host()) => return Ok(text.trim_end_matches('/').to_owned()),
            (Some("http"), Some(_)) => "would send the access token unencrypted, which is for this machine alone",
            _ => "is no URL that begins with https://",
        },
    };
    Err(format!("{text:?} {problem}: write one like \"{URL}\""))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused};

    #[test]
    fn a_version_is_written_as_meta_writes_it() {
        assert_eq!(accepted("[meta]\napi_version = \"v9.12\"").meta.api_version, "v9.12");
        for typed in ["26.0", "v26", "v26.", "v.0", "v26.0.1", "V26.0", "v26.0/me", "vx.y", "v26.0 ", "v1234.0", ""] {
            let why = format!("{typed:?} is no version of the Graph API: write one like \"v26.0\"");
            let typed = format!("api_version = {typed:?}");
            assert_refused("[meta]", &[(&typed, &format!("2:15: meta.api_version: {why}"))]);
        }
    }

    #[test]
    fn the_access_token_goes_nowhere_unencrypted_but_to_this_machine() {
        let unencrypted = "would send the access token unencrypted, which is for this machine alone";
        for (typed, why) in [
            ("http://graph.facebook.com", unencrypted),
            ("http://10.0.0.1:8080", unencrypted),
            ("http://localhost.example", unencrypted),
            ("http://[fe80::1]", unencrypted),
            ("http://0.0.0.0", unencrypted),
            ("graph.facebook.com", "is no URL that begins with https://"),
            ("/v26.0", "is no URL that begins with https://"),
            ("ftp://graph.facebook.com", "is no URL that begins with https://"),
            ("https://", "is no URL"),
            ("https://graph facebook", "is no URL"),
            ("", "is no URL"),
            ("https://graph.facebook.com/?a=b", "must end before any '?' or '#'"),
            ("https://graph.facebook.com/#a", "must end before any '?' or '#'"),
            ("https://graph.facebook.com:99999", "has a port that is none"),
            ("https://graph.facebook.com:", "has a port that is none"),
        ] {
            let why = format!("2:13: meta.graph_url: {typed:?} {why}: write one like \"https://graph.facebook.com\"");
            assert_refused("[meta]", &[(&format!("graph_url = {typed:?}"), &why)]);
        }
        let hidden =
            "2:13: meta.graph_url: may not have a user name or a password: the access token is sent, and nothing else";
        assert_refused("[meta]", &[("graph_url = \"https://me:hush@graph.facebook.com\"", hidden)]);

        for (typed, read) in [
            ("https://graph.facebook.com/", "https://graph.facebook.com"),
            ("https://proxy.example:8443/meta", "https://proxy.example:8443/meta"),
            ("http://127.0.0.1:9", "http://127.0.0.1:9"),
            ("http://[::1]:9", "http://[::1]:9"),
            ("http://LocalHost:9/", "http://LocalHost:9"),
        ] {
            assert_eq!(accepted(&format!("[meta]\ngraph_url = {typed:?}")).meta.graph_url, read);
        }
    }
}
