//! Finds the flow of a completed form that arrives at `/webhook`, because Meta's message does not
//! name the flow.
//!
//! See [`crate::intake`] for parsing the message.

use std::cmp::Reverse;

use super::Flow;
use super::flow_matcher::MatchInput;

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
    let matches = |flow: &&Flow| flow.matcher.condition_count() > 0 && flow.matcher.matches(input);
    let matching = flows.iter().copied().filter(matches);
    let best = matching.min_by_key(|flow| (Reverse(flow.matcher.condition_count()), &flow.name));
    best.or_else(|| flows.into_iter().find(|flow| flow.matcher.is_default))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::super::FlowMatcher;
    use super::*;
    use crate::domain::ids::{FlowName, FlowToken};

    fn flow(name: &str) -> Flow {
        Flow::new(FlowName::new(name).unwrap(), format!("/flows/{name}"))
    }

    /// Asserts that `flows` match a form of this number, with this token and these fields, as
    /// `expected`.
    fn assert_matched(flows: &[Flow], form: (&str, &str, Value), expected: Option<&str>) {
        let (number, token, data) = form;
        let flow_token = FlowToken::new(token).ok();
        let input = MatchInput {
            phone_number_id: Some(number),
            token: flow_token.as_ref(),
            data: data.as_object().unwrap(),
        };
        let flow = match_flow(flows, &input).map(|flow| flow.name.as_str());
        assert_eq!(flow, expected, "{number} {token} {data}");
    }

    fn default_matcher() -> FlowMatcher {
        FlowMatcher {
            is_default: true,
            ..FlowMatcher::default()
        }
    }

    #[test]
    fn unconditional_flow_matches_only_when_alone() {
        assert_matched(&[flow("a")], ("1", "t", json!({})), Some("a"));
        assert_matched(&[flow("a"), flow("b")], ("1", "t", json!({})), None);
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
        let fields = [("kind", "test"), ("level", "3")];
        let by_fields = FlowMatcher {
            fields: fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..FlowMatcher::default()
        };
        let flows = [
            ("a", by_number),
            ("b", by_prefix),
            ("c", by_fields),
            ("0", default_matcher()),
        ]
        .map(|(name, matcher)| Flow {
            matcher,
            ..flow(name)
        });
        let both = || json!({"kind": "test", "level": 3});
        for (form, expected) in [
            (("2", "t", json!({})), Some("a")),
            (("2", "b-1", json!({})), Some("b")),
            (("3", "b-1", json!({})), None),
            (("3", "t", both()), Some("c")),
            (("3", "t", json!({"kind": "test"})), None),
        ] {
            let with_default = expected.or(Some("0"));
            assert_matched(&flows, form.clone(), with_default);
            assert_matched(&flows[..3], form, expected);
        }
        // A single flow with conditions matches only what its conditions allow.
        assert_matched(&flows[..1], ("3", "t", json!({})), None);
        assert_matched(&flows[3..], ("3", "t", json!({})), Some("0"));
    }

    #[test]
    fn matcher_excludes_other_messages_only_if_set() {
        let numbered = FlowMatcher {
            phone_number_ids: vec!["1".to_owned()],
            ..FlowMatcher::default()
        };
        let data = Map::new();
        let input = |number| MatchInput {
            phone_number_id: Some(number),
            token: None,
            data: &data,
        };
        let excluded = |matcher: &FlowMatcher| {
            [("1", true), ("2", true), ("2", false)]
                .map(|(number, is_claimed)| matcher.excludes(&input(number), is_claimed))
        };
        assert_eq!(excluded(&numbered), [false, true, true]);
        assert_eq!(excluded(&default_matcher()), [true, true, false]);
        assert_eq!(excluded(&FlowMatcher::default()), [false; 3]);
    }
}
