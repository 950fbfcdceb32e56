//! Defines a kind of destination: the trait [`Channel`]. Each kind implements the trait in one
//! file, from its credentials to the payload, the request, the meaning of the response and the
//! test. The workers know only the trait.
//!
//! See [`super::target`] for the choice of the channel, [`crate::config`] for the settings, and
//! [`crate::domain::delivery`] for messages and dispositions.

pub(crate) mod exchange;
pub(crate) mod gateway;
mod http_exchange;
pub(crate) mod smtp;
pub(crate) mod test_send;
pub(crate) mod webhook;
pub(crate) mod whatsapp;

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;

use hyper::Uri;

use crate::config::{DeliveryPolicy, Recipients};
use crate::domain::delivery::message::Recipient;
use crate::domain::delivery::receipt::PendingAttempt;
use crate::domain::event::EventKind;
use crate::domain::rate_limiter::RateLimit;
use crate::domain::time::Timestamp;
use crate::store::PendingDelivery;
use exchange::{Connection, FailedExchange, Message, SendOutcome};
use test_send::{TestError, TestReport, TestRequest};

/// Future of [`Channel::send`].
pub(crate) type SendFuture<'a> = Pin<Box<dyn Future<Output = SendOutcome> + Send + 'a>>;

/// Future of [`Channel::test`].
pub(crate) type TestFuture<'a> =
    Pin<Box<dyn Future<Output = Result<TestReport, TestError>> + Send + 'a>>;

/// Settings and credentials of one destination, with the behavior of its kind. `Debug` hides the
/// credentials.
pub(crate) trait Channel: Any + fmt::Debug + Send + Sync {
    /// Returns the URL that messages are sent to. Only the host of the URL may be shown.
    fn url(&self) -> &Uri;

    /// Returns the recipients, or `None` if the channel does not write to customers or agents.
    fn recipients(&self) -> Option<&Recipients> {
        None
    }

    /// Returns the rate that the destination shares with others. `None`: no shared rate.
    fn shared_rate(&self) -> Option<SharedRate> {
        None
    }

    /// Returns the recipient if deliveries to the recipient may be merged into one message.
    fn merge_key(&self, _pending: &PendingDelivery) -> Option<Recipient> {
        None
    }

    /// Builds the message of the first delivery. A channel that merges deliveries may add the
    /// others, in order, as far as they fit.
    ///
    /// # Errors
    /// Returns the reason why the message of the first delivery can't be built.
    fn build_payload(&self, input: PayloadInput<'_>) -> Result<Payload, String>;

    /// Returns the attempt that is recorded before the message is sent at `now`, because a second
    /// message would do harm. If no response arrives, a status may still show the result. `None`:
    /// nothing is recorded before.
    fn pending_attempt(
        &self,
        _policy: &DeliveryPolicy,
        _pending: &PendingDelivery,
        _now: Timestamp,
    ) -> Option<PendingAttempt> {
        None
    }

    /// Sends a message, and interprets the response.
    fn send<'a>(&'a self, connection: Connection<'a>, message: Message<'a>) -> SendFuture<'a>;

    /// Interprets the end of the attempt `attempt_number` without a complete response.
    fn interpret_failure(&self, failed: FailedExchange, attempt_number: u32) -> SendOutcome;

    /// Returns the event whose sample is sent as a test if the admin names none. Prefers an event
    /// of `subscribed`. `None`: a plain test is enough.
    fn default_test_event(&self, _subscribed: &BTreeSet<EventKind>) -> Option<EventKind> {
        None
    }

    /// Sends a test. See [`super::DeliveryTarget::test`] for the options that `request` may have.
    fn test<'a>(&'a self, connection: Connection<'a>, request: &'a TestRequest) -> TestFuture<'a>;

    /// Returns `true` if `other` has the same settings, secret values and hidden headers. The
    /// locations of the secrets do not matter.
    fn has_same_config(&self, other: &dyn Channel) -> bool;

    /// Returns `true` if `other` has the same URL and credentials.
    fn has_same_access(&self, other: &dyn Channel) -> bool;
}

/// Rate that a destination shares with others.
#[derive(Clone, Debug)]
pub(crate) struct SharedRate {
    pub(crate) key: LimiterKey,
    pub(crate) limit: RateLimit,
}

/// Key of a shared rate: the sender of the messages. Senders of different kinds may have the same
/// name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LimiterKey {
    sender_kind: &'static str,
    sender: String,
}

/// Deliveries for one message. More than one only if the channel merges them.
#[derive(Clone, Copy)]
pub(crate) struct PayloadInput<'a> {
    pub(crate) policy: &'a DeliveryPolicy,
    pub(crate) first: &'a PendingDelivery,
    pub(crate) others: &'a [PendingDelivery],
    pub(crate) now: Timestamp,
}

/// Message that is ready to be sent.
pub(crate) struct Payload {
    pub(crate) body: String,
    /// Number of deliveries in the message, at least 1.
    pub(crate) delivery_count: usize,
}

impl Payload {
    /// Returns the message of one delivery.
    const fn single(body: String) -> Self {
        Self {
            body,
            delivery_count: 1,
        }
    }
}

/// Returns `other` if it is a channel of the kind `C`.
fn downcast<C: Channel>(other: &dyn Channel) -> Option<&C> {
    let other: &dyn Any = other;
    other.downcast_ref()
}
