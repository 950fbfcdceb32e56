//! Finds the flow of a completed form that arrives at `/webhook`, because Meta's message does not
//! name the flow.
//!
//! See [`crate::intake`] for parsing the message.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Flow;
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

/// Returns the flow that a completed form of `/webhook` belongs to.
///
/// The flow with the most conditions wins among all flows whose matcher matches (number, token and
/// each field count one condition). With equal counts, the first flow by name wins. The default
/// flow gets forms that no matcher matches. A single flow without conditions gets all forms.
/// Returns `None` if no flow matches, and the form becomes a dead letter.
pub fn match_flow<'a>(
    flows: impl IntoIterator<Item = &'a Flow>,
    input: &MatchInput<'_>,
) -> Option<&'a Flow> {
    let flows: Vec<&Flow> = flows.into_iter().collect();
    if let [only] = flows.as_slice()
        && only.matcher.condition_count() == 0
    {
        return Some(only);
    }
    let best = flows
        .iter()
        .copied()
        .filter(|flow| flow.matcher.condition_count() > 0 && flow.matcher.matches(input));
    let matching = best.min_by_key(|flow| (Reverse(flow.matcher.condition_count()), &flow.name));
    matching.or_else(|| flows.into_iter().find(|flow| flow.matcher.is_default))
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

    fn matches(&self, facts: &MatchInput<'_>) -> bool {
        let number = self.phone_number_ids.is_empty()
            || facts
                .phone_number_id
                .is_some_and(|id| self.phone_number_ids.iter().any(|known| known == id));
        let token = self.token_prefix.as_ref().is_none_or(|prefix| {
            facts
                .token
                .is_some_and(|token| token.as_str().starts_with(prefix))
        });
        let field = |(name, wanted): (&String, &String)| match facts.data.get(name) {
            Some(Value::String(text)) => text == wanted,
            Some(Value::Number(number)) => number.to_string() == *wanted,
            Some(Value::Bool(value)) => wanted == if *value { "true" } else { "false" },
            _ => false,
        };
        number && token && self.fields.iter().all(field)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::FlowName;

    fn flow(name: &str) -> Flow {
        Flow::new(FlowName::new(name).unwrap(), format!("/flows/{name}"))
    }

    fn matched_flow(flows: &[Flow], number: &str, token: &str, data: &Value) -> Option<String> {
        let (token, data) = (
            FlowToken::new(token).ok(),
            data.as_object().unwrap().clone(),
        );
        let input = MatchInput {
            phone_number_id: Some(number),
            token: token.as_ref(),
            data: &data,
        };
        match_flow(flows, &input).map(|flow| flow.name.to_string())
    }

    #[test]
    fn unconditional_flow_matches_only_when_alone() {
        let one = [flow("a")];
        assert_eq!(
            matched_flow(&one, "1", "t", &json!({})).as_deref(),
            Some("a")
        );
        let two = [flow("a"), flow("b")];
        assert_eq!(matched_flow(&two, "1", "t", &json!({})), None);
    }

    #[test]
    fn flow_with_most_matching_conditions_wins() {
        let by_number = FlowMatcher {
            phone_number_ids: vec!["1".to_owned(), "2".to_owned()],
            ..FlowMatcher::default()
        };
        let by_prefix = FlowMatcher {
            token_prefix: Some("b-".to_owned()),
            ..by_number.clone()
        };
        let fields = BTreeMap::from([
            ("kind".to_owned(), "test".to_owned()),
            ("level".to_owned(), "3".to_owned()),
        ]);
        let by_fields = FlowMatcher {
            fields,
            ..FlowMatcher::default()
        };
        let flows =
            [("a", by_number), ("b", by_prefix), ("c", by_fields)].map(|(name, webhook)| Flow {
                matcher: webhook,
                ..flow(name)
            });
        assert_eq!(
            matched_flow(&flows, "2", "t", &json!({})).as_deref(),
            Some("a")
        );
        assert_eq!(
            matched_flow(&flows, "2", "b-1", &json!({})).as_deref(),
            Some("b")
        );
        assert_eq!(matched_flow(&flows, "3", "b-1", &json!({})), None);
        assert_eq!(
            matched_flow(&flows, "3", "t", &json!({"kind": "test", "level": 3})).as_deref(),
            Some("c")
        );
        assert_eq!(
            matched_flow(&flows, "3", "t", &json!({"kind": "test"})),
            None
        );
        assert_eq!(
            matched_flow(&flows[..1], "3", "t", &json!({})),
            None,
            "a single flow with a rule keeps to it"
        );

        let default = Flow {
            matcher: FlowMatcher {
                is_default: true,
                ..FlowMatcher::default()
            },
            ..flow("0")
        };
        let flows = [&flows[..], &[default]].concat();
        assert_eq!(
            matched_flow(&flows, "3", "t", &json!({})).as_deref(),
            Some("0"),
            "the rest"
        );
        assert_eq!(
            matched_flow(&flows, "2", "t", &json!({})).as_deref(),
            Some("a"),
            "a rule comes first"
        );
        assert_eq!(
            matched_flow(&flows[3..], "3", "t", &json!({})).as_deref(),
            Some("0")
        );
    }

    #[test]
    fn matcher_excludes_other_messages_only_if_set() {
        let numbered = FlowMatcher {
            phone_number_ids: vec!["1".to_owned()],
            ..FlowMatcher::default()
        };
        let default = FlowMatcher {
            is_default: true,
            ..FlowMatcher::default()
        };
        let data = Map::new();
        let facts = |number| MatchInput {
            phone_number_id: Some(number),
            token: None,
            data: &data,
        };
        let excluded = |rule: &FlowMatcher| {
            [("1", true), ("2", true), ("2", false)]
                .map(|(number, is_claimed)| rule.excludes(&facts(number), is_claimed))
        };
        assert_eq!(excluded(&numbered), [false, true, true]);
        assert_eq!(excluded(&default), [true, true, false]);
        assert_eq!(excluded(&FlowMatcher::default()), [false; 3]);
    }
}
