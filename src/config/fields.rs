//! `fields` of a screen: types with sound bounds, patterns that can be read.
//!
//! Whether a value fits its field is `crate::domain::field`'s.

use std::collections::BTreeSet;
use std::fmt;

use super::raw::Table;
use super::value::Item;
use crate::domain::field::{Field, FieldKind, Pattern};

/// Longest text that a field may ask for: more than any component of a flow takes.
const TEXT_CHARACTERS_MAX: usize = 1_000_000;

const KINDS: [&str; 10] =
    ["text", "email", "phone", "number", "integer", "boolean", "date", "time", "choice", "choices"];

/// Reads the table of fields, in the order of the file.
pub(super) fn read(table: &Table<'_>) -> Vec<Field> {
    let field = |item: Item<'_>| {
        item.table(|table| {
            let kind = kind(table)?;
            if item.key.is_empty() {
                item.refuse_key("a field needs a name");
            }
            let text = |key| table.get(key).and_then(|item| item.some_text().map(str::to_owned));
            Some(Field {
                name: item.key.to_owned(),
                pattern: pattern(table, &kind),
                required: table.boolean("required", false),
                label: text("label"),
                error: text("error"),
                kind,
            })
        })?
    };
    table.named().into_iter().filter_map(field).collect()
}

fn pattern(table: &Table<'_>, kind: &FieldKind) -> Option<Pattern> {
    let item = table.get("pattern")?;
    if !matches!(kind, FieldKind::Text { .. } | FieldKind::Email | FieldKind::Phone) {
        item.refuse_key(format!("{}: a field of type \"{}\" has no `pattern`", table.name, kind.as_str()));
        return None;
    }
    let typed = item.some_text()?;
    Pattern::new(typed).map_err(|why| item.refuse(format!("{typed:?} is no regular expression: {why}"))).ok()
}

/// The kind of a field, with the bounds that this kind can have.
fn kind(table: &Table<'_>) -> Option<FieldKind> {
    let typed = table.get("type");
    let word = typed.as_ref().map_or(Some("text"), |item| item.word(&KINDS));
    let (min, max, choices) = (table.get("min"), table.get("max"), table.get("choices"));
    let word = word?;
    let has_bounds = matches!(word, "text" | "number" | "integer");
    let has_choices = matches!(word, "choice" | "choices");
    for (item, allowed) in [(&min, has_bounds), (&max, has_bounds), (&choices, has_choices)] {
        if let Some(item) = item.as_ref().filter(|_| !allowed) {
            item.refuse_key(format!("{}: a field of type \"{word}\" has no `{}`", table.name, item.key));
        }
    }
    Some(match word {
        "text" => {
            let (min, max) = bounds(min.as_ref(), max.as_ref(), |item| item.integer(0..=TEXT_CHARACTERS_MAX));
            FieldKind::Text { min, max }
        }
        "number" => {
            let (min, max) = bounds(min.as_ref(), max.as_ref(), Item::number);
            FieldKind::Number { min, max }
        }
        "integer" => {
            let (min, max) = bounds(min.as_ref(), max.as_ref(), |item| item.integer(i64::MIN..=i64::MAX));
            FieldKind::Integer { min, max }
        }
        "email" => FieldKind::Email,
        "phone" => FieldKind::Phone,
        "boolean" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "time" => FieldKind::Time,
        "choice" => FieldKind::Choice(choices_of(table, choices.as_ref(), word)),
        _ => FieldKind::Choices(choices_of(table, choices.as_ref(), word)),
    })
}

fn bounds<'d, N: PartialOrd + fmt::Display>(
    min: Option<&Item<'d>>,
    max: Option<&Item<'d>>,
    read: impl Fn(&Item<'d>) -> Option<N>,
) -> (Option<N>, Option<N>) {
    let (least, most) = (min.and_then(&read), max.and_then(&read));
    if let (Some(item), Some(least), Some(most)) = (min, &least, &most)
        && least > most
    {
        item.refuse(format!("{least} is more than `max`, which is {most}: nothing would fit"));
    }
    (least, most)
}

fn choices_of(table: &Table<'_>, choices: Option<&Item<'_>>, word: &str) -> Vec<String> {
    let Some(item) = choices else {
        table.refuse(format!("a field of type \"{word}\" needs `choices`"));
        return Vec::new();
    };
    let items = item.some_items().unwrap_or_default();
    let mut known = BTreeSet::new();
    let choice = |item: &Item<'_>| {
        let text = item.some_text()?;
        if !known.insert(text.to_owned()) {
            item.refuse(format!("has {text:?} twice"));
        }
        Some(text.to_owned())
    };
    items.iter().filter_map(choice).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused};
    use super::*;

    fn screens(list: &str, expected: &str) {
        assert_refused("[flows.form]", &[(&format!("screens = [{list}]"), &format!("2:{expected}"))]);
    }

    #[test]
    fn a_field_has_the_bounds_that_its_type_can_have() {
        for (typed, column, what) in [
            (
                "type = \"mail\"",
                64,
                "flows.form.screens.fields.a.type: \"mail\" is not known here: did you mean `email`?",
            ),
            ("typ = \"email\"", 57, "unknown key `typ` in flows.form.screens.fields.a: did you mean `type`?"),
            (
                "min = 3, max = 2",
                63,
                "flows.form.screens.fields.a.min: 3 is more than `max`, which is 2: nothing would fit",
            ),
            (
                "type = \"number\", min = 0.5, max = 0.25",
                80,
                "flows.form.screens.fields.a.min: 0.5 is more than `max`, which is 0.25: nothing would fit",
            ),
            ("max = -1", 63, "flows.form.screens.fields.a.max: must be from 0 to 1000000, and is -1"),
            ("type = \"email\", max = 2", 73, "flows.form.screens.fields.a: a field of type \"email\" has no `max`"),
            ("choices = [\"x\"]", 57, "flows.form.screens.fields.a: a field of type \"text\" has no `choices`"),
            (
                "type = \"integer\", min = 1.5",
                81,
                "flows.form.screens.fields.a.min: must be a whole number, and is a decimal number",
            ),
            (
                "type = \"number\", min = \"1\"",
                80,
                "flows.form.screens.fields.a.min: must be a finite number, and is a text",
            ),
            (
                "type = \"number\", min = nan",
                80,
                "flows.form.screens.fields.a.min: must be a finite number, and is a decimal number",
            ),
            (
                "pattern = \"[a\"",
                67,
                "flows.form.screens.fields.a.pattern: \"[a\" is no regular expression: unclosed character class",
            ),
            (
                "type = \"date\", pattern = \"x\"",
                72,
                "flows.form.screens.fields.a: a field of type \"date\" has no `pattern`",
            ),
            ("label = \"\"", 65, "flows.form.screens.fields.a.label: is empty"),
            ("required = 1", 68, "flows.form.screens.fields.a.required: must be true or false, and is a whole number"),
            ("type = \"choice\"", 55, "flows.form.screens.fields.a: a field of type \"choice\" needs `choices`"),
            (
                "type = \"choice\", choices = []",
                84,
                "flows.form.screens.fields.a.choices: is empty: leave it out, or put something in",
            ),
            (
                "type = \"choices\", choices = [\"x\", \"x\"]",
                91,
                "flows.form.screens.fields.a.choices: has \"x\" twice",
            ),
        ] {
            let list = format!("{{ name = \"A\", final = true, fields = {{ a = {{ {typed} }} }} }}");
            screens(&list, &format!("{column}: {what}"));
        }
    }

    #[test]
    fn fields_keep_the_order_of_the_file_and_are_texts_unless_told() {
        let config = accepted(
            "[[flows.form.screens]]\nname = \"A\"\nfinal = true\n[flows.form.screens.fields]\nz = {}\na = { type = \"choice\", choices = [\"x\"], required = true }\n",
        );
        let fields = &config.flows.values().next().unwrap().screens[0].fields;
        let z = Field::new("z", FieldKind::Text { min: None, max: None });
        let a = Field { required: true, ..Field::new("a", FieldKind::Choice(vec!["x".to_owned()])) };
        assert_eq!(*fields, [z, a]);
    }

    #[test]
    fn every_type_that_is_listed_makes_a_field_of_that_name() {
        for kind in KINDS {
            let choices = if kind.starts_with("choice") { ", choices = [\"x\"]" } else { "" };
            let config = accepted(&format!(
                "[flows.form]\nscreens = [{{ name = \"A\", final = true, fields = {{ a = {{ type = \"{kind}\"{choices} }} }} }}]"
            ));
            let flow = config.flows.values().next().unwrap();
            assert_eq!(flow.screens[0].fields[0].kind.as_str(), kind);
        }
    }
}
