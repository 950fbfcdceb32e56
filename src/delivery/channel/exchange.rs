//! Defines an exchange with a destination of any kind: connection, message and result.

use std::time::Duration;

use hyper::header::HeaderMap;

use crate::domain::delivery::{AttemptEnd, Disposition, ResponseRecord};
use crate::domain::rate_limiter::RemoteQuota;
use crate::domain::time::Timestamp;
use crate::net::{HttpClients, Proxy};
use crate::store::MessageOutcome;

/// Network access for one exchange.
#[derive(Clone, Copy)]
pub(crate) struct Connection<'a> {
    pub(crate) clients: &'a HttpClients,
    /// Proxy to the destination. `None`: direct connection.
    pub(crate) proxy: Option<&'a Proxy>,
    /// Maximum time of the exchange.
    pub(crate) deadline: Duration,
}

/// Message of one attempt.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Webhook ID. All attempts of a delivery have the same ID.
    pub(crate) id: &'a str,
    pub(crate) body: &'a str,
    /// Time of the attempt. Receivers refuse a signature that is minutes old.
    pub(crate) now: Timestamp,
    /// Number of the attempt, from 1.
    pub(crate) attempt_number: u32,
}

/// Result of sending a message.
#[derive(Clone, Debug)]
pub(crate) struct SendOutcome {
    pub(crate) disposition: Disposition,
    /// Stored part of the response.
    pub(crate) response: ResponseRecord,
    /// Headers of the response.
    pub(crate) headers: HeaderMap,
    /// Reason of a failure, for lists and logs. No meaning after a success.
    pub(crate) reason: String,
    /// Remaining quota that the response announced.
    pub(crate) quota: Option<RemoteQuota>,
    /// Existence of the message. `None`: the destination reports no statuses of its messages.
    pub(crate) message_outcome: Option<MessageOutcome>,
}

/// Exchange without a complete response.
#[derive(Clone, Debug)]
pub(crate) struct FailedExchange {
    /// [`AttemptEnd::NotSent`] or [`AttemptEnd::Unknown`].
    pub(crate) end: AttemptEnd,
    /// Reason, without anything that was sent.
    pub(crate) reason: String,
}

impl SendOutcome {
    /// Returns the result of an attempt without a response.
    pub(crate) fn without_response(disposition: Disposition, reason: String) -> Self {
        Self {
            disposition,
            response: ResponseRecord::default(),
            headers: HeaderMap::new(),
            reason,
            quota: None,
            message_outcome: None,
        }
    }
}
