//! `proxy` and `proxy_auth` of a destination: who carries what it is told.
//!
//! ```toml
//! [destinations.crm]
//! proxy = "http://proxy.example:3128"
//! proxy_auth = "env:PROXY_AUTH"          # "user:password"
//! ```
//!
//! The environment's `HTTPS_PROXY` and the like are never asked: what goes where is the config's to say. Going through one is
//! `crate::outgoing`'s.

use std::path::Path;

use hyper::Uri;

use super::raw::Table;
use super::secrets::SecretRef;
use super::settings::secret;

/// A proxy.
#[derive(Clone, Debug)]
pub struct ProxyRule {
    /// `http://HOST:PORT`, or `socks5://HOST:PORT`. It may be on this machine or in a network of one's own.
    pub url: Uri,
    /// Where `user:password` is that it asks for.
    pub auth: Option<SecretRef>,
}

impl ProxyRule {
    pub(super) fn read(table: &Table<'_>, folder: &Path) -> Option<Self> {
        let (proxy, auth) = (table.get("proxy"), table.get("proxy_auth"));
        let Some(proxy) = proxy else {
            if let Some(auth) = auth {
                auth.refuse("is for a `proxy`, and there is none");
            }
            return None;
        };
        let auth = auth.and_then(|item| secret(&item, folder));
        Some(Self { url: proxy.parsed(url)?, auth })
    }

    /// Refuses one where none is gone through; `why` says so.
    pub(super) fn refuse(table: &Table<'_>, why: &str) {
        for item in ["proxy", "proxy_auth"].into_iter().filter_map(|key| table.get(key)) {
            item.refuse(format!("is for webhooks and WhatsApp: {why}"));
        }
    }

    /// Its host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.authority().map_or("", |authority| authority.as_str())
    }

    /// What should be known of it.
    pub(super) fn note(&self) -> Option<String> {
        self.auth.as_ref().and_then(SecretRef::note).map(|note| format!("proxy_auth: {note}"))
    }
}

/// The address of a proxy. It is not repeated where it is refused: a password may stand in it.
fn url(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| NO_PROXY)?;
    let authority = uri.authority().ok_or(NO_PROXY)?;
    if !matches!(uri.scheme_str(), Some("http" | "socks5")) {
        return Err("must begin with \"http://\" or \"socks5://\"");
    }
    if authority.as_str().contains('@') {
        return Err("may have no user and no password: put them into `proxy_auth`, as \"env:NAME\"");
    }
    if authority.port_u16().is_none_or(|port| port == 0) {
        return Err("needs its port, from 1 to 65535, as in \"http://proxy.example:3128\"");
    }
    if uri.path_and_query().is_some_and(|path| path.as_str() != "/") || text.contains('#') {
        return Err("has something behind its port: a proxy has no path");
    }
    Ok(uri)
}

const NO_PROXY: &str = "is no address of a proxy: write one like \"http://proxy.example:3128\"";

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, refused};
    use super::*;

    const HEAD: &str = "[destinations.crm]\nurl = \"https://crm.example\"";

    fn one(more: &str) -> Option<ProxyRule> {
        accepted(&format!("{HEAD}\n{more}")).destinations.into_values().next().unwrap().proxy
    }

    #[test]
    fn a_destination_has_a_proxy_only_where_it_says_so() {
        assert!(one("").is_none());
        let proxy = one("proxy = \"http://127.0.0.1:3128\"\nproxy_auth = \"env:PROXY\"").unwrap();
        assert_eq!((proxy.host(), proxy.auth.as_ref().unwrap().place()), ("127.0.0.1:3128", "env:PROXY".to_owned()));
        assert_eq!(one("proxy = \"socks5://[::1]:1080\"").unwrap().url.scheme_str(), Some("socks5"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_a_password() {
        for (bad, why) in [
            ("", "is no address of a proxy"),
            ("proxy.example", "must begin with"),
            ("/a", "is no address of a proxy"),
            ("https://proxy.example:3128", "must begin with"),
            ("http://ann:hush@proxy.example:3128", "`proxy_auth`"),
            ("http://proxy.example", "needs its port"),
            ("http://proxy.example:0", "needs its port"),
            ("http://proxy.example:3128/a", "no path"),
            ("http://proxy.example:3128/#a", "no path"),
        ] {
            let said = refused(&format!("{HEAD}\nproxy = \"{bad}\""));
            assert!(said.contains("3:9: destinations.crm.proxy: ") && said.contains(why), "{bad}: {said}");
            assert!(!said.contains("hush"), "{said}");
        }
        let said = refused(&format!("{HEAD}\nproxy_auth = \"env:A\""));
        assert!(said.contains("3:14: destinations.crm.proxy_auth: is for a `proxy`, and there is none"), "{said}");
        let said = refused(&format!("{HEAD}\nproxy = \"http://a:1\"\nproxy_auth = \"ann:hush\""));
        assert!(said.contains("destinations.crm.proxy_auth") && !said.contains("hush"), "{said}");
    }
}
