//! Compares the data that a screen declares (`data`, a JSON schema for each name) with the data
//! that the config provides.
//!
//! A phone refuses a screen if its data do not have the declared types or if declared data are
//! missing (`payload-schema-error`). Data that are not declared can't be shown (*Flow JSON*,
//! `data`; the web client's check of answers).

use serde_json::{Map, Value};

use super::Findings;
use super::document::{FlowJsonScreen, printable};
use super::screens::screen_sends;
use crate::domain::flow::field::FieldKind;
use crate::domain::flow::screen_data::DataSource;
use crate::domain::flow::{self, Flow};

/// Name that any response may contain without a declaration.
const ALWAYS_ALLOWED: &str = "error_message";

/// Key that is not a data name, but the list of the required names (*Flow JSON*, `data`).
const REQUIRED_LIST: &str = "required";

/// Properties of a choice that is always available, and of a choice that may be full.
const CHOICE: &[(&str, &str)] = &[("id", "string"), ("title", "string")];
const CHOICE_OR_FULL: &[(&str, &str)] = &[
    ("id", "string"),
    ("title", "string"),
    ("enabled", "boolean"),
];

/// JSON shape of a value.
enum Shape<'a> {
    /// JSON string.
    Text,
    /// List of objects with these properties, each with its type.
    Choices(&'static [(&'static str, &'static str)]),
    /// Answer to this field.
    Answer(&'a str),
}

/// Returns the JSON shape in which a phone gets the data.
const fn shape(source: &DataSource) -> Shape<'_> {
    match source {
        DataSource::Constant(_) | DataSource::Agent { .. } => Shape::Text,
        DataSource::Slots {
            options: choices, ..
        }
        | DataSource::Dates {
            options: choices, ..
        }
        | DataSource::Agents {
            options: choices, ..
        } => Shape::Choices(if choices.show_full {
            CHOICE_OR_FULL
        } else {
            CHOICE
        }),
        DataSource::Answer(field) => Shape::Answer(field.as_str()),
    }
}

pub(super) fn check(screens: &[FlowJsonScreen<'_>], flow: &Flow, report: &mut Findings) {
    for screen in screens {
        let Some(config) = flow.find_screen(screen.id) else {
            continue;
        };
        let location = format!("{}.data", screen.location);
        match screen.body.get("data") {
            None => check_undeclared(&location, &Map::new(), config, report),
            Some(Value::Object(declared)) => {
                check_undeclared(&location, declared, config, report);
                check_missing(&location, declared, config, (screens, flow), report);
                for (name, source) in &config.data_sources {
                    if let Some(schema) = declared.get(name) {
                        check_type(
                            &format!("{location}.{}", printable(name)),
                            schema,
                            source,
                            (screens, flow),
                            report,
                        );
                    }
                }
            }
            Some(_) => report.add_error(
                &location,
                "must be an object that maps each name to its type",
            ),
        }
    }
}

/// Checks for data that the config provides and the screen does not declare.
fn check_undeclared(
    location: &str,
    declared: &Map<String, Value>,
    config: &flow::Screen,
    report: &mut Findings,
) {
    for (name, source) in config
        .data_sources
        .iter()
        .filter(|(name, _)| !declared.contains_key(name))
    {
        let kind = match shape(source) {
            Shape::Text => "a text",
            Shape::Choices(_) => "a list of choices",
            Shape::Answer(_) => "an answer",
        };
        let what = format!(
            "lacks {name:?}, {kind} that the config provides: declare it, or remove it from the config"
        );
        report.add_error(location, what);
    }
}

/// Checks for data that the screen declares and that neither the config nor a screen that navigates
/// here provides.
fn check_missing(
    location: &str,
    declared: &Map<String, Value>,
    config: &flow::Screen,
    (screens, flow): (&[FlowJsonScreen<'_>], &Flow),
    report: &mut Findings,
) {
    // Only the upstream knows which data it provides.
    if flow.has_upstream {
        return;
    }
    let is_navigated = |name: &str| {
        let incoming = screens
            .iter()
            .flat_map(|from| &from.actions)
            .filter(|action| action.next == Some(&config.name));
        incoming
            .filter_map(|action| action.payload)
            .any(|payload| payload.contains_key(name))
    };
    for name in declared
        .keys()
        .filter(|name| ![ALWAYS_ALLOWED, REQUIRED_LIST].contains(&name.as_str()))
    {
        if !config.data_sources.iter().any(|(known, _)| known == name) && !is_navigated(name) {
            report.add_error(
                format!("{location}.{}", printable(name)),
                format!("nothing provides its value: set `data = {{ {name} = … }}` for {} in the config", config.name),
            );
        }
    }
}

/// Checks that the provided data have the declared type.
fn check_type(
    location: &str,
    schema: &Value,
    source: &DataSource,
    (screens, flow): (&[FlowJsonScreen<'_>], &Flow),
    report: &mut Findings,
) {
    let declared = declared_type(schema);
    let mut require_type = |types: &[&str], what: &str| {
        if !declared.is_some_and(|declared| types.contains(&declared)) {
            let declared = declared.map_or_else(
                || "has no type".to_owned(),
                |kind| format!("is declared as {kind:?}"),
            );
            let types: Vec<String> = types.iter().map(|kind| format!("{kind:?}")).collect();
            report.add_error(
                location,
                format!(
                    "{declared}, but the config provides {what}: write {}",
                    types.join(" or ")
                ),
            );
        }
    };
    match shape(source) {
        Shape::Text => require_type(&["string"], "a text"),
        Shape::Choices(properties) => {
            require_type(&["array"], "a list of choices");
            if declared == Some("array") {
                check_items(
                    &format!("{location}.items"),
                    schema.get("items"),
                    properties,
                    report,
                );
            }
        }
        Shape::Answer(name) => {
            let field = flow.find_field(name);
            let shows_agent = || {
                flow.screens
                    .iter()
                    .flat_map(flow::Screen::shown_agent_names)
                    .any(|shown| shown == name)
            };
            match field {
                Some(field) => {
                    require_type(
                        json_types(&field.kind),
                        &format!("the answer to {name:?}, of type {}", field.kind.as_str()),
                    );
                    let item = schema.get("items").and_then(declared_type);
                    if matches!(field.kind, FieldKind::Choices(_))
                        && declared == Some("array")
                        && item != Some("string")
                    {
                        report.add_error(
                            format!("{location}.items"),
                            "each choice is a text: write {\"type\": \"string\"}",
                        );
                    }
                }
                // The shown agent is stored with the answers.
                None if shows_agent() => {
                    return require_type(&["string"], "the name of the agent who was shown");
                }
                None => {}
            }
            if !screens.iter().any(|screen| screen_sends(screen, name)) {
                report.add_error(
                    location,
                    format!("the config provides the answer to {name:?}, but no payload sends it"),
                );
            }
        }
    }
}

/// Checks that the choices are declared with the properties that the config provides.
fn check_items(
    location: &str,
    schema: Option<&Value>,
    properties: &[(&str, &str)],
    report: &mut Findings,
) {
    let declared = schema.and_then(|schema| schema.get("properties"));
    let is_wrong = |(name, wanted): &&(&str, &str)| {
        declared.and_then(|all| declared_type(all.get(name)?)) != Some(wanted)
    };
    let missing_properties: Vec<String> = properties
        .iter()
        .filter(is_wrong)
        .map(|(name, kind)| format!("\"{name}\": {{\"type\": \"{kind}\"}}"))
        .collect();
    if schema.and_then(declared_type) != Some("object") || !missing_properties.is_empty() {
        let properties_text = if missing_properties.is_empty() {
            String::new()
        } else {
            format!(", with {} in its properties", missing_properties.join(", "))
        };
        report.add_error(
            location,
            format!("each choice must be declared as \"object\"{properties_text}"),
        );
    }
}

/// Returns the JSON types that an answer may be declared as. An answer is passed on in the type of
/// its field kind, even if a component sent another type.
const fn json_types(kind: &FieldKind) -> &'static [&'static str] {
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

fn declared_type(schema: &Value) -> Option<&str> {
    schema.get("type").and_then(Value::as_str)
}
