//! Simulates a WhatsApp client of an encrypted flow: opens the flow, answers each screen and
//! returns the last response.
//!
//! Each request is encrypted for the newest key of the flow. See [`super::sample_form`] for
//! the answers on a screen.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::meta_client::{FlowResponse, MetaClient, MetaClientError, TOKEN_INVALID_STATUS};
use super::sample_form::{self, SlotChoice};
use crate::admin::AdminError;
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::domain::flow::Flow;
use crate::intake::PublicKey;
use crate::intake::encryption::EncryptedRequest;

/// Maximum number of list items in the output of a response, so that it stays readable on a
/// terminal.
const LIST_ITEMS_SHOWN: usize = 3;

/// Maximum number of requests for one form. A form that needs more is in a loop.
const REQUESTS_MAX: usize = 100;

/// Errors of the simulated client.
#[derive(Debug, thiserror::Error)]
pub enum FlowClientError {
    /// No response arrived.
    #[error(transparent)]
    Send(#[from] MetaClientError),
    /// The response can't be decrypted. The value is its HTTP status.
    #[error("the response (HTTP status {0}) can't be decrypted")]
    Undecryptable(u16),
    /// The server refused the request without a text. The value is the HTTP status.
    #[error(
        "the server refused the request with HTTP status {0} and an empty response: its log has the reason"
    )]
    Refused(u16),
    /// The form did not end within the maximum number of requests.
    #[error("after {REQUESTS_MAX} requests the form is still not complete")]
    TooManyRequests,
    /// The server did not sign the request.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Standard output can't be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Input for one form: the flow, its token, given fields and the slot to book.
pub(super) struct FormInput<'a> {
    pub(super) flow: &'a Flow,
    pub(super) token: &'a str,
    pub(super) given: &'a Map<String, Value>,
    pub(super) slot: Option<&'a SlotChoice>,
}

/// Simulated client with the address of the server and the public key of the flow.
pub(super) struct FlowClient<'a> {
    pub(super) client: MetaClient,
    pub(super) server: SocketAddr,
    /// Signs a body like Meta.
    pub(super) sign: &'a dyn Fn(&str) -> Result<String, AdminError>,
    pub(super) public_key: &'a PublicKey,
}

impl FlowClient<'_> {
    /// Completes the form and returns the last response. Writes each request and response to
    /// `output` if it is given.
    pub(super) async fn complete<W: Write>(
        &self,
        form: &FormInput<'_>,
        mut output: Option<&mut W>,
    ) -> Result<FlowResponse, FlowClientError> {
        let (flow, token) = (form.flow, form.token);
        let mut request = json!({"version": "3.0", "action": "INIT", "screen": "", "data": {}, "flow_token": token});
        // Current screen, and the number of choice requests already sent from it.
        let (mut current_screen, mut choices) = (String::new(), 0);
        for _ in 0..REQUESTS_MAX {
            let clock = SystemClock::new();
            let response = self.send_encrypted(flow, &request).await?;
            if let Some(output) = output.as_mut() {
                writeln!(output, "  request   {request}")?;
                writeln!(
                    output,
                    "  response  {} (after {:.1} ms)",
                    shorten_lists(&response.body),
                    clock.elapsed().as_secs_f64() * 1000.0
                )?;
            }
            let has_ended = response.is_accepted() || response.error_message().is_some();
            if response.status != 200 || has_ended {
                return Ok(response);
            }
            let screen = response.text_field("screen").unwrap_or_default();
            let name = if screen.is_empty() { "FORM" } else { screen };
            if current_screen != name {
                (current_screen, choices) = (name.to_owned(), 0);
            }
            let declared = flow.find_screen(screen);
            let shown = response.body.get("data").unwrap_or(&Value::Null);
            let answers = sample_form::screen_answers(flow, declared, shown, form.given, form.slot);
            let choice =
                declared.and_then(|screen| sample_form::choice_request(screen, &answers, choices));
            choices += usize::from(choice.is_some());
            let data = choice.unwrap_or(answers);
            request = json!({
                "version": "3.0", "action": "data_exchange", "screen": name, "data": data, "flow_token": token,
            });
        }
        Err(FlowClientError::TooManyRequests)
    }

    /// Sends one encrypted request and returns the decrypted response.
    async fn send_encrypted(
        &self,
        flow: &Flow,
        request: &Value,
    ) -> Result<FlowResponse, FlowClientError> {
        let mut chance = [0; 32];
        SystemEntropy.fill(&mut chance);
        let sealed = EncryptedRequest::encrypt(self.public_key, chance, &request.to_string())
            .map_err(|why| io::Error::other(why.to_string()))?;
        let signature = (self.sign)(&sealed.body)?;
        let body = sealed.body.clone().into_bytes();
        let (status, bytes) = self
            .client
            .post_bytes(self.server, &flow.path, &signature, body)
            .await?;
        decrypt_response(&sealed, status, &bytes)
    }
}

/// Decrypts the response to a request: a success, or the message that the flow token is no longer
/// valid.
fn decrypt_response(
    request: &EncryptedRequest,
    status: u16,
    bytes: &[u8],
) -> Result<FlowResponse, FlowClientError> {
    let text = match status {
        200 | TOKEN_INVALID_STATUS => request
            .decrypt_response(bytes)
            .map_err(|_| FlowClientError::Undecryptable(status))?,
        _ if bytes.is_empty() => return Err(FlowClientError::Refused(status)),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    Ok(FlowResponse {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
    })
}

/// Returns `value` with long lists shortened.
fn shorten_lists(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.len() > LIST_ITEMS_SHOWN => {
            let more = json!(format!("… {} more", items.len() - LIST_ITEMS_SHOWN));
            items
                .iter()
                .take(LIST_ITEMS_SHOWN)
                .map(shorten_lists)
                .chain([more])
                .collect()
        }
        Value::Array(items) => items.iter().map(shorten_lists).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shorten_lists(value)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::PrivateKey;
    use crate::intake::encryption::Envelope;

    #[test]
    fn used_token_response_is_decrypted() {
        let key =
            PrivateKey::parse(include_str!("../../tests/vectors/key_private.pem"), None).unwrap();
        let request = EncryptedRequest::encrypt(key.public(), [7; 32], "{}").unwrap();
        let envelope = Envelope::parse(request.body.as_bytes()).unwrap().unwrap();
        let seal = envelope.decrypt(&[key]).unwrap().response_key;
        let encrypted = seal
            .encrypt(r#"{"error_msg":"This form was sent already."}"#)
            .unwrap();
        let response = decrypt_response(&request, 427, encrypted.as_bytes()).unwrap();
        assert_eq!(response.status, 427);
        assert_eq!(
            response.error_message(),
            Some("This form was sent already.")
        );
        let error = decrypt_response(&request, 427, b"no envelope").unwrap_err();
        assert!(matches!(error, FlowClientError::Undecryptable(427)));
        let error = decrypt_response(&request, 421, b"").unwrap_err();
        assert!(matches!(error, FlowClientError::Refused(421)));
        let response = decrypt_response(&request, 503, b"{}").unwrap();
        assert_eq!((response.status, response.body), (503, json!({})));
    }

    #[test]
    fn only_long_lists_are_shortened() {
        let response = json!({"screen": "A", "data": {"few": [1, 2, 3], "many": [1, 2, 3, 4, 5], "in": [[1, 2, 3, 4]]}});
        let shown = json!({"screen": "A", "data": {
            "few": [1, 2, 3], "many": [1, 2, 3, "… 2 more"], "in": [[1, 2, 3, "… 1 more"]]}});
        assert_eq!(shorten_lists(&response), shown);
    }
}
