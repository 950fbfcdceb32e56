//! Parses the response of an upstream, and derives from each result a signal for the circuit
//! breaker.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value};

use crate::net::NetError;

/// Maximum size of a response, in bytes. Responses contain images as base64. Hundreds of kB are
/// normal.
pub(super) const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Reason for a missing response. The text quotes neither the request nor the response.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The circuit breaker is open after too many failures.
    #[error("the circuit breaker of this flow's upstream is open")]
    BreakerOpen,
    /// No program accepts connections at the address.
    #[error("the upstream of this flow can't be reached: {0}")]
    Unreachable(String),
    /// The connection closed before the end of the response, or the response is not HTTP.
    #[error(
        "the upstream of this flow closed the connection too early, or does not speak HTTP/1.1: {0}"
    )]
    Disconnected(String),
    /// No complete response within this time.
    #[error("the upstream of this flow did not respond within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Status other than 200. Redirects are not followed.
    #[error("the upstream of this flow responded with status {0}, not 200")]
    Status(StatusCode),
    /// Response larger than the maximum size.
    #[error("the upstream of this flow responded with more than {RESPONSE_BYTES_MAX} bytes")]
    TooLarge,
    /// Other responses of the same upstream use all the memory for responses.
    #[error("the memory for responses of this flow's upstream is full")]
    BudgetExceeded,
    /// Response that is not JSON.
    #[error("the upstream of this flow responded with invalid JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the syntax error, from 1.
        line: usize,
        /// Column of the syntax error, from 1.
        column: usize,
    },
    /// JSON that is not a valid response (*Implementing Endpoint for Flows*, "Data Exchange
    /// Request").
    #[error("the upstream of this flow sent a response that {0}")]
    Malformed(&'static str),
    /// Request that can't be built: the ID has characters that a header must not contain.
    #[error("the request to the upstream of this flow is invalid: {0}")]
    InvalidRequest(#[from] hyper::http::Error),
}

impl From<NetError> for UpstreamError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Unreachable { why, .. } => Self::Unreachable(why),
            NetError::Disconnected { why, .. } => Self::Disconnected(why),
            NetError::Timeout { deadline, .. } => Self::Timeout(deadline),
            NetError::ResponseTooLarge { .. } => Self::TooLarge,
            NetError::ResponseMemoryFull { .. } => Self::BudgetExceeded,
            NetError::NoRootCertificates | NetError::Tls(_) => Self::Unreachable(error.to_string()),
        }
    }
}

/// Signal that an attempt gives to the circuit breaker.
pub(super) enum BreakerSignal {
    Success,
    Failure,
    Ignore,
}

impl UpstreamError {
    /// Returns the outcome label for metrics.
    pub(in crate::http) const fn outcome(&self) -> &'static str {
        match self {
            Self::BreakerOpen => "open",
            Self::Unreachable(_) => "unreachable",
            Self::Disconnected(_) => "disconnected",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::BudgetExceeded => "busy",
            Self::NotJson { .. } => "not_json",
            Self::Malformed(_) => "malformed",
            Self::InvalidRequest(_) => "not_sent",
        }
    }

    /// Returns the signal for the circuit breaker.
    ///
    /// A wrong response counts as success. Anyone may send a request that the upstream can't
    /// handle. Such a request must not block the upstream for all others.
    pub(super) fn breaker_signal(&self, had_full_timeout: bool) -> BreakerSignal {
        match self {
            Self::Unreachable(_) | Self::Disconnected(_) => BreakerSignal::Failure,
            Self::Timeout(_) if had_full_timeout => BreakerSignal::Failure,
            Self::Status(status)
                if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS =>
            {
                BreakerSignal::Failure
            }
            Self::Status(_) | Self::TooLarge | Self::NotJson { .. } | Self::Malformed(_) => {
                BreakerSignal::Success
            }
            Self::Timeout(_)
            | Self::BreakerOpen
            | Self::BudgetExceeded
            | Self::InvalidRequest(_) => BreakerSignal::Ignore,
        }
    }
}

/// Parses a response and checks it as the WhatsApp client would (*Implementing Endpoint for
/// Flows*). The client rejects other responses as malformed.
pub(super) fn parse_response(bytes: &[u8]) -> Result<Map<String, Value>, UpstreamError> {
    // The parser's message may quote the response.
    let value = serde_json::from_slice(bytes).map_err(|error| UpstreamError::NotJson {
        line: error.line(),
        column: error.column(),
    })?;
    let Value::Object(response) = value else {
        return Err(UpstreamError::Malformed("is not a JSON object"));
    };
    let screen = response.get("screen").and_then(Value::as_str);
    if screen.is_none_or(str::is_empty) {
        return Err(UpstreamError::Malformed("has no `screen`"));
    }
    match response.get("data") {
        None => Ok(response),
        Some(Value::Object(data)) if data.get("error_message").is_none_or(Value::is_string) => {
            Ok(response)
        }
        Some(Value::Object(_)) => Err(UpstreamError::Malformed(
            "has an `error_message` that is not a text",
        )),
        Some(_) => Err(UpstreamError::Malformed(
            "has a `data` that is not an object",
        )),
    }
}
