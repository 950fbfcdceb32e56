//! Builds the HTTP responses of the dashboard. Only this file chooses their statuses and the
//! headers that each of them has.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::assets::Asset;
use super::cookies::SetCookie;
use super::page::PageError;

/// Complete response.
pub(super) type PageResponse = Response<Full<Bytes>>;

/// Headers of all responses. They forbid scripts, styles and frames of others.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer`, browsers send `Origin: null` with the forms of the dashboard itself.
    (REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Builds the response with a page.
pub(super) fn page(html: String) -> PageResponse {
    build(StatusCode::OK, "text/html; charset=utf-8", html.into())
}

/// Builds the response with a form that is shown again, because its content was refused.
pub(super) fn refused_form(html: String) -> PageResponse {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    build(status, "text/html; charset=utf-8", html.into())
}

/// Builds the response with the page of an error.
pub(super) fn error_page(error: &PageError, html: String) -> PageResponse {
    let mut response = build(status_of(error), "text/html; charset=utf-8", html.into());
    match error {
        PageError::MethodNotAllowed(allowed) => {
            let allowed = HeaderValue::from_static(allowed);
            response.headers_mut().insert(ALLOW, allowed);
        }
        PageError::Unavailable(_) => {
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, soon);
        }
        _ => {}
    }
    response
}

const fn status_of(error: &PageError) -> StatusCode {
    match error {
        PageError::NotFound | PageError::ObjectNotFound(_) => StatusCode::NOT_FOUND,
        PageError::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
        PageError::Forbidden(_) | PageError::ForeignForm => StatusCode::FORBIDDEN,
        PageError::SignInRequired => StatusCode::UNAUTHORIZED,
        PageError::Invalid(_) | PageError::FieldMissing(_) => StatusCode::BAD_REQUEST,
        PageError::Failed(_) => StatusCode::CONFLICT,
        PageError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Builds the redirect to an address, which the browser opens with GET.
pub(super) fn see_other(location: &str) -> PageResponse {
    let mut response = build(
        StatusCode::SEE_OTHER,
        "text/plain; charset=utf-8",
        Bytes::new(),
    );
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Builds the response with an embedded file. Its address changes with its content, so browsers
/// may store it for good.
pub(super) fn asset(asset: &Asset) -> PageResponse {
    let content = Bytes::from_static(asset.content);
    let mut response = build(StatusCode::OK, asset.media_type, content);
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(CACHE_CONTROL, forever);
    response
}

/// Adds cookies to a response.
pub(super) fn set_cookies(response: &mut PageResponse, cookies: &[SetCookie]) {
    for cookie in cookies {
        if let Ok(mut value) = HeaderValue::from_str(cookie.as_str()) {
            value.set_sensitive(true);
            response.headers_mut().append(SET_COOKIE, value);
        }
    }
}

fn build(status: StatusCode, media_type: &'static str, body: Bytes) -> PageResponse {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
