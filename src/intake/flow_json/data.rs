//! What a screen declares that it is given (`data`, a JSON schema for each name) against what the config gives it.
//!
//! A phone refuses a screen whose data do not have the declared types, or to which something declared was not given
//! (`payload-schema-error`); what is not declared can't be shown (*Flow JSON*, `data`; the web client's check of answers).

use serde_json::{Map, Value};

use super::Report;
use super::document::{Screen, shown};
use super::screens::sends;
use crate::domain::field::FieldKind;
use crate::domain::flow::{self, Flow};
use crate::domain::screen_data::Given;

/// May come with any answer.
const ALWAYS: &str = "error_message";

/// Not a name, but the list of those that must be there (*Flow JSON*, `data`).
const REQUIRED: &str = "required";

/// The properties of a choice that is always to be had, and of one that may be full.
const CHOICE: &[(&str, &str)] = &[("id", "string"), ("title", "string")];
const CHOICE_OR_FULL: &[(&str, &str)] = &[("id", "string"), ("title", "string"), ("enabled", "boolean")];

/// What a value looks like in JSON.
enum Shape<'a> {
    /// A text.
    Text,
    /// A list of objects with these properties, each with its type.
    Choices(&'static [(&'static str, &'static str)]),
    /// What was answered in this field.
    Answer(&'a str),
}

/// What the config gives, as a phone sees it.
const fn shape(given: &Given) -> Shape<'_> {
    match given {
        Given::Constant(_) | Given::Agent { .. } => Shape::Text,
        Given::Slots { choices, .. } | Given::Dates { choices, .. } | Given::Agents { choices, .. } => {
            Shape::Choices(if choices.with_full { CHOICE_OR_FULL } else { CHOICE })
        }
        Given::Answer(field) => Shape::Answer(field.as_str()),
    }
}

pub(super) fn check(screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    for screen in screens {
        let Some(config) = flow.screen(screen.id) else { continue };
        let place = format!("{}.data", screen.place);
        match screen.body.get("data") {
            None => undeclared(&place, &Map::new(), config, report),
            Some(Value::Object(declared)) => {
                undeclared(&place, declared, config, report);
                not_given(&place, declared, config, (screens, flow), report);
                for (name, given) in &config.data {
                    if let Some(schema) = declared.get(name) {
                        fits(&format!("{place}.{}", shown(name)), schema, given, (screens, flow), report);
                    }
                }
            }
            Some(_) => report.error(&place, "must be an object: each name with its type"),
        }
    }
}

/// What the config gives and the screen does not know.
fn undeclared(place: &str, declared: &Map<String, Value>, config: &flow::Screen, report: &mut Report) {
    for (name, given) in config.data.iter().filter(|(name, _)| !declared.contains_key(name)) {
        let kind = match shape(given) {
            Shape::Text => "a text",
            Shape::Choices(_) => "a list of choices",
            Shape::Answer(_) => "an answer",
        };
        let what = format!("lacks {name:?}, {kind} that the config gives: declare it, or take it out of the config");
        report.error(place, what);
    }
}

/// What the screen waits for and nobody gives: neither the config nor a screen that navigates here.
fn not_given(
    place: &str,
    declared: &Map<String, Value>,
    config: &flow::Screen,
    (screens, flow): (&[Screen<'_>], &Flow),
    report: &mut Report,
) {
    // What a program gives, it alone knows.
    if flow.has_program {
        return;
    }
    let handed_on = |name: &str| {
        let here = screens.iter().flat_map(|from| &from.actions).filter(|action| action.next == Some(&config.name));
        here.filter_map(|action| action.payload).any(|payload| payload.contains_key(name))
    };
    for name in declared.keys().filter(|name| ![ALWAYS, REQUIRED].contains(&name.as_str())) {
        if !config.data.iter().any(|(known, _)| known == name) && !handed_on(name) {
            report.error(
                format!("{place}.{}", shown(name)),
                format!("nothing gives it: write `data = {{ {name} = … }}` for {} in the config", config.name),
            );
        }
    }
}

/// Whether what is given is what is declared.
fn fits(place: &str, schema: &Value, given: &Given, (screens, flow): (&[Screen<'_>], &Flow), report: &mut Report) {
    let declared = kind(schema);
    let mut expect = |types: &[&str], what: &str| {
        if !declared.is_some_and(|declared| types.contains(&declared)) {
            let declared = declared.map_or_else(|| "has no type".to_owned(), |kind| format!("is declared as {kind:?}"));
            let types: Vec<String> = types.iter().map(|kind| format!("{kind:?}")).collect();
            report.error(place, format!("{declared}, and the config gives {what}: write {}", types.join(" or ")));
        }
    };
    match shape(given) {
        Shape::Text => expect(&["string"], "a text"),
        Shape::Choices(properties) => {
            expect(&["array"], "a list of choices");
            if declared == Some("array") {
                items(&format!("{place}.items"), schema.get("items"), properties, report);
            }
        }
        Shape::Answer(name) => {
            let field = flow.field(name);
            let shows_agent = || flow.screens.iter().flat_map(flow::Screen::agents_shown).any(|shown| shown == name);
            match field {
                Some(field) => {
                    expect(types(&field.kind), &format!("the answer to {name:?}, of type {}", field.kind.as_str()));
                    let item = schema.get("items").and_then(kind);
                    if matches!(field.kind, FieldKind::Choices(_))
                        && declared == Some("array")
                        && item != Some("string")
                    {
                        report.error(
                            format!("{place}.items"),
                            "each choice is given as a text: write {\"type\": \"string\"}",
                        );
                    }
                }
                // The agent who was shown is kept with the answers.
                None if shows_agent() => return expect(&["string"], "the name of the agent who was shown"),
                None => {}
            }
            if !screens.iter().any(|screen| sends(screen, name)) {
                report.error(place, format!("the config gives the answer to {name:?}, and no payload sends it"));
            }
        }
    }
}

/// Whether each choice is declared with what it is given.
fn items(place: &str, schema: Option<&Value>, properties: &[(&str, &str)], report: &mut Report) {
    let declared = schema.and_then(|schema| schema.get("properties"));
    let wrong = |(name, wanted): &&(&str, &str)| declared.and_then(|all| kind(all.get(name)?)) != Some(wanted);
    let wrong: Vec<String> =
        properties.iter().filter(wrong).map(|(name, kind)| format!("\"{name}\": {{\"type\": \"{kind}\"}}")).collect();
    if schema.and_then(kind) != Some("object") || !wrong.is_empty() {
        let wrong =
            if wrong.is_empty() { String::new() } else { format!(", with {} in its properties", wrong.join(", ")) };
        report.error(place, format!("each choice must be declared as \"object\"{wrong}"));
    }
}

/// The JSON types that an answer may be declared as: it is given on in that of its kind, whatever a component sent.
const fn types(kind: &FieldKind) -> &'static [&'static str] {
    match kind {
        FieldKind::Number { .. } => &["number"],
        FieldKind::Integer { .. } => &["number", "integer"],
        FieldKind::Boolean => &["boolean"],
        FieldKind::Choices(_) => &["array"],
        FieldKind::Text { .. }
        | FieldKind::Email
        | FieldKind::Phone
        | FieldKind::Date
        | FieldKind::Time
        | FieldKind::Choice(_) => &["string"],
    }
}

fn kind(schema: &Value) -> Option<&str> {
    schema.get("type").and_then(Value::as_str)
}
