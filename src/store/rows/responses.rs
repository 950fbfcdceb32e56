//! Rows of responses that a repeated request gets again.

use serde::{Deserialize, Serialize};

/// Response in the form in which it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedResponse {
    /// HTTP status code.
    pub status: u16,
    /// HTTP body: Base64 text.
    pub body: Box<str>,
}

/// Custom completion of a form.
#[derive(Serialize, Deserialize)]
pub struct Completion {
    /// Completion as JSON text.
    pub text: Box<str>,
}
