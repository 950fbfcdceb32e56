//! Defines flow errors: error notifications of clients about our last response, and requests that
//! the config can't serve. Flow errors are stored for the operator and never become submissions.
//!
//! See [`crate::intake::flow_endpoint`] for the difference between a flow error and a form, and
//! [`crate::store`] for the number of stored flow errors and their retention.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{FlowName, FlowToken};
use crate::domain::time::Timestamp;
use crate::domain::truncation::truncate_bytes;

/// Maximum bytes of each text of a flow error. Clients send whole sentences, and a stranger must
/// not be able to fill the disk.
const TEXT_BYTES: usize = 1024;

/// Error notification (*Implementing Endpoint for Flows*, "Error Notification"), or our own error
/// for a request that was decrypted and can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowError {
    /// Time of receipt.
    pub received_at: Timestamp,
    /// Flow of the request.
    pub flow: FlowName,
    /// Screen that the client displayed.
    pub screen: Option<Box<str>>,
    /// Flow token of the form.
    pub flow_token: Option<FlowToken>,
    /// Error code, such as `payload-schema-error`. Meta may add codes. Maximum 1 KiB.
    pub code: Box<str>,
    /// Error message for people. Maximum 1 KiB.
    pub message: Box<str>,
}

impl FlowError {
    /// All keys that the data of an error notification may contain: two names for the code, and one
    /// for the message.
    pub const DATA_KEYS: [&'static str; 3] = ["error", "error_key", "error_message"];

    /// Creates a flow error of `flow`. The store sets the time of receipt.
    #[must_use]
    pub fn new(
        flow: FlowName,
        screen: Option<&str>,
        flow_token: Option<FlowToken>,
        error: &str,
        message: &str,
    ) -> Self {
        Self {
            received_at: Timestamp::ZERO,
            flow,
            screen: screen.map(|screen| truncate_bytes(screen, TEXT_BYTES)),
            flow_token,
            code: truncate_bytes(error, TEXT_BYTES),
            message: truncate_bytes(message, TEXT_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_error_texts_are_truncated() {
        let long = "é".repeat(TEXT_BYTES);
        let flow = FlowName::new("home").unwrap();
        let flow_error = FlowError::new(flow, Some(&long), None, &long, &long[..TEXT_BYTES]);
        for text in [flow_error.screen.as_deref().unwrap(), &flow_error.code] {
            assert!((TEXT_BYTES - 2..=TEXT_BYTES).contains(&text.len()));
            assert!(text.ends_with("é…"));
        }
        // A text that fits stays whole.
        assert_eq!(&*flow_error.message, &long[..TEXT_BYTES]);
    }
}
