//! Which screen a phone is to be shown that did not send one.

use serde_json::{Map, Value, json};

use crate::domain::draft::Draft;
use crate::domain::flow::Flow;
use crate::domain::ids::{Customer, FlowToken};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Timestamp;

/// A screen that is to be shown: the form was opened, its user goes back, or whatever an action means that only a program
/// may know.
#[derive(Debug)]
pub struct Show<'a> {
    pub(super) flow: &'a Flow,
    /// The screen that a request names: going back, the one that is left.
    pub(super) named: Option<String>,
    pub(super) token: Option<FlowToken>,
    pub(super) way: Way,
}

/// Where a screen that is to be shown is seen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    Back,
    /// The user stays where they are, as far as we can tell.
    Unknown,
}

impl Show<'_> {
    /// Whether the user goes back.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.way == Way::Back
    }

    /// The token as it came.
    #[must_use]
    pub const fn token(&self) -> Option<&FlowToken> {
        self.token.as_ref()
    }

    /// The key of the form in the making, if anything tells whose it is.
    #[must_use]
    pub fn draft_key(&self) -> Option<IdempotencyKey> {
        IdempotencyKey::of_draft(&self.flow.name, self.token.as_ref(), &Customer::default())
    }

    /// What is kept of those who were `shown` something, and have answered nothing yet; `None` where nothing tells whose
    /// form it is.
    #[must_use]
    pub fn draft(&self, on: &str, shown: &Map<String, Value>, now: Timestamp) -> Option<(IdempotencyKey, Draft)> {
        let draft = Draft {
            flow: self.flow.name.clone(),
            flow_token: self.token.clone(),
            customer: Customer::default(),
            screen: on.into(),
            data: json!(shown).to_string().into(),
            updated_at: now,
        };
        Some((self.draft_key()?, draft))
    }

    /// The name of the screen, when these are the answers so far. Empty: the flow declares none, nor was one named.
    #[must_use]
    pub fn screen(&self, answers: &Map<String, Value>) -> String {
        let shown = match (self.way, self.named.as_deref()) {
            (Way::Open, _) | (_, None) => self.flow.screens.first(),
            // Sent while on this screen (*Flow JSON*, `refresh_on_back`): what is to be shown is the one before.
            (Way::Back, Some(left)) => self.flow.before(left, answers),
            (Way::Unknown, Some(on)) => self.flow.screen(on),
        };
        shown.map(|screen| screen.name.clone()).or_else(|| self.named.clone()).unwrap_or_default()
    }
}
