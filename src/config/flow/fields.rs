//! Reads `fields` of a screen, and checks types, bounds and patterns.
//!
//! See [`crate::domain::flow::field`] for the validation of values.

use std::collections::BTreeSet;
use std::fmt;

use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::domain::flow::field::{Field, FieldKind, FullRegex};

/// Maximum value of `min` and `max` of a text, in characters. No component of a flow accepts longer
/// texts.
const TEXT_CHARACTERS_MAX: usize = 1_000_000;

const KINDS: [&str; 10] = [
    "text", "email", "phone", "number", "integer", "boolean", "date", "time", "choice", "choices",
];

/// Reads the table of fields, in the order of the file.
pub fn read(item: &ValueReader<'_>) -> Option<Vec<Field>> {
    let field = |item: &ValueReader<'_>| {
        item.read_table(|table| {
            let kind = read_kind(table)?;
            if item.key.is_empty() {
                item.key_error("a field needs a name");
            }
            Some(Field {
                name: item.key.to_owned(),
                pattern: read_pattern(table, &kind),
                is_required: table.boolean("required", false),
                label: table.text("label"),
                error: table.text("error"),
                kind,
            })
        })?
    };
    Some(item.entries()?.iter().filter_map(field).collect())
}

fn read_pattern(table: &TableReader<'_>, kind: &FieldKind) -> Option<FullRegex> {
    let item = table.get("pattern")?;
    if !matches!(
        kind,
        FieldKind::Text { .. } | FieldKind::Email | FieldKind::Phone
    ) {
        let kind = kind.as_str();
        table.error_at_key(
            &item,
            format!("a field of type \"{kind}\" can't have `pattern`"),
        );
        return None;
    }
    let typed = item.non_empty_text()?;
    FullRegex::new(typed)
        .map_err(|why| {
            item.error(format!(
                "{typed:?} is not a valid regular expression: {why}"
            ));
        })
        .ok()
}

/// Reads the type of a field, with the bounds and choices that the type may have.
fn read_kind(table: &TableReader<'_>) -> Option<FieldKind> {
    let type_item = table.get("type");
    let type_name = type_item
        .as_ref()
        .map_or(Some("text"), |item| item.one_of(&KINDS));
    let (min, max, choices) = (table.get("min"), table.get("max"), table.get("choices"));
    let word = type_name?;
    let has_bounds = matches!(word, "text" | "number" | "integer");
    let has_choices = matches!(word, "choice" | "choices");
    for (item, allowed) in [
        (&min, has_bounds),
        (&max, has_bounds),
        (&choices, has_choices),
    ] {
        if let Some(item) = item.as_ref().filter(|_| !allowed) {
            let key = item.key;
            table.error_at_key(
                item,
                format!("a field of type \"{word}\" can't have `{key}`"),
            );
        }
    }
    Some(match word {
        "text" => {
            let (min, max) = read_bounds(min.as_ref(), max.as_ref(), |item| {
                item.integer(0..=TEXT_CHARACTERS_MAX)
            });
            FieldKind::Text { min, max }
        }
        "number" => {
            let (min, max) = read_bounds(min.as_ref(), max.as_ref(), ValueReader::number);
            FieldKind::Number { min, max }
        }
        "integer" => {
            let (min, max) = read_bounds(min.as_ref(), max.as_ref(), |item| {
                item.integer(i64::MIN..=i64::MAX)
            });
            FieldKind::Integer { min, max }
        }
        "email" => FieldKind::Email,
        "phone" => FieldKind::Phone,
        "boolean" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "time" => FieldKind::Time,
        "choice" => FieldKind::Choice(read_choices(table, choices.as_ref(), word)),
        _ => FieldKind::Choices(read_choices(table, choices.as_ref(), word)),
    })
}

fn read_bounds<'d, N: PartialOrd + fmt::Display>(
    min: Option<&ValueReader<'d>>,
    max: Option<&ValueReader<'d>>,
    read: impl Fn(&ValueReader<'d>) -> Option<N>,
) -> (Option<N>, Option<N>) {
    let (min_value, max_value) = (min.and_then(&read), max.and_then(&read));
    if let (Some(item), Some(least), Some(most)) = (min, &min_value, &max_value)
        && least > most
    {
        item.error(format!(
            "{least} is more than `max`, which is {most}: no value would be valid"
        ));
    }
    (min_value, max_value)
}

fn read_choices(
    table: &TableReader<'_>,
    choices: Option<&ValueReader<'_>>,
    word: &str,
) -> Vec<String> {
    let Some(item) = choices else {
        table.error(format!("a field of type \"{word}\" needs `choices`"));
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    item.read_items(|item| {
        let text = item.non_empty_text()?;
        if !seen.insert(text.to_owned()) {
            item.error(format!("has {text:?} twice"));
        }
        Some(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_errors_in, parse_flow};

    #[test]
    fn field_settings_must_fit_type() {
        let screen = "[flows.form]\nscreens = [{ name = \"A\", final = true, fields = { a = { TYPED } } }]\n";
        assert_errors_in(
            |typed| screen.replace("TYPED", typed),
            r#"
            type = "mail"
            => 2:64: flows.form.screens.fields.a.type: "mail" is not a valid value: did you mean `email`?
            typ = "email"
            => 2:57: unknown key `typ` in flows.form.screens.fields.a: did you mean `type`?
            min = 3, max = 2
            => 2:63: flows.form.screens.fields.a.min: 3 is more than `max`, which is 2: no value would be valid
            type = "number", min = 0.5, max = 0.25
            => 2:80: flows.form.screens.fields.a.min: 0.5 is more than `max`, which is 0.25: no value would be valid
            max = -1
            => 2:63: flows.form.screens.fields.a.max: must be from 0 to 1000000, and is -1
            type = "email", max = 2
            => 2:73: flows.form.screens.fields.a: a field of type "email" can't have `max`
            choices = ["x"]
            => 2:57: flows.form.screens.fields.a: a field of type "text" can't have `choices`
            type = "integer", min = 1.5
            => 2:81: flows.form.screens.fields.a.min: must be a whole number, and is a decimal number
            type = "number", min = "1"
            => 2:80: flows.form.screens.fields.a.min: must be a finite number, and is a text
            type = "number", min = nan
            => 2:80: flows.form.screens.fields.a.min: must be a finite number, and is a decimal number
            pattern = "[a"
            => 2:67: flows.form.screens.fields.a.pattern: "[a" is not a valid regular expression: unclosed character class
            type = "date", pattern = "x"
            => 2:72: flows.form.screens.fields.a: a field of type "date" can't have `pattern`
            label = ""
            => 2:65: flows.form.screens.fields.a.label: is empty
            required = 1
            => 2:68: flows.form.screens.fields.a.required: must be true or false, and is a whole number
            type = "choice"
            => 2:55: flows.form.screens.fields.a: a field of type "choice" needs `choices`
            type = "choice", choices = []
            => 2:84: flows.form.screens.fields.a.choices: is empty: remove it, or add at least one entry
            type = "choices", choices = ["x", "x"]
            => 2:91: flows.form.screens.fields.a.choices: has "x" twice
            "#,
        );
    }

    #[test]
    fn fields_are_in_file_order_and_text_by_default() {
        let flow = parse_flow(
            "[[flows.form.screens]]\nname = \"A\"\nfinal = true\n[flows.form.screens.fields]\nz = {}\na = { type = \"choice\", choices = [\"x\"], required = true }\n",
        );
        let fields = &flow.screens[0].fields;
        let z = Field::new(
            "z",
            FieldKind::Text {
                min: None,
                max: None,
            },
        );
        let a = Field {
            is_required: true,
            ..Field::new("a", FieldKind::Choice(vec!["x".to_owned()]))
        };
        assert_eq!(*fields, [z, a]);
    }

    #[test]
    fn every_field_type_is_accepted() {
        for kind in KINDS {
            let choices = if kind.starts_with("choice") {
                ", choices = [\"x\"]"
            } else {
                ""
            };
            let flow = parse_flow(&format!(
                "[flows.form]\nscreens = [{{ name = \"A\", final = true, fields = {{ a = {{ type = \"{kind}\"{choices} }} }} }}]"
            ));
            assert_eq!(flow.screens[0].fields[0].kind.as_str(), kind);
        }
    }
}
