//! A destination with its secrets at hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use crate::config::{Destination, Means, Secret, SmtpRule};
use crate::domain::gateway::GatewayKind;
use crate::domain::ids::DestinationName;
use crate::outgoing::{Proxy, without_token};
use crate::signing::SigningKey;

/// Shorter parts of a URL are words, or names that are no secret by themselves.
const TOKEN_CHARS: usize = 16;

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
        /// Where it is.
        endpoint: Endpoint,
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
    /// An unofficial gateway.
    Gateway {
        /// Its program, which decides the header of the key and the form of answers.
        kind: GatewayKind,
        /// The key as it stands in its header, marked as sensitive.
        key: HeaderValue,
    },
    /// A mail server.
    Smtp {
        /// The password of its user, where it has one.
        password: Option<Secret>,
    },
}

impl Credentials {
    /// Returns true if both hide the same headers. `==` does not tell: the equality of [`HeaderValue`] ignores the mark.
    fn hide_like(&self, other: &Self) -> bool {
        let marks = |credentials: &Self| -> Vec<bool> {
            match credentials {
                Self::Webhook { headers, .. } => headers.iter().map(|(_, value)| value.is_sensitive()).collect(),
                // What these show is always hidden.
                Self::Whatsapp { .. } | Self::Gateway { .. } | Self::Smtp { .. } => Vec::new(),
            }
        };
        marks(self) == marks(other)
    }
}

/// Where a webhook is. `Debug` shows its host alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Uri,
    is_secret: bool,
}

impl Endpoint {
    /// The URL `url`, which whoever knows it may post to where it `is_secret`.
    #[must_use]
    pub const fn new(url: Uri, is_secret: bool) -> Self {
        Self { url, is_secret }
    }

    /// An answer without what is secret of the URL: some repeat where they were asked.
    #[must_use]
    pub fn hide_in(&self, answer: &str) -> String {
        if !self.is_secret {
            return answer.to_owned();
        }
        let whole = self.url.path_and_query().map_or("", |path| path.as_str());
        let parts = whole.split(['/', '?', '&', '=']).filter(|part| part.len() >= TOKEN_CHARS);
        let secrets = [whole, self.url.path()].into_iter().filter(|path| path.len() > 1).chain(parts);
        secrets.fold(answer.to_owned(), |answer, secret| without_token(&answer, secret))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.url.host().unwrap_or_default()).finish()
    }
}

impl Recipient {
    /// Where it is asked.
    #[must_use]
    pub fn url(&self) -> Option<&Uri> {
        match &self.credentials {
            Credentials::Webhook { endpoint, .. } => Some(&endpoint.url),
            Credentials::Whatsapp { .. } | Credentials::Gateway { .. } | Credentials::Smtp { .. } => {
                self.rule.means.url()
            }
        }
    }

    /// The host that is asked, with its port if one is written.
    #[must_use]
    pub fn host(&self) -> String {
        self.url().and_then(Uri::authority).map(|authority| authority.as_str().to_owned()).unwrap_or_default()
    }

    /// Returns `true` if both send in the same way and hide the same headers. The place of a secret makes no other difference.
    #[must_use]
    pub fn is_told_like(&self, other: &Self) -> bool {
        let (one, two) = (&self.rule, &other.rule);
        let Destination {
            means,
            concurrency,
            rate,
            timeout,
            breaker,
            retry,
            allow_private,
            ordered,
            expires,
            proxy: _,
        } = one;
        let same_pace = (*concurrency, *rate, *timeout) == (two.concurrency, two.rate, two.timeout);
        let same_patience = *breaker == two.breaker && *retry == two.retry && *expires == two.expires;
        let same_address = self.url() == other.url() && *allow_private == two.allow_private && *ordered == two.ordered;
        let same_words = match (means, &two.means) {
            (Means::Whatsapp(one), Means::Whatsapp(two)) => {
                let same_waits = one.status_wait == two.status_wait && one.customer_wait == two.customer_wait;
                let same_pace = one.number_rate == two.number_rate;
                same_waits && same_pace && one.to == two.to && one.messages == two.messages
            }
            (Means::Webhook(one), Means::Webhook(two)) => one.body == two.body,
            (Means::Gateway(one), Means::Gateway(two)) => {
                let same_way = (&one.gateway, one.kind, &one.session) == (&two.gateway, two.kind, &two.session);
                let same_pace = one.limit == two.limit && one.customer_wait == two.customer_wait;
                same_way && same_pace && one.to == two.to && one.messages == two.messages
            }
            (Means::Smtp(one), Means::Smtp(two)) => {
                let user = |rule: &SmtpRule| rule.login.as_ref().map(|login| login.user.clone());
                let same_boxes = one.from == two.from && one.to == two.to && one.reply_to == two.reply_to;
                same_boxes && one.tls == two.tls && user(one) == user(two) && one.messages == two.messages
            }
            (one, two) => std::mem::discriminant(one) == std::mem::discriminant(two),
        };
        same_pace
            && same_patience
            && same_address
            && same_words
            && self.credentials == other.credentials
            && self.credentials.hide_like(&other.credentials)
            && self.proxy == other.proxy
    }
}

/// All of them.
pub type Recipients = BTreeMap<DestinationName, Arc<Recipient>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(is_secret: bool) -> Endpoint {
        let url =
            "https://chat.example/api/webhooks/1234/aBcDeFgHiJkLmNoP?thread=7&sig=zYxWvUtSrQpOnMlK".parse().unwrap();
        Endpoint::new(url, is_secret)
    }

    #[test]
    fn an_answer_that_repeats_where_it_was_asked_does_not_show_what_is_secret_of_it() {
        for (answer, shown) in [
            ("no /api/webhooks/1234/aBcDeFgHiJkLmNoP?thread=7&sig=zYxWvUtSrQpOnMlK here", "no … here"),
            ("{\"path\":\"/api/webhooks/1234/aBcDeFgHiJkLmNoP\"}", "{\"path\":\"…\"}"),
            ("bad token aBcDeFgHiJkLmNoP", "bad token …"),
            ("sig zYxWvUtSrQpOnMlK of thread 7", "sig … of thread 7"),
            ("no webhook 1234", "no webhook 1234"),
        ] {
            assert_eq!(endpoint(true).hide_in(answer), shown);
            assert_eq!(endpoint(false).hide_in(answer), answer);
        }
    }

    #[test]
    fn a_url_is_not_shown_while_looking_for_mistakes_either() {
        assert_eq!(format!("{:?}", endpoint(false)), "Endpoint(\"chat.example\")");
    }
}
