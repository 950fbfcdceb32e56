//! Reads and builds cookies (*RFC 6265*).
//!
//! The cookies of the language and of the theme are settings, not secrets. See
//! [`crate::domain::access`] for the cookies of sign-ins.

use std::fmt;

use hyper::HeaderMap;
use hyper::header::COOKIE;

/// Cookie of the chosen language.
pub(super) const LANGUAGE: &str = "flowgate-language";
/// Cookie of the chosen theme.
pub(super) const THEME: &str = "flowgate-theme";
/// Lifetime of the choices, in seconds: one year.
const CHOICE_SECONDS: u32 = 365 * 24 * 60 * 60;

/// Returns the value of the first cookie with a name.
pub(super) fn find_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(COOKIE).iter();
    let pairs = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// Value of a `Set-Cookie` header.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SetCookie(String);

impl SetCookie {
    /// Creates the cookie of a choice. `path` is the path of the dashboard.
    pub(super) fn choice(name: &str, value: &str, path: &str) -> Self {
        Self(format!(
            "{name}={value}; Path={path}; Max-Age={CHOICE_SECONDS}; HttpOnly; SameSite=Lax"
        ))
    }

    /// Creates a cookie with a secret, which only this host gets back, over an encrypted
    /// connection. The browser removes the cookie after `seconds`.
    pub(super) fn secret(name: &str, value: &str, seconds: u64) -> Self {
        Self(format!(
            "{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"
        ))
    }

    /// Returns the text of the header.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SetCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.split('=').next().unwrap_or_default();
        write!(f, "SetCookie({name}=…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; bb=2=3".parse().unwrap());
        headers.append(COOKIE, "c=4".parse().unwrap());
        assert_eq!(find_cookie(&headers, "a"), Some("1"));
        assert_eq!(find_cookie(&headers, "bb"), Some("2=3"));
        assert_eq!(find_cookie(&headers, "c"), Some("4"));
        assert_eq!(find_cookie(&headers, "b"), None);
    }

    #[test]
    fn secrets_are_strict_and_hidden() {
        let cookie = SetCookie::secret("__Host-flowgate", "hush", 60);
        let attributes = "Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict";
        assert_eq!(
            cookie.as_str(),
            format!("__Host-flowgate=hush; {attributes}")
        );
        assert!(!format!("{cookie:?}").contains("hush"));
    }
}
