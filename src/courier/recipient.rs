//! A destination with its secrets at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::config::Destination;
use crate::domain::ids::DestinationName;
use crate::signing::SigningKey;

/// Who is told, and as whom. Its secrets are not shown.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// As the config has it.
    pub rule: Destination,
    /// What messages are signed with, newest first.
    pub keys: Vec<SigningKey>,
    /// Headers that it asks for. Sensitive ones are marked as such.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Recipient {
    /// Whether it is told in the same way. Where a secret stands makes no difference.
    #[must_use]
    pub fn is_told_like(&self, other: &Self) -> bool {
        let (one, two) = (&self.rule, &other.rule);
        let Destination { webhook, concurrency, rate, timeout, breaker, retry, allow_private, ordered } = one;
        let same_pace = (*concurrency, *rate, *timeout) == (two.concurrency, two.rate, two.timeout);
        let same_patience = *breaker == two.breaker && *retry == two.retry;
        let same_place =
            webhook.url == two.webhook.url && *allow_private == two.allow_private && *ordered == two.ordered;
        same_pace && same_patience && same_place && self.keys == other.keys && self.headers == other.headers
    }
}

/// All of them.
pub type Recipients = BTreeMap<DestinationName, Arc<Recipient>>;
