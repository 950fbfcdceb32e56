//! Renders payload templates: JSON texts with Jinja expressions, which `{{ … }}` marks.
//!
//! ```text
//! {"name": {{ data.submission.answers.name }},
//!  "note": "Lead {{ data.lead.id }} of {{ data.flow }}"}
//! ```
//!
//! Outside quotes, `{{ … }}` inserts a value as JSON. Between quotes, `{{ … }}` inserts the value's
//! text. A customer's answer therefore can't leave the place that the template gives to it. A
//! missing or null value is undefined: null outside quotes, nothing between quotes. The result must
//! be one JSON value; otherwise rendering fails.
//!
//! The cost of a template is bounded. A template sees only the event and gives the same result for
//! the same event. See `json` for the insertion of
//! values and [`crate::domain::delivery::payload`] for the events of a template.

mod error;
mod json;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::{
    AutoEscape, Environment, ErrorKind, OutputSpan, OutputSpanKind, UndefinedBehavior, Value,
};
use serde::de::IgnoredAny;
use serde_json::Map;

pub use error::TemplateError;
use error::{byte_offset, json_error};
use json::JsonCursor;

/// Maximum size of a payload, in bytes: the default limit of a common web server (nginx,
/// `client_max_body_size`).
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Maximum cost of rendering, in steps, plus 1 for every 64 bytes of intermediate results. The
/// longest payload costs a sixth of this.
const FUEL_LIMIT: u64 = 100_000;

/// Name of the template in its own environment.
const TEMPLATE_NAME: &str = "body";

/// Names that every template can use.
const GLOBALS: [&str; 5] = ["dict", "loop", "namespace", "range", "self"];

/// Parsed template. Two templates are equal if their texts are equal.
#[derive(Clone)]
pub struct Template {
    text: Arc<str>,
    environment: Arc<Environment<'static>>,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateError`] if the template is invalid.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // Debug mode provides the positions of errors.
        environment.set_debug(true);
        environment.remove_global("debug");
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL_LIMIT));
        environment.set_formatter(|output, _, value| {
            let what = "this value can't be written as JSON";
            let no_json = |_| minijinja::Error::new(ErrorKind::BadSerialization, what);
            Ok(output.write_str(&serde_json::to_string(value).map_err(no_json)?)?)
        });
        environment
            .add_template_owned(TEMPLATE_NAME, text.to_owned())
            .map_err(|error| TemplateError::from_engine(text, &error))?;
        if let Some(offset) = find_capture_block(text) {
            let what = "`{% set %}` and `{% filter %}` blocks around text are not supported: put the text between quotes where it \
                        belongs, or join it, as {{ \"Hello \" ~ name }}";
            return Err(TemplateError::at_offset(text, offset, what.to_owned()));
        }
        Ok(Self {
            text: text.into(),
            environment: Arc::new(environment),
        })
    }

    /// Renders the payload for `event`. The template sees the fields of `event`.
    ///
    /// # Errors
    /// [`TemplateError`] if the result is not JSON or is too large.
    pub fn render(&self, event: &Map<String, serde_json::Value>) -> Result<String, TemplateError> {
        let rendered = self
            .environment
            .get_template(TEMPLATE_NAME)
            .and_then(|template| template.render_with_spans(to_template_map(event)));
        let (output, spans) =
            rendered.map_err(|error| TemplateError::from_engine(&self.text, &error))?;
        let body = self.assemble(&output, &spans)?;
        let length = body.len();
        if length > BODY_BYTES_MAX {
            let what = format!("the payload has {length} bytes, the maximum is {BODY_BYTES_MAX}");
            return Err(TemplateError::at_offset(&self.text, 0, what));
        }
        Ok(body)
    }

    /// Returns the paths that the template looks up, such as `data.lead.id`. For a computed name,
    /// the path ends before that name.
    #[must_use]
    pub fn referenced_paths(&self) -> BTreeSet<String> {
        let names = self
            .environment
            .get_template(TEMPLATE_NAME)
            .map(|template| template.undeclared_variables(true));
        let is_its_own =
            |name: &String| !GLOBALS.contains(&name.split('.').next().unwrap_or_default());
        names
            .unwrap_or_default()
            .into_iter()
            .filter(is_its_own)
            .collect()
    }

    /// Returns an error with this message at the first position of `name` in the template.
    #[must_use]
    pub fn error_at(&self, name: &str, message: String) -> TemplateError {
        let offset = self.text.find(name).unwrap_or_default();
        TemplateError::at_offset(&self.text, offset, message)
    }

    /// Assembles the payload from the rendered spans. Each value is written in the format that its
    /// position requires.
    fn assemble(&self, output: &str, spans: &[OutputSpan]) -> Result<String, TemplateError> {
        let mut body = String::with_capacity(output.len());
        let mut cursor = JsonCursor::default();
        let mut fragments = Vec::new();
        for span in spans {
            let fragment = output.get(span.output_range()).unwrap_or_default();
            let is_raw = span.kind() == OutputSpanKind::Raw;
            let source = span.source_range().start;
            fragments.push((body.len(), source, is_raw));
            if is_raw {
                cursor.advance(fragment);
                body.push_str(fragment);
            } else if cursor.is_escaping {
                let what = "a backslash before a value is not allowed, because it changes the meaning of the value";
                let what = what.to_owned();
                return Err(TemplateError::at_offset(&self.text, source, what));
            } else {
                body.push_str(&cursor.format_value(fragment));
            }
        }
        let Err(error) = serde_json::from_str::<IgnoredAny>(&body) else {
            return Ok(body.trim_ascii().to_owned());
        };
        let offset = byte_offset(&body, error.line(), error.column());
        let before = fragments.iter().rfind(|(start, ..)| *start <= offset);
        let source = before.map_or(0, |(start, source, is_raw)| {
            source + if *is_raw { offset - start } else { 0 }
        });
        Err(TemplateError::at_offset(
            &self.text,
            source,
            json_error(&error),
        ))
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Template {}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.text).finish()
    }
}

/// Converts a JSON object to a value for templates.
fn to_template_map(map: &Map<String, serde_json::Value>) -> Value {
    Value::from_pairs(
        map.iter()
            .map(|(name, value)| (name.as_str(), to_template_value(value))),
    )
}

/// Converts a JSON value to a value for templates. Null becomes undefined, so that both are
/// printed, joined and replaced in the same manner.
fn to_template_value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::UNDEFINED,
        serde_json::Value::Array(items) => items
            .iter()
            .map(to_template_value)
            .collect::<Vec<_>>()
            .into(),
        serde_json::Value::Object(map) => to_template_map(map),
        plain => Value::from(minijinja::value::Serde(plain)),
    }
}

/// Returns the position of the first block that captures rendered text. Such text is not JSON yet,
/// so values in it could not be inserted correctly.
fn find_capture_block(text: &str) -> Option<usize> {
    let blocks = text
        .match_indices("{%")
        .map(|(offset, _)| (offset, text.get(offset + 2..).unwrap_or_default()));
    let mut capture_blocks = blocks.filter(|(_, after)| {
        let block = after.split("%}").next().unwrap_or_default();
        let block = block.trim_start_matches(['-', '+']).trim_start();
        let mut words = block.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = words.next().unwrap_or_default();
        // A filter after the name may also contain `=`, so only the part before the first `|`
        // counts.
        let assigns = block.split('|').next().unwrap_or_default().contains('=');
        word == "filter" || word == "set" && !assigns
    });
    capture_blocks.next().map(|(offset, _)| offset)
}

#[cfg(test)]
mod tests;
