//! Calls Meta's Graph API to upload and query the public key of a phone number.
//!
//! Paths, fields and codes follow *Business Encryption API* and *Cloud API error codes*. See
//! [`crate::net`] for the HTTP client and [`super::commands::keys`] for the choice of keys and
//! phone numbers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::config::{MetaSettings, Secret};
use crate::net::{AddressPolicy, FullResponse, HttpClient, NetError, PRODUCT_TOKEN, redact_token};

/// Maximum time of one request. Meta responds within a second or two, and an admin waits for the
/// response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum size of a response, in bytes.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of characters that are shown of a text from Meta.
const SHOWN_CHARS_MAX: usize = 500;

/// Errors of a request to the Graph API.
#[derive(Debug, thiserror::Error)]
pub enum GraphApiError {
    /// The access token contains characters that are invalid in an HTTP header.
    #[error(
        "the access token contains characters that are invalid in an HTTP header: copy the token again, without line breaks"
    )]
    BadToken,
    /// The HTTP request can't be built.
    #[error("can't build the request: {0}")]
    Request(#[from] hyper::http::Error),
    /// No response arrived.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Meta refused the request.
    #[error("Meta says: {message} (code {code}){}", suggestion(*.code))]
    Refused {
        /// `error.message` of the response, without the access token.
        message: String,
        /// `error.code` of the response.
        code: i64,
    },
    /// The response does not have the format of the Graph API. The value is the HTTP status of the
    /// response.
    #[error("{}", unexpected_response_text(*.0))]
    UnexpectedResponse(StatusCode),
}

impl GraphApiError {
    /// Returns `true` if a request for any other phone number would fail for the same reason.
    #[must_use]
    pub const fn concerns_all(&self) -> bool {
        match self {
            Self::BadToken | Self::Request(_) | Self::Net(_) => true,
            Self::Refused { code, .. } => matches!(code, 0 | 4 | 190),
            Self::UnexpectedResponse(_) => false,
        }
    }

    /// Returns `true` if Meta is unreachable or sent no response.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        use NetError::{Disconnected, NoRootCertificates, Timeout, Unreachable};
        matches!(
            self,
            Self::Net(
                NoRootCertificates | Unreachable { .. } | Disconnected { .. } | Timeout { .. }
            )
        )
    }
}

/// Returns the suggestion for an error code (*Cloud API error codes*). The text is empty for other
/// codes.
const fn suggestion(code: i64) -> &'static str {
    match code {
        0 | 190 => {
            ": the access token is invalid or has expired: create a new one for a system user in Meta's business settings"
        }
        3 | 10 | 200..=299 | 131_005 => {
            ": the access token lacks whatsapp_business_messaging, or its user has no access to the account of this phone number"
        }
        33 | 100 => {
            ": check that this is the phone number ID (WhatsApp Manager shows it; it is not the number itself), and \
             that the access token belongs to the same account"
        }
        1 | 2 | 4 | 80_007 | 130_429 | 131_000 | 131_016 | 131_057 | 133_004 => {
            ": try again in a few minutes"
        }
        _ => "",
    }
}

fn unexpected_response_text(status: StatusCode) -> String {
    let code = status.as_u16();
    if status.is_server_error() {
        format!("Meta's server failed (HTTP {code}): try again in a few minutes")
    } else {
        format!("this is not a response of the Graph API (HTTP {code}): check meta.graph_url")
    }
}

/// Public key that Meta has for a phone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredKey {
    /// Public key as PEM, as Meta returns it.
    pub public_pem: String,
    /// `VALID`, `MISMATCH`, or a future value. `None` if Meta returns no status.
    pub signature_status: Option<String>,
}

/// Client of the Graph API with an access token.
#[derive(Debug)]
pub struct GraphApi<'a> {
    client: HttpClient,
    meta: &'a MetaSettings,
    token: Secret,
    bearer: HeaderValue,
}

impl<'a> GraphApi<'a> {
    /// Creates a client for the Graph API of `meta` with this access token.
    ///
    /// # Errors
    /// Returns [`GraphApiError::BadToken`], or an error if TLS can't be set up.
    pub fn new(meta: &'a MetaSettings, token: Secret) -> Result<Self, GraphApiError> {
        let bearer = token.to_header("Bearer ").ok_or(GraphApiError::BadToken)?;
        Ok(Self {
            client: HttpClient::new(AddressPolicy::Any)?,
            meta,
            token,
            bearer,
        })
    }

    /// Uploads a public key for a phone number. The upload replaces the key that Meta has.
    ///
    /// # Errors
    /// Returns [`GraphApiError`] if the request fails or Meta does not confirm the upload.
    pub async fn upload_public_key(
        &self,
        number: &str,
        public_pem: &str,
    ) -> Result<(), GraphApiError> {
        let form = format!(
            "business_public_key={}",
            utf8_percent_encode(public_pem, NON_ALPHANUMERIC)
        );
        let (status, body) = self.request(Method::POST, number, form).await?;
        match body.get("success").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            _ => Err(GraphApiError::UnexpectedResponse(status)),
        }
    }

    /// Returns the public key that Meta has for a phone number. Returns `None` if Meta has no key.
    ///
    /// # Errors
    /// Returns [`GraphApiError`] if the request fails.
    pub async fn get_public_key(
        &self,
        number: &str,
    ) -> Result<Option<RegisteredKey>, GraphApiError> {
        let (_, body) = self.request(Method::GET, number, String::new()).await?;
        Ok(find_key(&body))
    }

    async fn request(
        &self,
        method: Method,
        number: &str,
        form: String,
    ) -> Result<(StatusCode, Value), GraphApiError> {
        let mut request = Request::builder()
            .method(&method)
            .uri(encryption_key_url(self.meta, number));
        request = request.header(AUTHORIZATION, self.bearer.clone());
        request = request.header(USER_AGENT, PRODUCT_TOKEN);
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let request = request.body(Full::new(Bytes::from(form)))?;
        let response = self.client.send(request, REQUEST_TIMEOUT).await?;
        let response = response.read_full(RESPONSE_BYTES_MAX).await?;
        parse_response(&response, self.token.expose()).map(|body| (response.status, body))
    }
}

/// Returns the URL of the public key of a phone number.
#[must_use]
pub fn encryption_key_url(meta: &MetaSettings, number: &str) -> String {
    format!(
        "{}/{}/{number}/whatsapp_business_encryption",
        meta.graph_url, meta.api_version
    )
}

/// Parses a successful response as a JSON object.
fn parse_response(response: &FullResponse, token: &str) -> Result<Value, GraphApiError> {
    let body = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    if let Some(error) = body.get("error") {
        let message = error.get("message").and_then(Value::as_str);
        let message = for_terminal(message.unwrap_or("(no message)"), token);
        let code = error.get("code").and_then(Value::as_i64);
        let unexpected = GraphApiError::UnexpectedResponse(response.status);
        return Err(code.map_or(unexpected, |code| GraphApiError::Refused { message, code }));
    }
    if response.status.is_success() && body.is_object() {
        Ok(body)
    } else {
        Err(GraphApiError::UnexpectedResponse(response.status))
    }
}

/// Finds the key in a response: in a list under `data`, as in the reference, or at the top, as in
/// *Flows Encryption*.
fn find_key(body: &Value) -> Option<RegisteredKey> {
    let entry = match body.get("data") {
        Some(Value::Array(entries)) => entries.first()?,
        Some(entry) => entry,
        None => body,
    };
    let text = |field: &str| {
        entry
            .get(field)
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty())
    };
    let public_pem = text("business_public_key")?.to_owned();
    Some(RegisteredKey {
        public_pem,
        signature_status: text("business_public_key_signature_status").map(str::to_owned),
    })
}

/// Prepares a text from Meta for a terminal: limits its length, replaces control characters and
/// removes the token.
fn for_terminal(text: &str, token: &str) -> String {
    let text = redact_token(text, token);
    text.chars()
        .take(SHOWN_CHARS_MAX)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "EAAGm0PX4ZCpsBAKZCx";

    fn parse_error(status: u16, body: &str) -> GraphApiError {
        let status = StatusCode::from_u16(status).unwrap();
        let response = FullResponse {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
        };
        parse_response(&response, TOKEN).unwrap_err()
    }

    #[test]
    fn key_is_found_in_each_documented_shape() {
        let entry =
            json!({"business_public_key": "PEM", "business_public_key_signature_status": "VALID"});
        let expected = RegisteredKey {
            public_pem: "PEM".to_owned(),
            signature_status: Some("VALID".to_owned()),
        };
        let unsigned = RegisteredKey {
            signature_status: None,
            ..expected.clone()
        };
        for (body, found) in [
            (json!({"data": [entry]}), Some(&expected)),
            (json!({"data": entry}), Some(&expected)),
            (entry, Some(&expected)),
            (json!({"business_public_key": "PEM"}), Some(&unsigned)),
            (json!({"data": []}), None),
            (json!({}), None),
            (json!({"data": [{"business_public_key": " "}]}), None),
            (json!({"id": "1"}), None),
        ] {
            assert_eq!(find_key(&body).as_ref(), found, "{body}");
        }
    }

    #[test]
    fn graph_errors_name_remedy() {
        for (code, suggestion) in [
            (190, "create a new one"),
            (10, "lacks whatsapp_business_messaging"),
            (200, "lacks whatsapp_business_messaging"),
            (100, "not the number itself"),
            (4, "try again in a few minutes"),
        ] {
            let body = json!({"error": {"message": "No.", "code": code}});
            let error = parse_error(400, &body.to_string()).to_string();
            let remedy = error.strip_prefix(&format!("Meta says: No. (code {code}): "));
            assert!(remedy.unwrap().contains(suggestion), "{error}");
        }
        let unknown = parse_error(400, r#"{"error":{"message":"No.","code":123456}}"#).to_string();
        assert_eq!(unknown, "Meta says: No. (code 123456)");
    }

    #[test]
    fn unexpected_response_is_reported() {
        for (status, body) in [
            (302, ""),
            (200, "<html>"),
            (200, "[]"),
            (404, "{}"),
            (400, r#"{"error":"no"}"#),
        ] {
            let error = parse_error(status, body).to_string();
            let end = format!("(HTTP {status}): check meta.graph_url");
            assert!(error.ends_with(&end), "{error}");
        }
        assert!(parse_error(502, "<html>").to_string().contains("try again"));
    }

    #[test]
    fn terminal_text_hides_token_and_control_characters() {
        let whole = format!("Malformed access token {TOKEN}");
        let long = "x".repeat(5000);
        for (text, token, expected) in [
            (&*whole, TOKEN, "Malformed access token …"),
            ("EAAGm0PX4ZC... and EAAGm0PX again", TOKEN, "… and … again"),
            ("two-word token was a two", "two-word token", "… was a two"),
            ("a\u{1b}[2J", TOKEN, "a\u{fffd}[2J"),
            (&long, TOKEN, &long[..SHOWN_CHARS_MAX]),
        ] {
            assert_eq!(for_terminal(text, token), expected);
        }
    }
}
