//! A destination with its secrets at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::config::{Destination, Means, Secret, SmtpRule};
use crate::domain::ids::DestinationName;
use crate::outgoing::Proxy;
use crate::signing::SigningKey;

/// Who is told, and as whom. Its secrets are not shown.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// As the config has it.
    pub rule: Destination,
    /// What it is shown.
    pub credentials: Credentials,
    /// Who carries it there.
    pub proxy: Option<Proxy>,
}

/// What a destination is shown, so that it knows who tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    /// A webhook.
    Webhook {
        /// What messages are signed with, newest first.
        keys: Vec<SigningKey>,
        /// Headers that it asks for. Sensitive ones are marked as such.
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// The Graph API.
    Whatsapp {
        /// `Bearer …`, marked as sensitive.
        bearer: HeaderValue,
    },
    /// A mail server.
    Smtp {
        /// The password of its user, where it has one.
        password: Option<Secret>,
    },
}

impl Recipient {
    /// Whether it is told in the same way. Where a secret stands makes no difference.
    #[must_use]
    pub fn is_told_like(&self, other: &Self) -> bool {
        let (one, two) = (&self.rule, &other.rule);
        let Destination { means, concurrency, rate, timeout, breaker, retry, allow_private, ordered, proxy: _ } = one;
        let same_pace = (*concurrency, *rate, *timeout) == (two.concurrency, two.rate, two.timeout);
        let same_patience = *breaker == two.breaker && *retry == two.retry;
        let same_address =
            means.url() == two.means.url() && *allow_private == two.allow_private && *ordered == two.ordered;
        let same_words = match (means, &two.means) {
            (Means::Whatsapp(one), Means::Whatsapp(two)) => {
                let same_waits = one.status_wait == two.status_wait && one.customer_wait == two.customer_wait;
                same_waits && one.to == two.to && one.messages == two.messages
            }
            (Means::Smtp(one), Means::Smtp(two)) => {
                let user = |rule: &SmtpRule| rule.login.as_ref().map(|login| login.user.clone());
                let same_boxes = one.from == two.from && one.to == two.to && one.reply_to == two.reply_to;
                same_boxes && one.tls == two.tls && user(one) == user(two) && one.messages == two.messages
            }
            _ => true,
        };
        same_pace
            && same_patience
            && same_address
            && same_words
            && self.credentials == other.credentials
            && self.proxy == other.proxy
    }
}

/// All of them.
pub type Recipients = BTreeMap<DestinationName, Arc<Recipient>>;
