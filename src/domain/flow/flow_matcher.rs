//! Compares a completed form that arrives at `/webhook` with the conditions of a flow.
//!
//! See [`mod@super::match_flow`] for the choice of the flow.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::domain::ids::FlowToken;

/// Conditions by which a flow accepts messages of `/webhook`. All configured conditions must hold.
/// A matcher without conditions matches nothing.
///
/// A completed flow arrives without its flow ID (*Webhooks*, `nfm_reply`). Only the receiving
/// number, the prefix of the token and a constant field of the payload distinguish flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowMatcher {
    /// Receiving phone number IDs, of which one must match. Empty: any number.
    pub phone_number_ids: Vec<String>,
    /// Required prefix of the flow token. `None`: any token.
    pub token_prefix: Option<String>,
    /// Required values of fields, by field name. Numbers and booleans are compared in their JSON
    /// form.
    pub fields: BTreeMap<String, String>,
    /// `true` if the flow accepts all forms that no other matcher matches. Used instead of the
    /// other conditions.
    pub is_default: bool,
}

/// Known data of a completed flow that arrived at `/webhook`.
#[derive(Clone, Copy, Debug)]
pub struct MatchInput<'a> {
    /// Phone number ID that received the message.
    pub phone_number_id: Option<&'a str>,
    /// Flow token, usable or not.
    pub token: Option<&'a FlowToken>,
    /// Fields of the form.
    pub data: &'a Map<String, Value>,
}

impl FlowMatcher {
    /// Returns the number of conditions of the matcher.
    #[must_use]
    pub fn condition_count(&self) -> usize {
        usize::from(!self.phone_number_ids.is_empty())
            + usize::from(self.token_prefix.is_some())
            + self.fields.len()
    }

    /// Returns `true` if the matcher excludes the form from its flow. Either a condition does not
    /// hold, or the flow is the default flow and another flow matches the form (`is_claimed`). A
    /// matcher without conditions excludes nothing.
    #[must_use]
    pub fn excludes(&self, input: &MatchInput<'_>, is_claimed: bool) -> bool {
        !self.matches(input) || (self.is_default && is_claimed)
    }

    pub(super) fn matches(&self, facts: &MatchInput<'_>) -> bool {
        let is_known = |id: &str| self.phone_number_ids.iter().any(|known| known == id);
        let number =
            self.phone_number_ids.is_empty() || facts.phone_number_id.is_some_and(is_known);
        let has_prefix = |prefix: &String| {
            facts
                .token
                .is_some_and(|token| token.as_str().starts_with(prefix))
        };
        let token = self.token_prefix.as_ref().is_none_or(has_prefix);
        let field = |(name, wanted): (&String, &String)| match facts.data.get(name) {
            Some(Value::String(text)) => text == wanted,
            Some(Value::Number(number)) => number.to_string() == *wanted,
            Some(Value::Bool(value)) => wanted == if *value { "true" } else { "false" },
            _ => false,
        };
        number && token && self.fields.iter().all(field)
    }
}
