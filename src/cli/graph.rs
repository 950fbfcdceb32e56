//! The Graph API, as far as the keys of encrypted flows need it: one phone number's public key, put there and looked up.
//!
//! Paths, fields and codes are those of *Business Encryption API* and *Cloud API error codes*. How far a request may go
//! is told to `crate::outgoing`; which keys and numbers there are is `super::nouns::keys`'s.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::config::{Meta, Secret};
use crate::outgoing::{Bounds, Outgoing, OutgoingError, Reach, Reply, without_token};

use super::recipients::secret_header;

/// Meta answers within a second or two; an admin waits in front of it.
const BOUNDS: Bounds = Bounds { deadline: Duration::from_secs(15), answer_bytes_max: 64 * 1024 };

/// Characters of a text of Meta's that are shown.
const SHOWN_CHARS_MAX: usize = 500;

/// Meta did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The token can't be sent.
    #[error("the access token has characters that no header can carry: copy it again, without line ends")]
    BadToken,
    /// No request can be made of it.
    #[error("can't put a request together: {0}")]
    Request(#[from] hyper::http::Error),
    /// No answer.
    #[error(transparent)]
    Outgoing(#[from] OutgoingError),
    /// Meta refused.
    #[error("Meta says: {message} (code {code}){}", hint(*.code))]
    Refused {
        /// `error.message`, without the token.
        message: String,
        /// `error.code`.
        code: i64,
    },
    /// Something answered, but not as the Graph API does.
    #[error("{}", odd(*.0))]
    Odd(StatusCode),
}

impl GraphError {
    /// Whether every other number would fail with the same.
    #[must_use]
    pub const fn concerns_all(&self) -> bool {
        match self {
            Self::BadToken | Self::Request(_) | Self::Outgoing(_) => true,
            Self::Refused { code, .. } => matches!(code, 0 | 4 | 190),
            Self::Odd(_) => false,
        }
    }

    /// Whether Meta was not reached, or no answer came back.
    #[must_use]
    pub const fn is_unreached(&self) -> bool {
        use OutgoingError::{Broken, Late, NoRoots, Unreachable};
        matches!(self, Self::Outgoing(NoRoots | Unreachable { .. } | Broken { .. } | Late { .. }))
    }
}

/// What to do about a code (*Cloud API error codes*).
const fn hint(code: i64) -> &'static str {
    match code {
        0 | 190 => {
            ": the access token is no good (any more): make a new one for a system user in Meta's business settings"
        }
        3 | 10 | 200..=299 | 131_005 => {
            ": the access token lacks whatsapp_business_messaging, or its user has no part in this number's account"
        }
        33 | 100 => {
            ": look whether this is the phone number's id (WhatsApp Manager shows it; it is not the number itself), and \
             whether the access token is of the same account"
        }
        1 | 2 | 4 | 80_007 | 130_429 | 131_000 | 131_016 | 131_057 | 133_004 => ": try again in a few minutes",
        _ => "",
    }
}

fn odd(status: StatusCode) -> String {
    let code = status.as_u16();
    if status.is_server_error() {
        format!("Meta's server failed (HTTP {code}): try again in a few minutes")
    } else {
        format!("this is no answer of the Graph API (HTTP {code}): look whether meta.graph_url is right")
    }
}

/// What Meta holds for a phone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAtMeta {
    /// The public key, PEM as Meta has it.
    pub public_pem: String,
    /// `VALID`, `MISMATCH`, or what may yet come.
    pub signature_status: Option<String>,
}

/// The Graph API, for whoever has the token.
#[derive(Debug)]
pub struct Graph<'a> {
    outgoing: Outgoing,
    meta: &'a Meta,
    token: Secret,
    bearer: HeaderValue,
}

impl<'a> Graph<'a> {
    /// The Graph API that `meta` names, asked with this token.
    ///
    /// # Errors
    /// [`GraphError::BadToken`], or TLS that can't be set up.
    pub fn new(meta: &'a Meta, token: Secret) -> Result<Self, GraphError> {
        let bearer = secret_header(&Secret::new(format!("Bearer {}", token.expose()))).ok_or(GraphError::BadToken)?;
        Ok(Self { outgoing: Outgoing::new(Reach::Anywhere)?, meta, token, bearer })
    }

    /// Puts a public key in the place of the one that Meta holds for a number.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn upload(&self, number: &str, public_pem: &str) -> Result<(), GraphError> {
        let form = format!("business_public_key={}", utf8_percent_encode(public_pem, NON_ALPHANUMERIC));
        let (status, answer) = self.ask(Method::POST, number, form).await?;
        match answer.get("success").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            _ => Err(GraphError::Odd(status)),
        }
    }

    /// What Meta holds for a number; nothing where none was uploaded.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn key_of(&self, number: &str) -> Result<Option<KeyAtMeta>, GraphError> {
        let (_, answer) = self.ask(Method::GET, number, String::new()).await?;
        Ok(key_in(&answer))
    }

    async fn ask(&self, method: Method, number: &str, form: String) -> Result<(StatusCode, Value), GraphError> {
        let mut request = Request::builder().method(&method).uri(url_of_key(self.meta, number));
        request = request.header(AUTHORIZATION, self.bearer.clone());
        request = request.header(USER_AGENT, concat!("flowgate/", env!("CARGO_PKG_VERSION")));
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let request = request.body(Full::new(Bytes::from(form)))?;
        let reply = self.outgoing.send(request, BOUNDS).await?;
        read(&reply, self.token.expose()).map(|answer| (reply.status, answer))
    }
}

/// Where the key of a number is.
#[must_use]
pub fn url_of_key(meta: &Meta, number: &str) -> String {
    format!("{}/{}/{number}/whatsapp_business_encryption", meta.graph_url, meta.api_version)
}

/// The JSON object of a success.
fn read(reply: &Reply, token: &str) -> Result<Value, GraphError> {
    let answer = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    if let Some(error) = answer.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("nothing more");
        let code = error.get("code").and_then(Value::as_i64);
        let message = shown(message, token);
        return code.map_or(Err(GraphError::Odd(reply.status)), |code| Err(GraphError::Refused { message, code }));
    }
    if reply.status.is_success() && answer.is_object() { Ok(answer) } else { Err(GraphError::Odd(reply.status)) }
}

/// The key in an answer: in a list under `data`, as the reference has it, or at the top, as *Flows Encryption* shows it.
fn key_in(answer: &Value) -> Option<KeyAtMeta> {
    let entry = match answer.get("data") {
        Some(Value::Array(entries)) => entries.first()?,
        Some(entry) => entry,
        None => answer,
    };
    let text = |field: &str| entry.get(field).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let public_pem = text("business_public_key")?.to_owned();
    Some(KeyAtMeta { public_pem, signature_status: text("business_public_key_signature_status").map(str::to_owned) })
}

/// A text of Meta's for a terminal: of bounded length, without control characters, and without the token.
fn shown(text: &str, token: &str) -> String {
    let text = without_token(text, token);
    text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "EAAGm0PX4ZCpsBAKZCx";

    fn refused(status: u16, body: &str) -> GraphError {
        let status = StatusCode::from_u16(status).unwrap();
        let reply = Reply { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) };
        read(&reply, TOKEN).unwrap_err()
    }

    #[test]
    fn a_key_is_found_in_every_shape_that_meta_documents() {
        let entry = json!({"business_public_key": "PEM", "business_public_key_signature_status": "VALID"});
        let expected = KeyAtMeta { public_pem: "PEM".to_owned(), signature_status: Some("VALID".to_owned()) };
        for answer in [json!({"data": [entry]}), json!({"data": entry}), entry.clone()] {
            assert_eq!(key_in(&answer).as_ref(), Some(&expected), "{answer}");
        }
        for answer in
            [json!({"data": []}), json!({}), json!({"data": [{"business_public_key": " "}]}), json!({"id": "1"})]
        {
            assert_eq!(key_in(&answer), None, "{answer}");
        }
        assert_eq!(key_in(&json!({"business_public_key": "PEM"})).unwrap().signature_status, None);
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        for (code, hint) in [
            (190, "make a new one"),
            (10, "lacks whatsapp_business_messaging"),
            (200, "lacks whatsapp_business_messaging"),
            (100, "not the number itself"),
            (4, "try again in a few minutes"),
        ] {
            let error = refused(400, &json!({"error": {"message": "No.", "code": code}}).to_string()).to_string();
            assert!(error.starts_with(&format!("Meta says: No. (code {code}): ")) && error.contains(hint), "{error}");
        }
        let unknown = refused(400, r#"{"error":{"message":"No.","code":123456}}"#).to_string();
        assert_eq!(unknown, "Meta says: No. (code 123456)");
    }

    #[test]
    fn what_is_no_answer_of_the_graph_api_is_told_as_that() {
        for (status, body) in [(302, ""), (200, "<html>"), (200, "[]"), (404, "{}"), (400, r#"{"error":"no"}"#)] {
            let error = refused(status, body).to_string();
            assert!(error.contains(&format!("(HTTP {status})")) && error.contains("meta.graph_url"), "{error}");
        }
        assert!(refused(502, "<html>").to_string().contains("try again"));
    }

    #[test]
    fn a_token_that_meta_repeats_is_not_shown_nor_does_its_text_steer_the_terminal() {
        assert_eq!(shown(&format!("Malformed access token {TOKEN}"), TOKEN), "Malformed access token …");
        assert_eq!(shown("Malformed EAAGm0PX4ZC... and EAAGm0PX again", TOKEN), "Malformed … and … again");
        assert_eq!(shown("a two-word token was a two", "a two-word token"), "… was a two");
        assert_eq!(shown("a\u{1b}[2J", TOKEN), "a\u{fffd}[2J");
        assert_eq!(shown(&"x".repeat(5000), TOKEN).len(), SHOWN_CHARS_MAX);
    }
}
