//! `webhook` of a flow: by what its messages are told from those of other flows.
//!
//! Whose a message is, where several rules fit, is `crate::domain::claim`'s.

use super::raw::Table;
use super::value::Item;
use crate::domain::flow::WebhookRule;

/// Reads the table.
pub(super) fn read(table: &Table<'_>) -> WebhookRule {
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
    };
    if rule.conditions() == 0 && table.problems_so_far() == before {
        table.refuse("names nothing to tell this flow's messages by: `phone_number_ids`, `token_prefix` or `field`");
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_refused;

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
            ],
        );
        assert_refused(
            "[flows.a]\nwebhook = { token_prefix = \"x\" }\n[flows.b]",
            &[(
                "webhook = { token_prefix = \"x\" }",
                "3:8: flows `a` and `b` have the same webhook rule: all forms would go to the first by name",
            )],
        );
    }
}
