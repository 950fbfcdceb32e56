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

mod json;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::{
    AutoEscape, Environment, ErrorKind, OutputSpan, OutputSpanKind, UndefinedBehavior, Value,
};
use serde::de::IgnoredAny;
use serde_json::Map;

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

/// Error in a template, or in its result for an event. The error contains no values of the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TemplateError {
    /// Line of the template, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Description of the error.
    pub message: String,
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
            let no_json = |_| {
                minijinja::Error::new(
                    ErrorKind::BadSerialization,
                    "this value can't be written as JSON",
                )
            };
            Ok(output.write_str(&serde_json::to_string(value).map_err(no_json)?)?)
        });
        environment
            .add_template_owned(TEMPLATE_NAME, text.to_owned())
            .map_err(|error| template_error(text, &error))?;
        if let Some(offset) = find_capture_block(text) {
            let what = "`{% set %}` and `{% filter %}` blocks around text are not supported: put the text between quotes where it \
                        belongs, or join it, as {{ \"Hello \" ~ name }}";
            return Err(error_at_offset(text, offset, what.to_owned()));
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
        let (output, spans) = rendered.map_err(|error| template_error(&self.text, &error))?;
        let body = self.assemble(&output, &spans)?;
        if body.len() > BODY_BYTES_MAX {
            let what = format!(
                "the payload has {} bytes, the maximum is {BODY_BYTES_MAX}",
                body.len()
            );
            return Err(error_at_offset(&self.text, 0, what));
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
        error_at_offset(
            &self.text,
            self.text.find(name).unwrap_or_default(),
            message,
        )
    }

    /// Assembles the payload from the rendered spans. Each value is written in the format that its
    /// position requires.
    fn assemble(&self, output: &str, spans: &[OutputSpan]) -> Result<String, TemplateError> {
        let (mut body, mut cursor, mut fragments) = (
            String::with_capacity(output.len()),
            JsonCursor::default(),
            Vec::new(),
        );
        for span in spans {
            let fragment = output.get(span.output_range()).unwrap_or_default();
            let (is_raw, source) = (
                span.kind() == OutputSpanKind::Raw,
                span.source_range().start,
            );
            fragments.push((body.len(), source, is_raw));
            if is_raw {
                cursor.advance(fragment);
                body.push_str(fragment);
            } else if cursor.is_escaping {
                let what = "a backslash before a value is not allowed, because it changes the meaning of the value";
                return Err(error_at_offset(&self.text, source, what.to_owned()));
            } else {
                body.push_str(&cursor.format_value(fragment));
            }
        }
        match serde_json::from_str::<IgnoredAny>(&body) {
            Ok(_) => Ok(body.trim_ascii().to_owned()),
            Err(error) => {
                let error_offset = byte_offset(&body, error.line(), error.column());
                let before = fragments
                    .iter()
                    .rev()
                    .find(|(start, ..)| *start <= error_offset);
                let source = before.map_or(0, |(start, source, is_raw)| {
                    source + if *is_raw { error_offset - start } else { 0 }
                });
                Err(error_at_offset(&self.text, source, json_error(&error)))
            }
        }
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

/// Converts an error of the template engine, with its position. The engine's whole text is not
/// used, because it may contain values of the event.
fn template_error(text: &str, error: &minijinja::Error) -> TemplateError {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => {
            "the template takes too long, or its result is too large".to_owned()
        }
        // The detail would contain the numbers.
        (_, Some(detail)) if detail.starts_with("unable to calculate") => {
            "this can't be calculated".to_owned()
        }
        (ErrorKind::SyntaxError | ErrorKind::BadSerialization, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    let line = || byte_offset(text, error.line().unwrap_or(1), 1);
    error_at_offset(
        text,
        error.range().map_or_else(line, |range| range.start),
        what,
    )
}

/// Returns the position of the first block that captures rendered text. Such text is not JSON yet,
/// so values in it could not be inserted correctly.
fn find_capture_block(text: &str) -> Option<usize> {
    let blocks = text
        .match_indices("{%")
        .map(|(offset, _)| (offset, text.get(offset + 2..).unwrap_or_default()));
    let mut capture_blocks = blocks.filter(|(_, after)| {
        let block = after
            .split("%}")
            .next()
            .unwrap_or_default()
            .trim_start_matches(['-', '+'])
            .trim_start();
        let word = block
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        // A filter after the name may also contain `=`, so only the part before the first `|`
        // counts.
        let assigns = block.split('|').next().unwrap_or_default().contains('=');
        word == "filter" || word == "set" && !assigns
    });
    capture_blocks.next().map(|(offset, _)| offset)
}

/// Returns a description of a JSON error, without the position in the JSON text.
fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text
        .split_once(" at line ")
        .map_or(text.as_str(), |(what, _)| what);
    format!("the result is not valid JSON: {what}")
}

/// Returns the byte offset of a line and a column. Both count from 1, columns in bytes.
fn byte_offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    before + column.saturating_sub(1)
}

fn error_at_offset(text: &str, offset: usize, message: String) -> TemplateError {
    let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    TemplateError {
        line,
        column,
        message,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rendered(text: &str, event: &serde_json::Value) -> Result<serde_json::Value, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        let body = template
            .render(event.as_object().unwrap())
            .map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&body).unwrap())
    }

    fn event() -> serde_json::Value {
        json!({"type": "lead.assigned", "data": {"lead": {"id": 7, "agent": null}, "submission": {"answers":
            {"name": "Ann \"the\" \\ boss\n", "count": 2, "days": ["mon", "tue"], "big": 18_446_744_073_709_551_615_u64}}}})
    }

    #[test]
    fn value_renders_as_json_or_text_in_quotes() {
        let name = "Ann \"the\" \\ boss\n";
        for (text, expected) in [
            (
                "{\"a\": {{ data.submission.answers.name }}}",
                json!({"a": name}),
            ),
            (
                "{\"a\": \"Hello {{ data.submission.answers.name }}!\"}",
                json!({"a": format!("Hello {name}!")}),
            ),
            (
                "[{{ \"Hello \" ~ data.submission.answers.name }}]",
                json!([format!("Hello {name}")]),
            ),
            (
                "[{{ data.lead.id }}, \"{{ data.lead.id }}\"]",
                json!([7, "7"]),
            ),
            (
                "[{{ data.submission.answers.days }}, \"{{ data.submission.answers.days }}\"]",
                json!([["mon", "tue"], "mon, tue"]),
            ),
            (
                "{{ data.submission.answers.big }}",
                json!(18_446_744_073_709_551_615_u64),
            ),
            ("{{ data.lead }}", json!({"id": 7, "agent": null})),
            (
                "{ {{ data.submission.answers.name }}: true}",
                json!({name: true}),
            ),
            (
                "{\"a\": {% if data.booking %}1{% else %}0{% endif %}}\n",
                json!({"a": 0}),
            ),
        ] {
            assert_eq!(rendered(text, &event()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn answers_are_iterated_in_order() {
        let text = "[{% for name, answer in data.submission.answers | items %}{% if not loop.first %}, {% endif %}\"{{ name }}\"{% endfor %}]";
        assert_eq!(
            rendered(text, &event()),
            Ok(json!(["name", "count", "days", "big"]))
        );
    }

    #[test]
    fn missing_value_is_null_or_empty_text() {
        for (text, expected) in [
            (
                "[{{ data.lead.agent }}, {{ data.booking.date }}, {{ nothing.at.all }}]",
                json!([null, null, null]),
            ),
            (
                "\"<{{ data.lead.agent }}{{ data.booking.date }}>\"",
                json!("<>"),
            ),
            ("{{ \"agent \" ~ data.lead.agent }}", json!("agent ")),
            ("{{ data.lead.agent or \"nobody\" }}", json!("nobody")),
            (
                "{{ data.lead.agent | default(\"nobody\") | upper }}",
                json!("NOBODY"),
            ),
            ("{{ data.lead.agent | upper }}", json!("")),
        ] {
            assert_eq!(rendered(text, &event()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn template_error_has_line_and_column() {
        for (text, why) in [
            ("{\n  \"a\": {{ data.x }\n}", "line 2, column "),
            (
                "{\"a\": {{ data.x | nofilter }}}",
                "line 1, column 19: unknown filter: filter nofilter is unknown",
            ),
            (
                "{% include \"x\" %}",
                "line 1, column 4: unknown statement include",
            ),
            ("{% if data %}", "unexpected end of input"),
            ("{{ debug() }}", "debug is unknown"),
            (
                "",
                "the result is not valid JSON: EOF while parsing a value",
            ),
            (
                "{\n \"é\": {{ data.lead.id }},\n}",
                "line 3, column 1: the result is not valid JSON: key must be a string",
            ),
            (
                "{\"a\": \"x\ny\"}",
                "line 1, column 8: the result is not valid JSON: control character",
            ),
            (
                "{} {{ data.lead.id }}",
                "line 1, column 7: the result is not valid JSON: trailing characters",
            ),
            (
                "{\"a\": \"\\{{ data.lead.id }}\"}",
                "line 1, column 12: a backslash before a value",
            ),
            (
                "{% set x %}{{ data.lead.id }}{% endset %}{{ x }}",
                "line 1, column 1: `{% set %}` and `{% filter %}` blocks",
            ),
            (
                "[{%\n  set\nx\n%}a{% endset %}{{ x }}]",
                "line 1, column 2: `{% set %}` and `{% filter %}` blocks",
            ),
            (
                "[{%+ set\tx | replace(from='a', to='b') %}a{% endset %}]",
                "line 1, column 2: `{% set %}` and `{% filter %}` blocks",
            ),
            (
                "[{% filter\nupper %}a{% endfilter %}]",
                "line 1, column 2: `{% set %}` and `{% filter %}` blocks",
            ),
            (
                "[{%- filter upper %}a{% endfilter %}]",
                "line 1, column 2: `{% set %}` and `{% filter %}` blocks",
            ),
            ("{{ 1 / 0 }}", "this can't be calculated"),
        ] {
            let error = rendered(text, &event()).unwrap_err();
            assert!(error.contains(why), "{text}\n{error}");
        }
    }

    #[test]
    fn rendering_is_bounded() {
        for text in [
            "{{ \"x\" * 1000000000 }}",
            "[{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}]",
            "\"{% for a in range(99999) %}{{ data.lead.id }}{% endfor %}\"",
        ] {
            assert!(
                rendered(text, &event())
                    .unwrap_err()
                    .ends_with("the template takes too long, or its result is too large"),
                "{text}"
            );
        }
        let long = json!({"data": "x".repeat(BODY_BYTES_MAX)});
        let error = rendered("{{ data }}", &long).unwrap_err();
        assert_eq!(
            error,
            "line 1, column 1: the payload has 1048578 bytes, the maximum is 1048576"
        );
        assert!(rendered("{{ data[2:] }}", &long).is_ok());
    }

    #[test]
    fn referenced_paths_exclude_builtins() {
        let text = "{{ data.lead.id }}{% for a in range(3) %}{{ loop.index }}{{ a }}{% endfor %}{{ data[\"x\"] }}{{ summary }}";
        let template = Template::parse(text).unwrap();
        assert_eq!(
            template.referenced_paths().into_iter().collect::<Vec<_>>(),
            ["data", "data.lead.id", "summary"]
        );
        let error = Template::parse("{\n{{ data.x }}")
            .unwrap()
            .error_at("data.x", "no".to_owned());
        assert_eq!(error.to_string(), "line 2, column 4: no");
    }

    proptest! {
        #[test]
        fn customer_text_never_escapes_its_value(name in ".*", other in any::<String>()) {
            let text = "{\"a\": {{ data.name }}, \"b\": \"Hello {{ data.name }}: {{ data.other }}\", \"c\": [\"{{ data.other }}\"], \
                        \"d\": {{ data.name ~ data.other }}}";
            let event = json!({"data": {"name": name, "other": other}});
            let expected = json!({"a": name, "b": format!("Hello {name}: {other}"), "c": [other], "d": format!("{name}{other}")});
            prop_assert_eq!(rendered(text, &event), Ok(expected));
        }

        #[test]
        fn rendering_is_deterministic(name in ".*") {
            let template = Template::parse("{\"a\": {{ data }} }").unwrap();
            let event = json!({"data": {"name": name, "b": 1, "a": 2}});
            prop_assert_eq!(template.render(event.as_object().unwrap()), template.render(event.as_object().unwrap()));
        }
    }
}
