//! Reads `webhook` of a flow: the conditions by which the flow accepts messages of `/webhook`.
//!
//! See [`crate::domain::flow::flow_matcher`] for the choice between several matching flows.

use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::domain::flow::FlowMatcher;

/// Value for the flow that accepts all forms that match no other flow.
const DEFAULT: &str = "default";

/// Reads a table of conditions, or the text that replaces the table.
pub fn read(item: &ValueReader<'_>) -> Option<FlowMatcher> {
    if item.is_text() {
        return item.one_of(&[DEFAULT]).map(|_| FlowMatcher {
            is_default: true,
            ..FlowMatcher::default()
        });
    }
    item.read_table(read_conditions)
}

fn read_conditions(table: &TableReader<'_>) -> FlowMatcher {
    let problems_before = table.problem_count();
    let phone_number_id = |item: &ValueReader<'_>| {
        let id = item.non_empty_text()?;
        if !id.bytes().all(|b| b.is_ascii_digit()) {
            item.error(format!(
                "{id:?} is not a phone number ID: the ID has only digits (and is not the phone number)"
            ));
        }
        Some(id.to_owned())
    };
    let value = |item: ValueReader<'_>| Some((item.key.to_owned(), item.text()?.to_owned()));
    let numbers = table.get("phone_number_ids");
    let numbers = numbers.map(|item| item.read_items(phone_number_id));
    let matcher = FlowMatcher {
        phone_number_ids: numbers.unwrap_or_default(),
        token_prefix: table.text("token_prefix"),
        fields: table
            .named_entries("field")
            .into_iter()
            .filter_map(value)
            .collect(),
        is_default: false,
    };
    if matcher.condition_count() == 0 && table.problem_count() == problems_before {
        table.error("must have at least one of `phone_number_ids`, `token_prefix` and `field`");
    }
    matcher
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, parse_valid};

    #[test]
    fn flow_matcher_is_non_empty_and_unique() {
        assert_errors(
            "[flows.form]",
            r#"
            webhook = {}
            => 2:11: flows.form.webhook: must have at least one of `phone_number_ids`, `token_prefix` and `field`
            webhook = { phone_number_ids = [] }
            => 2:32: flows.form.webhook.phone_number_ids: is empty: remove it, or add at least one entry
            webhook = { phone_number_ids = ["+4930"] }
            => 2:33: flows.form.webhook.phone_number_ids: "+4930" is not a phone number ID: the ID has only digits (and is not the phone number)
            webhook = { phone_number_ids = [4930] }
            => 2:33: flows.form.webhook.phone_number_ids: must be a text in quotes, and is a whole number
            webhook = { token_prefix = "" }
            => 2:28: flows.form.webhook.token_prefix: is empty
            webhook = { field = { kind = 3 } }
            => 2:30: flows.form.webhook.field.kind: must be a text in quotes, and is a whole number
            webhook = "defualt"
            => 2:11: flows.form.webhook: "defualt" is not a valid value: did you mean `default`?
            webhook = 3
            => 2:11: flows.form.webhook: must be a table, and is a whole number
            "#,
        );
        assert_errors(
            "[flows.a]\nwebhook = { token_prefix = \"x\" }\n[flows.b]",
            r#"
            webhook = { token_prefix = "x" }
            => 3:8: flows `a` and `b` have the same webhook matcher: all forms would go to the first flow in alphabetical order
            "#,
        );
        assert_errors(
            "[flows.a]\nwebhook = \"default\"\n[flows.b]",
            r#"
            webhook = "default"
            => 3:8: flows `a` and `b` both have `webhook = "default"`: only one flow can be the default
            "#,
        );
    }

    #[test]
    fn unmatched_forms_get_warning() {
        let unclaimed = |text: &str| {
            let warnings = parse_valid(text).warnings().join("\n");
            warnings.contains("become dead letters")
        };
        let a = "[flows.a]\nwebhook = { token_prefix = \"a\" }\n";
        let b = "[flows.b]\n";
        assert!(unclaimed(&format!("[flows.a]\n{b}")), "no flow has a rule");
        assert!(unclaimed(&format!("{a}{b}")), "one has");
        assert!(
            unclaimed(&format!("{a}{b}webhook = {{ token_prefix = \"b\" }}")),
            "all have"
        );
        assert!(!unclaimed(&format!("{a}{b}webhook = \"default\"")));
        assert!(!unclaimed(b), "the only flow takes all");
    }
}
