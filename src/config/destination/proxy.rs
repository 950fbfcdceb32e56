//! Reads `proxy` and `proxy_auth` of a destination: the proxy for its requests.
//!
//! ```toml
//! [destinations.crm]
//! proxy = "http://proxy.example:3128"
//! proxy_auth = "env:PROXY_AUTH"          # "user:password"
//! ```
//!
//! Environment variables such as `HTTPS_PROXY` are ignored: only the config decides about
//! connections. See [`crate::net`] for connections through a proxy.

use hyper::Uri;

use crate::config::reader::TableReader;
use crate::config::secrets::SecretRef;

/// Settings of a proxy.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// URL of the proxy: `http://HOST:PORT` or `socks5://HOST:PORT`. The host may be on this
    /// machine or in a private network.
    pub url: Uri,
    /// Location of `user:password`. `None`: the proxy requires no authentication.
    pub auth: Option<SecretRef>,
}

impl ProxySettings {
    /// Reads the proxy. `refusal` is the reason why the kind of destination can't use a proxy.
    pub(super) fn read(table: &TableReader<'_>, refusal: Option<&str>) -> Option<Self> {
        let (proxy, auth) = (table.get("proxy"), table.get("proxy_auth"));
        if let Some(why) = refusal {
            for item in proxy.iter().chain(&auth) {
                item.error(format!(
                    "is supported only for webhooks and WhatsApp: {why}"
                ));
            }
            return None;
        }
        let Some(proxy) = proxy else {
            if let Some(auth) = auth {
                auth.error("has no effect without `proxy`: set both");
            }
            return None;
        };
        let auth = auth.and_then(|item| item.secret());
        Some(Self {
            url: proxy.parse(parse_proxy_url)?,
            auth,
        })
    }

    /// Returns the host and port of the proxy.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Returns the warning about the proxy, if there is one.
    pub(super) fn warning(&self) -> Option<String> {
        self.auth.as_ref()?.labelled_warning("proxy_auth")
    }
}

/// Parses the URL of a proxy. Error messages never contain the URL, because a URL may contain a
/// password.
fn parse_proxy_url(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| NOT_A_PROXY_ERROR)?;
    let authority = uri.authority().ok_or(NOT_A_PROXY_ERROR)?;
    if !matches!(uri.scheme_str(), Some("http" | "socks5")) {
        return Err("must begin with \"http://\" or \"socks5://\"");
    }
    if authority.as_str().contains('@') {
        return Err(
            "must not contain a user or a password: put them into `proxy_auth`, as \"env:NAME\"",
        );
    }
    if authority.port_u16().is_none_or(|port| port == 0) {
        return Err("needs its port, from 1 to 65535, as in \"http://proxy.example:3128\"");
    }
    if uri
        .path_and_query()
        .is_some_and(|path| path.as_str() != "/")
        || text.contains('#')
    {
        return Err("must end after the port: a proxy address has no path");
    }
    Ok(uri)
}

const NOT_A_PROXY_ERROR: &str =
    "is not a valid proxy address: write one like \"http://proxy.example:3128\"";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_errors, error_of, parse_destination};

    const HEAD: &str = "[destinations.crm]\nurl = \"https://crm.example\"";

    fn proxy_from(more: &str) -> Option<ProxySettings> {
        parse_destination(&format!("{HEAD}\n{more}")).proxy
    }

    #[test]
    fn proxy_is_used_only_when_configured() {
        assert!(proxy_from("").is_none());
        let proxy =
            proxy_from("proxy = \"http://127.0.0.1:3128\"\nproxy_auth = \"env:PROXY\"").unwrap();
        assert_eq!(
            (proxy.host(), proxy.auth.as_ref().unwrap().location()),
            ("127.0.0.1:3128", "env:PROXY".to_owned())
        );
        let socks = proxy_from("proxy = \"socks5://[::1]:1080\"").unwrap();
        assert_eq!(socks.url.scheme_str(), Some("socks5"));
    }

    #[test]
    fn proxy_errors_have_location_and_hide_password() {
        for (bad, why) in [
            ("", "is not a valid proxy address"),
            ("proxy.example", "must begin with"),
            ("/a", "is not a valid proxy address"),
            ("https://proxy.example:3128", "must begin with"),
            ("http://ann:hush@proxy.example:3128", "`proxy_auth`"),
            ("http://proxy.example", "needs its port"),
            ("http://proxy.example:0", "needs its port"),
            ("http://proxy.example:3128/a", "no path"),
            ("http://proxy.example:3128/#a", "no path"),
        ] {
            let error = error_of(&format!("{HEAD}\nproxy = \"{bad}\""));
            assert!(
                error.contains("3:9: destinations.crm.proxy: ") && error.contains(why),
                "{bad}: {error}"
            );
            assert!(!error.contains("hush"), "{error}");
        }
        assert_errors(
            HEAD,
            r#"
            proxy_auth = "env:A"
            => 3:14: destinations.crm.proxy_auth: has no effect without `proxy`: set both
            "#,
        );
        let error = error_of(&format!(
            "{HEAD}\nproxy = \"http://a:1\"\nproxy_auth = \"ann:hush\""
        ));
        assert!(
            error.contains("destinations.crm.proxy_auth") && !error.contains("hush"),
            "{error}"
        );
    }
}
