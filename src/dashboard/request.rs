//! Defines the request of a page: its path, its fields and the browser that sent it.

use bytes::Bytes;
use hyper::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, HOST, ORIGIN, USER_AGENT};
use hyper::{HeaderMap, Method, Request};

use super::fields::{FieldError, Fields};
use super::page::PageError;
use super::texts::Language;

/// Media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// Request of a page or an action.
#[derive(Clone, Debug)]
pub(super) struct PageRequest {
    pub(super) method: Method,
    /// Path below the base path.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    query_text: String,
    body: Bytes,
    pub(super) query: Fields,
    /// Fields of the form. Empty for requests without a body.
    pub(super) form: Fields,
    /// Fields of the path, as `id` in `/leads/{id}`.
    pub(super) path_fields: Fields,
}

impl PageRequest {
    /// Takes a request whose path is below `base`. Returns `None` for another path.
    pub(super) fn new(request: Request<Bytes>, base: &str) -> Option<Self> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().strip_prefix(base)?;
        if !path.starts_with('/') {
            return None;
        }
        Some(Self {
            path: path.to_owned(),
            query_text: head.uri.query().unwrap_or_default().to_owned(),
            method: head.method,
            headers: head.headers,
            body,
            query: Fields::default(),
            form: Fields::default(),
            path_fields: Fields::default(),
        })
    }

    /// Returns the path with its query.
    pub(super) fn path_and_query(&self) -> String {
        if self.query_text.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query_text)
        }
    }

    /// Parses the query and the form.
    pub(super) fn parse_fields(&mut self) -> Result<(), PageError> {
        self.query = Fields::parse(&self.query_text)?;
        if self.method == Method::POST {
            let media_type = header(&self.headers, CONTENT_TYPE).unwrap_or_default();
            let (media_type, _) = media_type.split_once(';').unwrap_or((media_type, ""));
            let text = std::str::from_utf8(&self.body);
            let is_form = media_type.trim().eq_ignore_ascii_case(FORM);
            let text = text.ok().filter(|_| is_form).ok_or(FieldError::Encoding)?;
            self.form = Fields::parse(text)?;
        }
        Ok(())
    }

    /// Returns `true` unless a page of another site sent the request. See [`is_same_origin`].
    pub(super) fn is_same_origin(&self, origin: &str) -> bool {
        is_same_origin(&self.headers, origin)
    }

    /// Returns `true` if the reader followed a link on another site. The browser then sends no
    /// cookie with `SameSite=Strict`.
    pub(super) fn is_from_other_site(&self) -> bool {
        let site = header(&self.headers, "sec-fetch-site");
        self.method == Method::GET && site == Some("cross-site")
    }

    /// Returns the language that the browser prefers.
    pub(super) fn preferred_language(&self) -> Language {
        let wanted = header(&self.headers, ACCEPT_LANGUAGE).unwrap_or_default();
        Language::from_accept_language(wanted)
    }

    /// Returns a field of the query before [`Self::parse_fields`], or `None` if the query is
    /// invalid.
    pub(super) fn query_field(&self, name: &str) -> Option<String> {
        let query = Fields::parse(&self.query_text).ok()?;
        query.get(name).map(str::to_owned)
    }

    /// Returns the name under which the browser reports itself.
    pub(super) fn browser(&self) -> &str {
        header(&self.headers, USER_AGENT).unwrap_or_default()
    }
}

/// Returns `true` unless a page of another site sent a request (*Fetch Metadata*,
/// `Sec-Fetch-Site`). Old browsers send only `Origin` (*Fetch*), whose host must be the host of
/// the request or of `origin`, the configured address of the dashboard.
pub(super) fn is_same_origin(headers: &HeaderMap, origin: &str) -> bool {
    if let Some(site) = header(headers, "sec-fetch-site") {
        return site == "same-origin";
    }
    header(headers, ORIGIN).is_some_and(|sender| {
        let host = sender.split_once("://").map(|(_, host)| host);
        sender == origin || host.is_some() && host == header(headers, HOST)
    })
}

fn header(headers: &HeaderMap, name: impl hyper::header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], body: &'static str) -> Request<Bytes> {
        let mut builder = Request::post("/admin/leads/7/close?x=1");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    fn page_request(headers: &[(&str, &str)]) -> PageRequest {
        PageRequest::new(request(headers, "csrf=a"), "/admin").unwrap()
    }

    #[test]
    fn base_path_is_removed() {
        let found = page_request(&[]);
        assert_eq!(found.path, "/leads/7/close");
        assert_eq!(found.path_and_query(), "/leads/7/close?x=1");
        assert!(PageRequest::new(request(&[], ""), "/adm").is_none());
        assert!(PageRequest::new(request(&[], ""), "/other").is_none());
    }

    #[test]
    fn only_forms_are_parsed() {
        for (media_type, is_parsed) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-URLencoded; charset=utf-8", true),
            ("application/json", false),
            ("text/plain", false),
        ] {
            let mut request = page_request(&[("content-type", media_type)]);
            assert_eq!(request.parse_fields().is_ok(), is_parsed, "{media_type}");
        }
    }

    #[test]
    fn requests_of_other_sites_are_recognized() {
        let origin = "https://forms.example.com";
        for (headers, is_same) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (
                &[("sec-fetch-site", "cross-site"), ("origin", origin)],
                false,
            ),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", origin)], true),
            (
                &[
                    ("origin", "http://localhost:9000"),
                    ("host", "localhost:9000"),
                ],
                true,
            ),
            (
                &[
                    ("origin", "https://evil.example"),
                    ("host", "localhost:9000"),
                ],
                false,
            ),
            (&[("origin", "null"), ("host", "localhost:9000")], false),
            (&[], false),
        ] {
            assert_eq!(
                page_request(headers).is_same_origin(origin),
                is_same,
                "{headers:?}"
            );
        }
    }
}
