//! What a flow's program answers: read, or refused with what is wrong, and what either says of the program.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value};

/// Bytes of one answer: images travel in it as base64, hundreds of kB are normal.
pub(super) const BYTES_MAX: u64 = 1 << 20;

/// Why there is no answer. Says what was wrong, and nothing of what was asked or answered.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It is left alone after too many failures.
    #[error("the program behind this flow failed too often in a row, and is left alone for a moment")]
    Open,
    /// Nothing listens there.
    #[error("the program behind this flow can't be reached: {0}")]
    Unreachable(String),
    /// The connection ended before the answer did, or what came is no HTTP.
    #[error("the program behind this flow broke off, or does not speak HTTP/1.1: {0}")]
    Broken(String),
    /// No whole answer in its time.
    #[error("the program behind this flow gave no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// Another status than 200. Redirects are not followed.
    #[error("the program behind this flow answered with status {0}, not 200")]
    Status(StatusCode),
    /// More than an answer may have.
    #[error("the program behind this flow answered with more than {BYTES_MAX} bytes")]
    TooLarge,
    /// Other answers of it take all the memory there is for them.
    #[error("too many answers of the program behind this flow are being read")]
    OverBudget,
    /// No JSON.
    #[error("the program behind this flow answered with no JSON (line {line}, column {column})")]
    NotJson {
        /// Where it ceases to be JSON, from 1.
        line: usize,
        /// The same.
        column: usize,
    },
    /// JSON that is no answer (*Implementing Endpoint for Flows*, "Data Exchange Request").
    #[error("the program behind this flow gave an answer that {0}")]
    Malformed(&'static str),
    /// It can't be asked: the id has what no header may have.
    #[error("the program behind this flow can't be asked: {0}")]
    Request(#[from] hyper::http::Error),
}

/// What an attempt says of the program.
pub(super) enum Sign {
    Life,
    Failure,
    Nothing,
}

impl UpstreamError {
    /// A word for the figures.
    pub(super) const fn outcome(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
            Self::Late(_) => "late",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::OverBudget => "busy",
            Self::NotJson { .. } => "not_json",
            Self::Malformed(_) => "malformed",
            Self::Request(_) => "not_asked",
        }
    }

    /// What it says of the program. One that answers wrongly lives: a request that it can't take, which anybody may send,
    /// must not shut it off for everybody else.
    pub(super) fn sign(&self, had_its_time: bool) -> Sign {
        match self {
            Self::Unreachable(_) | Self::Broken(_) => Sign::Failure,
            Self::Late(_) if had_its_time => Sign::Failure,
            Self::Status(status) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
                Sign::Failure
            }
            Self::Status(_) | Self::TooLarge | Self::NotJson { .. } | Self::Malformed(_) => Sign::Life,
            Self::Late(_) | Self::Open | Self::OverBudget | Self::Request(_) => Sign::Nothing,
        }
    }
}

/// The answer, if the client could take it (*Implementing Endpoint for Flows*; and the client calls it malformed otherwise).
pub(super) fn read(bytes: &[u8]) -> Result<Map<String, Value>, UpstreamError> {
    // The parser's own words may repeat what it read.
    let value = serde_json::from_slice(bytes)
        .map_err(|error| UpstreamError::NotJson { line: error.line(), column: error.column() })?;
    let Value::Object(answer) = value else { return Err(UpstreamError::Malformed("is no JSON object")) };
    if answer.get("screen").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(UpstreamError::Malformed("names no `screen`"));
    }
    match answer.get("data") {
        None => Ok(answer),
        Some(Value::Object(data)) if data.get("error_message").is_none_or(Value::is_string) => Ok(answer),
        Some(Value::Object(_)) => Err(UpstreamError::Malformed("has an `error_message` that is no text")),
        Some(_) => Err(UpstreamError::Malformed("has a `data` that is no object")),
    }
}
