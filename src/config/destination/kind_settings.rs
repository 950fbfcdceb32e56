//! Defines the properties that each kind of destination gives to the rest of the config, and the
//! defaults of the settings that all kinds have.

use hyper::Uri;

use super::recipients::Recipients;
use crate::domain::event::EventKind;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Millis;

/// Settings of one kind of destination.
pub trait KindSettings {
    /// Returns the name of the kind.
    fn kind(&self) -> &'static str;

    /// Returns the URL, or `None` if the URL is a secret.
    fn url(&self) -> Option<&Uri>;

    /// Returns the host of the URL, with the port if the URL has one. The rest of the URL must not
    /// be shown, because it may contain a token. If the URL is a secret, returns the location of
    /// the secret.
    fn host(&self) -> String {
        let authority = self.url().and_then(Uri::authority);
        authority.map(ToString::to_string).unwrap_or_default()
    }

    /// Returns the recipients, or `None` if the destination does not write to customers or agents.
    fn recipients(&self) -> Option<&Recipients> {
        None
    }

    /// Returns the addresses of the mailboxes that get the events.
    fn mailboxes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns `true` if the destination has a payload or message for this kind of event.
    fn supports(&self, kind: EventKind) -> bool;

    /// Returns `true` if the requests are signed.
    fn is_signed(&self) -> bool {
        false
    }

    /// Returns the warnings about the settings, one sentence each.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Defaults and limits of the settings that all kinds have.
pub(super) struct KindDefaults {
    /// Default number of deliveries in flight.
    pub(super) concurrency: usize,
    /// Default maximum time for one response.
    pub(super) timeout: Millis,
    /// Maximum of `timeout`.
    pub(super) timeout_max: Millis,
    /// Default maximum number of deliveries per period. `None`: no limit.
    pub(super) rate: Option<Rate>,
    /// Reason why the kind has no `rate` of its own. `None`: it has one.
    pub(super) rate_refusal: Option<&'static str>,
    /// Default maximum age of an event. `None`: no maximum.
    pub(super) max_age: Option<Millis>,
    /// Reason why the kind can't use a proxy. `None`: it can.
    pub(super) proxy_refusal: Option<&'static str>,
}

impl KindDefaults {
    /// Defaults for HTTP requests to a program.
    pub(super) const WEBHOOK: Self = Self {
        concurrency: 8,
        timeout: Millis::from_secs(15),
        timeout_max: Millis::from_secs(60),
        rate: None,
        rate_refusal: None,
        max_age: None,
        proxy_refusal: None,
    };

    /// Defaults for messages to people: a message that is a day old would do harm.
    pub(super) const MESSAGE: Self = Self {
        max_age: Some(Millis::from_secs(24 * 3600)),
        ..Self::WEBHOOK
    };
}
