//! A sender as Meta is one: posts a signed body, reads the answer. What `try` and `demo` send goes through here.
//!
//! Speaks plain HTTP/1.1, as the proxy in front of a server does; when to send again is for the callers to say.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpStream;

/// How long Meta waits for a flow's answer (*Implementing Endpoint for Flows*): past it, an answer is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// The form's token is no longer good (*Implementing Endpoint for Flows*, error codes).
pub(super) const TOKEN_GONE: u16 = 427;

/// More than any answer of ours has.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// No answer came.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody listens there.
    #[error("nothing listens on http://{address}: start it with `flowgate serve`")]
    NotListening {
        /// Where it was tried.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke before the whole answer was there.
    #[error("the connection broke before the answer was whole ({0})")]
    Broken(String),
    /// Nothing came in the time that Meta waits.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Whether it says that the form was accepted.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.status == 200 && matches!(self.text_at("screen"), Some("SUCCESS_SCREEN" | "SUCCESS"))
    }

    /// Whether it says that the form was there already.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.status == 200 && self.text_at("status") == Some("already_processed")
    }

    /// What the customer is told in place of a success: the slot is gone, say, or the form was sent already.
    #[must_use]
    pub fn complaint(&self) -> Option<&str> {
        match self.status {
            200 => self.body.get("data")?.get("error_message")?.as_str(),
            TOKEN_GONE => self.text_at("error_msg"),
            _ => None,
        }
    }

    fn text_at(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }
}

/// `X-Hub-Signature-256` over `body`: the key is the secret's characters (*Webhooks*, "Validating payloads").
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length: the error that the type allows for can't come.
    let mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mac| mac.chain_update(body).finalize().into_bytes());
    let bytes = mac.unwrap_or_default();
    bytes.iter().fold(String::from("sha256="), |text, byte| format!("{text}{byte:02x}"))
}

/// One connection to a server, kept alive from form to form.
#[derive(Debug)]
pub struct Sender {
    address: SocketAddr,
    requests: SendRequest<Full<Bytes>>,
}

impl Sender {
    /// Connects. Runs its connection on the tokio runtime that it is called in.
    ///
    /// # Errors
    /// [`SendError::NotListening`], or [`SendError::Broken`] where it ends at once.
    pub async fn connect(address: SocketAddr) -> Result<Self, SendError> {
        let socket = TcpStream::connect(address).await.map_err(|source| SendError::NotListening { address, source })?;
        // Without it, a head and a body that leave as two packets may wait for each other.
        socket.set_nodelay(true).map_err(|why| SendError::Broken(why.to_string()))?;
        let (requests, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
        // Its end shows in the request that meets it.
        tokio::spawn(connection);
        Ok(Self { address, requests })
    }

    /// The address it is connected to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Posts a JSON body under its `signature`.
    ///
    /// # Errors
    /// [`SendError::Broken`] or [`SendError::Late`]: whether the form was taken is then unknown, and sending it again is
    /// safe.
    pub async fn post(&mut self, path: &str, signature: &str, body: Vec<u8>) -> Result<Answer, SendError> {
        let (status, body) = self.post_bytes(path, signature, body).await?;
        Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    /// The same, with the answer's bytes as they came.
    ///
    /// # Errors
    /// As [`Sender::post`].
    pub async fn post_bytes(&mut self, path: &str, signature: &str, body: Vec<u8>) -> Result<(u16, Bytes), SendError> {
        let request = hyper::Request::post(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header("x-hub-signature-256", signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|why| SendError::Broken(why.to_string()))?;
        let exchange = async {
            self.requests.ready().await.map_err(broken)?;
            let answer = self.requests.send_request(request).await.map_err(broken)?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|why| SendError::Broken(why.to_string()))?.to_bytes();
            Ok((status, body))
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(SendError::Late))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken(why: hyper::Error) -> SendError {
    SendError::Broken(why.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_signs_as_meta_does() {
        // `ascii` of tests/vectors/hub_signature.json.
        let body = br#"{"object":"whatsapp_business_account","entry":[]}"#;
        let expected = "sha256=eefab58106e73358686845848feb95c56372e7391b3dc050b6a31c8c5f347ece";
        assert_eq!(signature("0123456789abcdef0123456789abcdef", body), expected);
    }

    #[test]
    fn each_answer_is_read_as_what_it_says() {
        let answer = |status, body| Answer { status, body };
        assert!(answer(200, json!({"version": "3.0", "screen": "SUCCESS_SCREEN", "data": {}})).is_accepted());
        assert!(answer(200, json!({"status": "already_processed"})).is_duplicate());
        let refused = answer(200, json!({"screen": "FORM", "data": {"error_message": "This time is gone."}}));
        assert!(!refused.is_accepted() && !refused.is_duplicate());
        assert_eq!(refused.complaint(), Some("This time is gone."));
        assert!(!answer(503, json!({"screen": "SUCCESS_SCREEN"})).is_accepted());
    }
}
