//! Selects the screen for a request that does not submit a screen.

use serde_json::{Map, Value, json};

use crate::domain::flow::Flow;
use crate::domain::ids::{Customer, FlowToken};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::Draft;
use crate::domain::time::Timestamp;

/// Request for a screen: the form was opened, the customer goes back, or the request has an action
/// that only an upstream may know.
#[derive(Debug)]
pub struct ScreenRequest<'a> {
    pub(super) flow: &'a Flow,
    /// Screen that the request names. For a step back, the screen that the customer leaves.
    pub(super) requested_screen: Option<String>,
    pub(super) token: Option<FlowToken>,
    pub(super) transition: Transition,
}

/// Origin of the request for a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    Open,
    Back,
    /// The action is unknown. The customer is assumed to stay on the screen.
    Unknown,
}

impl ScreenRequest<'_> {
    /// Returns `true` if the customer goes back.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.transition == Transition::Back
    }

    /// Returns the flow token as received.
    #[must_use]
    pub const fn token(&self) -> Option<&FlowToken> {
        self.token.as_ref()
    }

    /// Returns the key of the draft. Returns `None` if no token identifies the form.
    #[must_use]
    pub fn draft_key(&self) -> Option<IdempotencyKey> {
        IdempotencyKey::for_draft(&self.flow.name, self.token.as_ref(), &Customer::default())
    }

    /// Returns the draft for a customer who has seen the values `shown_data` and has not answered
    /// yet. Returns `None` if no token identifies the form.
    #[must_use]
    pub fn draft(
        &self,
        current_screen: &str,
        shown_data: &Map<String, Value>,
        now: Timestamp,
    ) -> Option<(IdempotencyKey, Draft)> {
        let draft = Draft {
            flow: self.flow.name.clone(),
            flow_token: self.token.clone(),
            customer: Customer::default(),
            screen: current_screen.into(),
            data: json!(shown_data).to_string().into(),
            updated_at: now,
        };
        Some((self.draft_key()?, draft))
    }

    /// Returns the name of the screen to show, given the answers of the form. The name is empty if
    /// the flow declares no screen and the request names none.
    #[must_use]
    pub fn resolve_screen(&self, answers: &Map<String, Value>) -> String {
        let target = match (self.transition, self.requested_screen.as_deref()) {
            (Transition::Open, _) | (_, None) => self.flow.screens.first(),
            // The client sends this screen while the customer is still on it (*Flow JSON*,
            // `refresh_on_back`). The screen to show is the previous one.
            (Transition::Back, Some(from)) => self.flow.previous_screen(from, answers),
            (Transition::Unknown, Some(current)) => self.flow.find_screen(current),
        };
        target
            .map(|screen| screen.name.clone())
            .or_else(|| self.requested_screen.clone())
            .unwrap_or_default()
    }
}
