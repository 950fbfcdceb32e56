//! Which flow a completed form of `/webhook` belongs to: nothing of Meta's says so.
//!
//! Reading the message is `crate::intake`'s.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::flow::Flow;
use super::ids::FlowToken;

/// Which messages of `/webhook` belong to a flow. All that is given must hold; nothing given claims nothing.
///
/// A completed flow comes without the flow's id (*Webhooks*, `nfm_reply`): the number it was sent to, the beginning of
/// the token and a constant field of the payload are all there is to tell flows apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookRule {
    /// It came to one of these numbers of ours. Empty: to any.
    pub phone_number_ids: Vec<String>,
    /// Its token begins like this.
    pub token_prefix: Option<String>,
    /// These fields have these values. A number or a boolean is compared by how JSON writes it.
    pub fields: BTreeMap<String, String>,
    /// Instead of all these: the form fits no other flow's rule.
    pub is_default: bool,
}

/// What is known of a completed flow that came through `/webhook`.
#[derive(Clone, Copy, Debug)]
pub struct WebhookFacts<'a> {
    /// The number of ours that it came to.
    pub phone_number_id: Option<&'a str>,
    /// Its token, usable or not.
    pub token: Option<&'a FlowToken>,
    /// Its fields.
    pub data: &'a Map<String, Value>,
}

/// The flow that a completed form of `/webhook` belongs to.
///
/// Of the flows whose rule holds it is the one that asks for most (number, token, each field: one each), then the first
/// by name. What fits none is the default flow's, and everything is that of a single flow without a rule. `None`: nobody's,
/// a dead letter.
pub fn claimant<'a>(flows: impl IntoIterator<Item = &'a Flow>, facts: &WebhookFacts<'_>) -> Option<&'a Flow> {
    let flows: Vec<&Flow> = flows.into_iter().collect();
    if let [only] = flows.as_slice()
        && only.webhook.conditions() == 0
    {
        return Some(only);
    }
    let claiming = flows.iter().copied().filter(|flow| flow.webhook.conditions() > 0 && flow.webhook.holds(facts));
    let claiming = claiming.min_by_key(|flow| (Reverse(flow.webhook.conditions()), &flow.name));
    claiming.or_else(|| flows.into_iter().find(|flow| flow.webhook.is_default))
}

impl WebhookRule {
    /// How many conditions it makes.
    #[must_use]
    pub fn conditions(&self) -> usize {
        usize::from(!self.phone_number_ids.is_empty()) + usize::from(self.token_prefix.is_some()) + self.fields.len()
    }

    /// Returns `true` if the rule says that a form is not its flow's: a condition does not hold, or the flow takes only what
    /// fits no other rule and another flow claims the form (`is_claimed`). A flow without a rule excludes nothing.
    #[must_use]
    pub fn excludes(&self, facts: &WebhookFacts<'_>, is_claimed: bool) -> bool {
        !self.holds(facts) || (self.is_default && is_claimed)
    }

    fn holds(&self, facts: &WebhookFacts<'_>) -> bool {
        let number = self.phone_number_ids.is_empty()
            || facts.phone_number_id.is_some_and(|id| self.phone_number_ids.iter().any(|known| known == id));
        let token = self
            .token_prefix
            .as_ref()
            .is_none_or(|prefix| facts.token.is_some_and(|token| token.as_str().starts_with(prefix)));
        let field = |(name, wanted): (&String, &String)| match facts.data.get(name) {
            Some(Value::String(text)) => text == wanted,
            Some(Value::Number(number)) => number.to_string() == *wanted,
            Some(Value::Bool(yes)) => wanted == if *yes { "true" } else { "false" },
            _ => false,
        };
        number && token && self.fields.iter().all(field)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ids::FlowName;
    use super::*;

    fn flow(name: &str) -> Flow {
        Flow::new(FlowName::new(name).unwrap(), format!("/flows/{name}"))
    }

    fn claimed(flows: &[Flow], number: &str, token: &str, data: &Value) -> Option<String> {
        let (token, data) = (FlowToken::new(token).ok(), data.as_object().unwrap().clone());
        let facts = WebhookFacts { phone_number_id: Some(number), token: token.as_ref(), data: &data };
        claimant(flows, &facts).map(|flow| flow.name.to_string())
    }

    #[test]
    fn a_single_flow_without_a_rule_claims_all_and_of_several_none_does() {
        let one = [flow("a")];
        assert_eq!(claimed(&one, "1", "t", &json!({})).as_deref(), Some("a"));
        let two = [flow("a"), flow("b")];
        assert_eq!(claimed(&two, "1", "t", &json!({})), None);
    }

    #[test]
    fn all_conditions_of_a_rule_must_hold_and_the_rule_with_most_wins() {
        let numbered = WebhookRule { phone_number_ids: vec!["1".to_owned(), "2".to_owned()], ..WebhookRule::default() };
        let prefixed = WebhookRule { token_prefix: Some("b-".to_owned()), ..numbered.clone() };
        let fields = BTreeMap::from([("kind".to_owned(), "test".to_owned()), ("level".to_owned(), "3".to_owned())]);
        let fielded = WebhookRule { fields, ..WebhookRule::default() };
        let flows =
            [("a", numbered), ("b", prefixed), ("c", fielded)].map(|(name, webhook)| Flow { webhook, ..flow(name) });
        assert_eq!(claimed(&flows, "2", "t", &json!({})).as_deref(), Some("a"));
        assert_eq!(claimed(&flows, "2", "b-1", &json!({})).as_deref(), Some("b"));
        assert_eq!(claimed(&flows, "3", "b-1", &json!({})), None);
        assert_eq!(claimed(&flows, "3", "t", &json!({"kind": "test", "level": 3})).as_deref(), Some("c"));
        assert_eq!(claimed(&flows, "3", "t", &json!({"kind": "test"})), None);
        assert_eq!(claimed(&flows[..1], "3", "t", &json!({})), None, "a single flow with a rule keeps to it");

        let default = Flow { webhook: WebhookRule { is_default: true, ..WebhookRule::default() }, ..flow("0") };
        let flows = [&flows[..], &[default]].concat();
        assert_eq!(claimed(&flows, "3", "t", &json!({})).as_deref(), Some("0"), "the rest");
        assert_eq!(claimed(&flows, "2", "t", &json!({})).as_deref(), Some("a"), "a rule comes first");
        assert_eq!(claimed(&flows[3..], "3", "t", &json!({})).as_deref(), Some("0"));
    }

    #[test]
    fn a_rule_excludes_what_it_does_not_hold_for_and_no_rule_excludes_nothing() {
        let numbered = WebhookRule { phone_number_ids: vec!["1".to_owned()], ..WebhookRule::default() };
        let default = WebhookRule { is_default: true, ..WebhookRule::default() };
        let data = Map::new();
        let facts = |number| WebhookFacts { phone_number_id: Some(number), token: None, data: &data };
        let excluded = |rule: &WebhookRule| {
            [("1", true), ("2", true), ("2", false)]
                .map(|(number, is_claimed)| rule.excludes(&facts(number), is_claimed))
        };
        assert_eq!(excluded(&numbered), [false, true, true]);
        assert_eq!(excluded(&default), [true, true, false]);
        assert_eq!(excluded(&WebhookRule::default()), [false; 3]);
    }
}
