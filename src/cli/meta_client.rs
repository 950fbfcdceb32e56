//! Sends HTTP requests that are signed like Meta's. The commands `try` and `demo` use this client.
//!
//! The client uses plain HTTP/1.1, like the reverse proxy in front of a server. Callers decide
//! about retries. See [`crate::net`] for the connections.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use crate::intake::SignatureVerifier;
use crate::net::{AddressPolicy, HttpClient, NetError, PoolLimits};

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
        /// Reason why there is no connection.
        #[source]
        source: NetError,
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
        let screen = self.text_field("screen");
        self.status == 200 && matches!(screen, Some("SUCCESS_SCREEN" | "SUCCESS"))
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

    pub(super) fn text_field(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }
}

/// Returns the `X-Hub-Signature-256` of `body`. The HMAC key is the text of the secret (*Webhooks*,
/// "Validating payloads").
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    // The verifier has a secret, so it always signs.
    let signature = SignatureVerifier::new([secret]).sign(body);
    signature.unwrap_or_default()
}

/// Client that reuses its connections between forms.
#[derive(Clone, Debug)]
pub struct MetaClient(HttpClient);

impl Default for MetaClient {
    fn default() -> Self {
        // The server may listen on any address of this machine.
        let limits = PoolLimits::default();
        Self(HttpClient::plaintext(AddressPolicy::Any, limits))
    }
}

impl MetaClient {
    /// Posts a JSON body with its `signature` to a path of the server at `address`.
    ///
    /// # Errors
    /// Returns [`MetaClientError::NotListening`] if no connection was possible. After any other
    /// error, the server may have accepted the form, and sending it again is safe.
    pub async fn post(
        &self,
        address: SocketAddr,
        path: &str,
        signature: &str,
        body: Vec<u8>,
    ) -> Result<FlowResponse, MetaClientError> {
        let (status, body) = self.post_bytes(address, path, signature, body).await?;
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
        &self,
        address: SocketAddr,
        path: &str,
        signature: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), MetaClientError> {
        let request = hyper::Request::post(format!("http://{address}{path}"))
            .header(CONTENT_TYPE, "application/json")
            .header("x-hub-signature-256", signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|why| MetaClientError::Disconnected(why.to_string()))?;
        let response = match self.0.send(request, RESPONSE_TIMEOUT).await {
            Ok(response) => response.read_full(RESPONSE_BYTES_MAX).await,
            Err(error) => Err(error),
        };
        match response {
            Ok(response) => Ok((response.status.as_u16(), response.body)),
            Err(source @ NetError::Unreachable { .. }) => {
                Err(MetaClientError::NotListening { address, source })
            }
            Err(NetError::Timeout { .. }) => Err(MetaClientError::Timeout),
            Err(NetError::Disconnected { why, .. }) => Err(MetaClientError::Disconnected(why)),
            Err(error) => Err(MetaClientError::Disconnected(error.to_string())),
        }
    }
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
        let secret = "0123456789abcdef0123456789abcdef";
        assert_eq!(signature(secret, body), expected);
    }

    #[test]
    fn responses_are_classified() {
        let response = |status, body| FlowResponse { status, body };
        let success = json!({"version": "3.0", "screen": "SUCCESS_SCREEN", "data": {}});
        assert!(response(200, success).is_accepted());
        assert!(response(200, json!({"status": "already_processed"})).is_duplicate());
        let gone = json!({"screen": "FORM", "data": {"error_message": "This time is gone."}});
        let refused = response(200, gone);
        assert!(!refused.is_accepted() && !refused.is_duplicate());
        assert_eq!(refused.error_message(), Some("This time is gone."));
        assert!(!response(503, json!({"screen": "SUCCESS_SCREEN"})).is_accepted());
    }
}
