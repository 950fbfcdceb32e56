//! Compares the data that a screen declares (`data`, a JSON schema for each name) with the data
//! that the config provides.
//!
//! A phone refuses a screen if its data do not have the declared types or if declared data are
//! missing (`payload-schema-error`). Data that are not declared can't be shown (*Flow JSON*,
//! `data`; the web client's check of answers).

use serde_json::{Map, Value};

use super::document::{FlowJsonScreen, printable};
use super::findings::Findings;
use crate::domain::flow::data_source::DataSource;
use crate::domain::flow::field::FieldKind;
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
    match (source, source.list_options()) {
        (DataSource::Answer(field), _) => Shape::Answer(field.as_str()),
        (_, Some(options)) if options.show_full => Shape::Choices(CHOICE_OR_FULL),
        (_, Some(_)) => Shape::Choices(CHOICE),
        (_, None) => Shape::Text,
    }
}

/// Data of one screen, with the rest of both sides.
struct ScreenData<'c> {
    /// Location of the data, such as `screens[2].DATE.data`.
    location: String,
    /// Data that the Flow JSON declares.
    declared: &'c Map<String, Value>,
    /// The screen in the config.
    config: &'c flow::Screen,
    screens: &'c [FlowJsonScreen<'c>],
    flow: &'c Flow,
}

pub(super) fn check(screens: &[FlowJsonScreen<'_>], flow: &Flow, report: &mut Findings) {
    let nothing = Map::new();
    for screen in screens {
        let Some(config) = flow.find_screen(screen.id) else {
            continue;
        };
        let location = format!("{}.data", screen.location);
        let declared = match screen.body.get("data") {
            None => &nothing,
            Some(Value::Object(declared)) => declared,
            Some(_) => {
                report.add_error(
                    &location,
                    "must be an object that maps each name to its type",
                );
                continue;
            }
        };
        let data = ScreenData {
            location,
            declared,
            config,
            screens,
            flow,
        };
        data.check_undeclared(report);
        data.check_missing(report);
        for (name, source) in &config.data_sources {
            if let Some(schema) = declared.get(name) {
                data.check_type(name, schema, source, report);
            }
        }
    }
}

impl ScreenData<'_> {
    /// Checks for data that the config provides and the screen does not declare.
    fn check_undeclared(&self, report: &mut Findings) {
        for (name, source) in &self.config.data_sources {
            if self.declared.contains_key(name) {
                continue;
            }
            let kind = match shape(source) {
                Shape::Text => "a text",
                Shape::Choices(_) => "a list of choices",
                Shape::Answer(_) => "an answer",
            };
            let what = format!(
                "lacks {name:?}, {kind} that the config provides: declare it, or remove it from the config"
            );
            report.add_error(&self.location, what);
        }
    }

    /// Checks for data that the screen declares and that neither the config nor a screen that
    /// navigates here provides.
    fn check_missing(&self, report: &mut Findings) {
        // Only the upstream knows which data it provides.
        if self.flow.has_upstream {
            return;
        }
        let is_navigated = |name: &str| {
            let actions = self.screens.iter().flat_map(|from| &from.actions);
            actions
                .filter(|action| action.next == Some(&self.config.name))
                .any(|action| action.sends(name))
        };
        let is_provided = |name: &String| {
            [ALWAYS_ALLOWED, REQUIRED_LIST].contains(&name.as_str())
                || self.config.data_source(name).is_some()
                || is_navigated(name)
        };
        for name in self.declared.keys().filter(|name| !is_provided(name)) {
            let what = format!(
                "nothing provides its value: set `data = {{ {name} = … }}` for {} in the config",
                self.config.name
            );
            report.add_error(format!("{}.{}", self.location, printable(name)), what);
        }
    }

    /// Checks that the provided data have the declared type.
    fn check_type(&self, name: &str, schema: &Value, source: &DataSource, report: &mut Findings) {
        let location = format!("{}.{}", self.location, printable(name));
        match shape(source) {
            Shape::Text => require_type(&location, schema, &["string"], "a text", report),
            Shape::Choices(properties) => {
                require_type(&location, schema, &["array"], "a list of choices", report);
                if declared_type(schema) == Some("array") {
                    check_items(
                        &format!("{location}.items"),
                        schema.get("items"),
                        properties,
                        report,
                    );
                }
            }
            Shape::Answer(answer) => self.check_answer(&location, schema, answer, report),
        }
    }

    /// Checks that the answer to the field `name` has the declared type and is sent.
    fn check_answer(&self, location: &str, schema: &Value, name: &str, report: &mut Findings) {
        let is_shown_agent = || {
            let screens = self.flow.screens.iter();
            screens
                .flat_map(flow::Screen::shown_agent_names)
                .any(|shown| shown == name)
        };
        if let Some(field) = self.flow.find_field(name) {
            let what = format!("the answer to {name:?}, of type {}", field.kind.as_str());
            require_type(location, schema, json_types(&field.kind), &what, report);
            let item = schema.get("items").and_then(declared_type);
            if matches!(field.kind, FieldKind::Choices(_))
                && declared_type(schema) == Some("array")
                && item != Some("string")
            {
                report.add_error(
                    format!("{location}.items"),
                    "each choice is a text: write {\"type\": \"string\"}",
                );
            }
        } else if is_shown_agent() {
            // The shown agent is stored with the answers. No payload needs to send it.
            let what = "the name of the agent who was shown";
            return require_type(location, schema, &["string"], what, report);
        }
        if !self.screens.iter().any(|screen| screen.sends(name)) {
            let what =
                format!("the config provides the answer to {name:?}, but no payload sends it");
            report.add_error(location, what);
        }
    }
}

/// Reports data that are declared as none of `types`. `what` describes the provided data.
fn require_type(location: &str, schema: &Value, types: &[&str], what: &str, report: &mut Findings) {
    let declared = declared_type(schema);
    if declared.is_some_and(|declared| types.contains(&declared)) {
        return;
    }
    let declared = declared.map_or_else(
        || "has no type".to_owned(),
        |kind| format!("is declared as {kind:?}"),
    );
    let types: Vec<String> = types.iter().map(|kind| format!("{kind:?}")).collect();
    let what = format!(
        "{declared}, but the config provides {what}: write {}",
        types.join(" or ")
    );
    report.add_error(location, what);
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
        let what = format!("each choice must be declared as \"object\"{properties_text}");
        report.add_error(location, what);
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
