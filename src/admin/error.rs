//! Defines the error of an admin request and its kind, which decides the exit code of a command.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// Kind of an error. The kind decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The current state does not allow the request.
    Failed,
    /// The request is invalid.
    Invalid,
    /// The principal may not send the request.
    Forbidden,
    /// The object does not exist.
    NotFound,
    /// The server or the file can't be reached.
    Unreachable,
    /// The server is starting, or another process uses the file. A later attempt may succeed.
    Busy,
    /// The disk failed, and its content is unknown.
    Untrusted,
    /// The file is damaged.
    Damaged,
}

/// Error of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct AdminError {
    /// Kind of the error.
    pub code: ErrorCode,
    /// Problem, with a command to type.
    pub message: String,
}

impl AdminError {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// Creates an error for a request that the current state does not allow.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Failed, message)
    }

    /// Creates an error for an invalid request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// Creates an error for a request that the principal may not send.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// Creates an error for an object that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// Creates an error for a request that only a running server can answer.
    #[must_use]
    pub fn server_required() -> Self {
        Self::unreachable(
            "no server runs on this data file, or it is not ready yet: start it with `flowgate serve`",
        )
    }

    /// Creates an error for a server that is starting. `verified_percent` is the verified part of
    /// the data file, in percent.
    #[must_use]
    pub fn starting(verified_percent: u8) -> Self {
        let verified = match verified_percent {
            0 => String::new(),
            percent => format!(", {percent} %"),
        };
        let message = format!("the server is starting (verifying the data file{verified})");
        Self::new(ErrorCode::Busy, message)
    }

    /// Creates an error for an object that does not exist. `flowgate` lists the objects of its kind
    /// under the plural of `kind`.
    pub fn missing(kind: &str, key: impl Display) -> Self {
        Self::not_found(format!(
            "there is no {kind} {key}: `flowgate {kind}s` lists them"
        ))
    }

    /// Creates an error for a server or file that can't be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unreachable, message)
    }
}

impl From<&StoreError> for ErrorCode {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::InUse(_) => Self::Busy,
            StoreError::FileMissing(_)
            | StoreError::NotOpen
            | StoreError::File { .. }
            | StoreError::NotADataFile { .. }
            | StoreError::UnknownFormat { .. }
            | StoreError::UnknownTable(_) => Self::Unreachable,
            StoreError::SecretMissing(_) | StoreError::Following(_) => Self::Invalid,
            StoreError::Damaged(_) => Self::Damaged,
            StoreError::Untrusted(_) => Self::Untrusted,
            // The other parts of the file are intact.
            StoreError::Row { .. }
            | StoreError::NoSpace
            | StoreError::InsufficientSpace { .. }
            | StoreError::ChangeLogLost
            | StoreError::InvalidCopy(_)
            | StoreError::Engine(_) => Self::Failed,
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorCode::from(&error), error.to_string())
    }
}
