//! `webhook` of a flow: by what its messages are told from those of other flows.
//!
//! Whose a message is, where several rules fit, is `crate::domain::claim`'s.

use super::raw::Table;
use super::value::Item;
use crate::domain::flow::WebhookRule;

/// The word for a flow that takes the forms of no other.
const DEFAULT: &str = "default";

/// Reads the table, or the word that stands for one.
pub(super) fn read(item: &Item<'_>) -> Option<WebhookRule> {
    if item.is_text() {
        return item.word(&[DEFAULT]).map(|_| WebhookRule { is_default: true, ..WebhookRule::default() });
    }
    item.table(conditions)
}

fn conditions(table: &Table<'_>) -> WebhookRule {
    let before = table.problems_so_far();
    let number = |item: &Item<'_>| {
        let id = item.some_text()?;
        if !id.bytes().all(|b| b.is_ascii_digit()) {
            item.refuse(format!("{id:?} is no phone number id: it has digits only (and is not the phone number)"));
        }
        Some(id.to_owned())
    };
    let value = |item: Item<'_>| Some((item.key.to_owned(), item.text()?.to_owned()));
    let numbers = table.get("phone_number_ids").and_then(|item| item.some_items());
    let fields = table.get("field").and_then(|item| item.names(Table::named));
    let rule = WebhookRule {
        phone_number_ids: numbers.iter().flatten().filter_map(number).collect(),
        token_prefix: table.get("token_prefix").and_then(|item| item.some_text().map(str::to_owned)),
        fields: fields.into_iter().flatten().filter_map(value).collect(),
        is_default: false,
    };
    if rule.conditions() == 0 && table.problems_so_far() == before {
        table.refuse("names nothing to tell this flow's messages by: `phone_number_ids`, `token_prefix` or `field`");
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused};

    #[test]
    fn a_webhook_rule_says_something_and_no_two_flows_have_the_same() {
        assert_refused(
            "[flows.form]",
            &[
                (
                    "webhook = {}",
                    "2:11: flows.form.webhook: names nothing to tell this flow's messages by: `phone_number_ids`, `token_prefix` or `field`",
                ),
                (
                    "webhook = { phone_number_ids = [] }",
                    "2:32: flows.form.webhook.phone_number_ids: is empty: leave it out, or put something in",
                ),
                (
                    "webhook = { phone_number_ids = [\"+4930\"] }",
                    "2:33: flows.form.webhook.phone_number_ids: \"+4930\" is no phone number id: it has digits only (and is not the phone number)",
                ),
                (
                    "webhook = { phone_number_ids = [4930] }",
                    "2:33: flows.form.webhook.phone_number_ids: must be a text in quotes, and is a whole number",
                ),
                ("webhook = { token_prefix = \"\" }", "2:28: flows.form.webhook.token_prefix: is empty"),
                (
                    "webhook = { field = { kind = 3 } }",
                    "2:30: flows.form.webhook.field.kind: must be a text in quotes, and is a whole number",
                ),
                (
                    "webhook = \"defualt\"",
                    "2:11: flows.form.webhook: \"defualt\" is not known here: did you mean `default`?",
                ),
                ("webhook = 3", "2:11: flows.form.webhook: must be a table, and is a whole number"),
            ],
        );
        assert_refused(
            "[flows.a]\nwebhook = { token_prefix = \"x\" }\n[flows.b]",
            &[(
                "webhook = { token_prefix = \"x\" }",
                "3:8: flows `a` and `b` have the same webhook rule: all forms would go to the first by name",
            )],
        );
        assert_refused(
            "[flows.a]\nwebhook = \"default\"\n[flows.b]",
            &[(
                "webhook = \"default\"",
                "3:8: flows `a` and `b` both have `webhook = \"default\"`: only one flow can take what fits no other",
            )],
        );
    }

    #[test]
    fn forms_that_no_flow_would_take_are_warned_of() {
        let notes = |text: &str| accepted(text).notes();
        let unclaimed = |text: &str| notes(text).iter().any(|note| note.contains("become dead letters"));
        let (a, b) = ("[flows.a]\nwebhook = { token_prefix = \"a\" }\n", "[flows.b]\n");
        assert!(unclaimed(&format!("[flows.a]\n{b}")), "no flow has a rule");
        assert!(unclaimed(&format!("{a}{b}")), "one has");
        assert!(unclaimed(&format!("{a}{b}webhook = {{ token_prefix = \"b\" }}")), "all have");
        assert!(!unclaimed(&format!("{a}{b}webhook = \"default\"")));
        assert!(!unclaimed(b), "the only flow takes all");
    }
}
