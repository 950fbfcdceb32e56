//! Builds the addresses in pages. The base path is added here and nowhere else, because a reverse
//! proxy may serve the dashboard under a path.

use std::sync::Arc;

use super::assets;
use crate::domain::url_text::encode_value;

/// Base path of all addresses, and the pages that the reader may open.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// Path without a slash at its end. Empty: the dashboard has the whole address.
    base: Arc<str>,
    /// Paths of the pages that exist and that the role of the reader may open.
    pages: Vec<&'static str>,
}

impl Links {
    /// Creates the links for a base path and the `pages` of a reader.
    pub(super) const fn new(base: Arc<str>, pages: Vec<&'static str>) -> Self {
        Self { base, pages }
    }

    /// Returns the address of a path below the base path.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns the address of a page, or `None` if the reader may not open the page.
    pub(super) fn page(&self, path: &str) -> Option<String> {
        let (page, _) = path.split_once('?').unwrap_or((path, ""));
        self.pages.contains(&page).then(|| self.link(path))
    }

    /// Returns the address of an embedded file.
    pub(super) fn asset(&self, name: &str) -> String {
        format!("{}/assets/{name}?v={}", self.base, assets::hash_of(name))
    }

    /// Returns the base path as the path of a cookie.
    pub(super) fn cookie_path(&self) -> &str {
        if self.base.is_empty() {
            "/"
        } else {
            &self.base
        }
    }
}

/// Appends a field to the query of a path.
pub(super) fn with_field(path: &str, name: &str, value: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{name}={}", encode_value(value))
}

/// Returns the path if a redirect to it stays in the dashboard.
pub(super) fn local_path(path: &str) -> Option<&str> {
    let is_local = path.starts_with('/')
        && !path.starts_with("//")
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    is_local.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_base_path() {
        let links = Links::new("/admin".into(), vec!["/", "/leads"]);
        assert_eq!(links.link("/leads/7"), "/admin/leads/7");
        assert_eq!(
            links.page("/leads?state=open").unwrap(),
            "/admin/leads?state=open"
        );
        assert_eq!(links.page("/accounts"), None);
        assert_eq!(links.cookie_path(), "/admin");
        let style = links.asset("dashboard.css");
        assert!(
            style.starts_with("/admin/assets/dashboard.css?v="),
            "{style}"
        );
        let links = Links::new("".into(), vec!["/"]);
        assert_eq!(links.page("/").unwrap(), "/");
        assert_eq!(links.cookie_path(), "/");
    }

    #[test]
    fn redirects_stay_in_the_dashboard() {
        assert_eq!(local_path("/leads?x=1"), Some("/leads?x=1"));
        for foreign in [
            "",
            "leads",
            "//evil.example",
            "/\\evil.example",
            "https://x",
            "/a b",
            "/\r\nx:y",
        ] {
            assert_eq!(local_path(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn fields_are_appended_encoded() {
        assert_eq!(
            with_field("/a", "next", "/b?c=d&e"),
            "/a?next=%2Fb%3Fc%3Dd%26e"
        );
        assert_eq!(with_field("/a?b=c", "d", "é"), "/a?b=c&d=%C3%A9");
    }
}
