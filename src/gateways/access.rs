//! A gateway with its secrets at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::HeaderValue;

use crate::config::{GatewayRule, Secret};
use crate::domain::gateway::session::SessionRule;
use crate::domain::ids::GatewayName;

/// Whom to ask, and as whom. Its secrets are not shown.
#[derive(Clone, Debug)]
pub struct Access {
    /// As the config has it.
    pub rule: GatewayRule,
    /// The session's key, or the API's, as it stands in its header. Marked as sensitive.
    pub key: HeaderValue,
    /// The personal access token likewise; of `WASenderApi` only.
    pub token: Option<HeaderValue>,
    /// What its webhook proves itself with.
    pub webhook_secret: Secret,
}

/// All of them.
pub type Accesses = BTreeMap<GatewayName, Arc<Access>>;

impl Access {
    /// Whether it is asked, and listened to, in the same way. Where a secret stands makes no difference.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let same_keys = self.key == other.key && self.token == other.token;
        self.rule == other.rule && same_keys && self.webhook_secret.expose() == other.webhook_secret.expose()
    }

    /// How its session is looked after.
    pub(super) const fn session_rule(&self) -> SessionRule {
        SessionRule { kind: self.rule.kind, check: self.rule.check, silent_after: self.rule.silent_after }
    }

    /// `text`, unless one of its keys stands in it.
    pub(super) fn without_keys(&self, text: &str) -> Option<String> {
        let mut keys = [Some(&self.key), self.token.as_ref()].into_iter().flatten().filter_map(|key| key.to_str().ok());
        let has_key = keys.any(|key| text.contains(key.trim_start_matches("Bearer ")));
        (!has_key && !text.contains(self.webhook_secret.expose().as_str())).then(|| text.to_owned())
    }
}
