//! Defines the reasons for a missing response. See [`super::client`] for the requests.

use std::error::Error;
use std::time::Duration;

/// Reason for a missing response. The text contains the destination's host, but never the sent
/// data.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// This machine has no root certificates. Nothing was sent.
    #[error(
        "no CA certificates found, so TLS certificates can't be verified: \
         install the package ca-certificates"
    )]
    NoRootCertificates,
    /// TLS could not be set up.
    #[error("can't set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No connection, or no trusted server. Nothing was sent.
    #[error("can't reach {host}: {why}")]
    Unreachable {
        /// Host, with the port if the URL has one.
        host: String,
        /// Cause of the failure.
        why: String,
    },
    /// The connection closed too early. It is unknown whether the request was accepted.
    #[error("the connection to {host} closed before the response was complete: {why}")]
    Disconnected {
        /// Host, with the port if the URL has one.
        host: String,
        /// Cause of the failure.
        why: String,
    },
    /// The deadline passed on an open connection. It is unknown whether the request was accepted.
    #[error("no complete response from {host} within {} s", deadline.as_secs_f64())]
    Timeout {
        /// Host, with the port if the URL has one.
        host: String,
        /// Time of the deadline, from the start of the request.
        deadline: Duration,
    },
    /// The response is too large. The server has accepted the request.
    #[error("the response from {host} has more than {bytes_max} bytes")]
    ResponseTooLarge {
        /// Host, with the port if the URL has one.
        host: String,
        /// Maximum size of the body, in bytes.
        bytes_max: usize,
    },
    /// Other responses to the same client use all its memory for responses. The server has accepted
    /// the request.
    #[error("the memory for responses from {host} is full")]
    ResponseMemoryFull {
        /// Host, with the port if the URL has one.
        host: String,
    },
}

/// Returns the root cause of an error, such as "connection refused". The outer errors say only
/// "client error".
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut root_cause = error;
    while let Some(deeper) = root_cause.source() {
        root_cause = deeper;
    }
    root_cause.to_string()
}
