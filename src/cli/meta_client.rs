//! Sends HTTP requests that are signed like Meta's. The commands `try` and `demo` use this client.
//!
//! The client uses plain HTTP/1.1, like the reverse proxy in front of a server. Callers decide
//! about retries.

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

/// Time that Meta waits for the response of a flow (*Implementing Endpoint for Flows*). A later
/// response does not count.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP status for a flow token that is no longer valid (*Implementing Endpoint for Flows*, error
/// codes).
pub(super) const TOKEN_INVALID_STATUS: u16 = 427;

/// Maximum size of a response in bytes. No response of the server is larger.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;

/// Errors of a request. No complete response arrived.
#[derive(Debug, thiserror::Error)]
pub enum MetaClientError {
    /// Nothing listens on the address.
    #[error("no server listens on http://{address}: start one with `flowgate serve`")]
    NotListening {
        /// Address of the connection attempt.
        address: SocketAddr,
        /// Error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke before the response was complete.
    #[error("the connection closed before the response was complete ({0})")]
    Disconnected(String),
    /// No response arrived within the time that Meta waits.
    #[error("no response within {} s", RESPONSE_TIMEOUT.as_secs())]
    Timeout,
}

/// Response of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowResponse {
    /// HTTP status.
    pub status: u16,
    /// Body of the response. Null if the body is no JSON.
    pub body: Value,
}

impl FlowResponse {
    /// Returns `true` if the server accepted the form.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.status == 200
            && matches!(
                self.text_field("screen"),
                Some("SUCCESS_SCREEN" | "SUCCESS")
            )
    }

    /// Returns `true` if the server reported a duplicate.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.status == 200 && self.text_field("status") == Some("already_processed")
    }

    /// Returns the error message for the customer, for example that the slot is taken or that the
    /// form was already sent. Returns `None` if the response has no such message.
    #[must_use]
    pub fn error_message(&self) -> Option<&str> {
        match self.status {
            200 => self.body.get("data")?.get("error_message")?.as_str(),
            TOKEN_INVALID_STATUS => self.text_field("error_msg"),
            _ => None,
        }
    }

    fn text_field(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }
}

/// Returns the `X-Hub-Signature-256` of `body`. The HMAC key is the text of the secret (*Webhooks*,
/// "Validating payloads").
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    // HMAC accepts keys of any length, so the error of the type never occurs.
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map(|mac| mac.chain_update(body).finalize().into_bytes());
    let bytes = mac.unwrap_or_default();
    bytes.iter().fold(String::from("sha256="), |text, byte| {
        format!("{text}{byte:02x}")
    })
}

/// A connection to a server. It stays open between forms.
#[derive(Debug)]
pub struct MetaClient {
    address: SocketAddr,
    requests: SendRequest<Full<Bytes>>,
}

impl MetaClient {
    /// Connects to `address`. The connection runs as a task on the current tokio runtime.
    ///
    /// # Errors
    /// Returns [`MetaClientError::NotListening`], or [`MetaClientError::Disconnected`] if the
    /// connection ends at once.
    pub async fn connect(address: SocketAddr) -> Result<Self, MetaClientError> {
        let socket = TcpStream::connect(address)
            .await
            .map_err(|source| MetaClientError::NotListening { address, source })?;
        // Without this option, a head and a body in two packets may wait for each other.
        socket
            .set_nodelay(true)
            .map_err(|why| MetaClientError::Disconnected(why.to_string()))?;
        let (requests, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(disconnected)?;
        // The next request reports the end of the connection.
        tokio::spawn(connection);
        Ok(Self { address, requests })
    }

    /// Returns the address of the server.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Posts a JSON body with its `signature`.
    ///
    /// # Errors
    /// Returns [`MetaClientError::Disconnected`] or [`MetaClientError::Timeout`]. The server may
    /// have accepted the form, and sending it again is safe.
    pub async fn post(
        &mut self,
        path: &str,
        signature: &str,
        body: Vec<u8>,
    ) -> Result<FlowResponse, MetaClientError> {
        let (status, body) = self.post_bytes(path, signature, body).await?;
        Ok(FlowResponse {
            status,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }

    /// Posts a JSON body with its `signature` and returns the HTTP status and the raw bytes of the
    /// response.
    ///
    /// # Errors
    /// Returns the same errors as [`MetaClient::post`].
    pub async fn post_bytes(
        &mut self,
        path: &str,
        signature: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), MetaClientError> {
        let request = hyper::Request::post(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header("x-hub-signature-256", signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|why| MetaClientError::Disconnected(why.to_string()))?;
        let exchange = async {
            self.requests.ready().await.map_err(disconnected)?;
            let response = self
                .requests
                .send_request(request)
                .await
                .map_err(disconnected)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX)
                .collect()
                .await;
            let body = body
                .map_err(|why| MetaClientError::Disconnected(why.to_string()))?
                .to_bytes();
            Ok((status, body))
        };
        tokio::time::timeout(RESPONSE_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(MetaClientError::Timeout))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn disconnected(why: hyper::Error) -> MetaClientError {
    MetaClientError::Disconnected(why.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn signature_matches_meta_vector() {
        // Test vector `ascii` of tests/vectors/hub_signature.json.
        let body = br#"{"object":"whatsapp_business_account","entry":[]}"#;
        let expected = "sha256=eefab58106e73358686845848feb95c56372e7391b3dc050b6a31c8c5f347ece";
        assert_eq!(
            signature("0123456789abcdef0123456789abcdef", body),
            expected
        );
    }

    #[test]
    fn responses_are_classified() {
        let response = |status, body| FlowResponse { status, body };
        assert!(
            response(
                200,
                json!({"version": "3.0", "screen": "SUCCESS_SCREEN", "data": {}})
            )
            .is_accepted()
        );
        assert!(response(200, json!({"status": "already_processed"})).is_duplicate());
        let refused = response(
            200,
            json!({"screen": "FORM", "data": {"error_message": "This time is gone."}}),
        );
        assert!(!refused.is_accepted() && !refused.is_duplicate());
        assert_eq!(refused.error_message(), Some("This time is gone."));
        assert!(!response(503, json!({"screen": "SUCCESS_SCREEN"})).is_accepted());
    }
}
