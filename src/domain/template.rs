//! Templates of bodies: a JSON text in which `{{ … }}` stands for what an event tells, in the language of Jinja.
//!
//! ```text
//! {"name": {{ data.submission.answers.name }}, "note": "Lead {{ data.lead.id }} of {{ data.flow }}"}
//! ```
//!
//! `{{ … }}` gives a value, as JSON, and between quotes its text (`json.rs`). So what customers write stays within the text
//! that the template has for it, whatever it is. What an event does not tell, or tells as null, is undefined: null or, between
//! quotes, nothing. The result is one JSON value, or there is none.
//!
//! A template is bounded in what it may compute, sees the event and nothing else, and gives the same for the same event.
//! Which events it is for is `super::body`'s.

mod json;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::{AutoEscape, Environment, ErrorKind, OutputSpan, OutputSpanKind, UndefinedBehavior, Value};
use serde::de::IgnoredAny;
use serde_json::Map;

use json::Cursor;

/// Bytes of a body at the most: what a common web server takes that was told nothing else (nginx, `client_max_body_size`).
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// What rendering may cost: steps, and 64 bytes each of what is made on the way. To write the longest body takes a sixth of it.
const FUEL: u64 = 100_000;

/// The name that it has in its own environment.
const NAME: &str = "body";

/// Values that are there in every template.
const GLOBALS: [&str; 5] = ["dict", "loop", "namespace", "range", "self"];

/// A template that was read. Two are the same where their texts are.
#[derive(Clone)]
pub struct Template {
    text: Arc<str>,
    environment: Arc<Environment<'static>>,
}

/// What is wrong with a template, or with what it makes of an event. Nothing that an event tells stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct TemplateError {
    /// The line of the template, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] where it is none.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // For the places of errors.
        environment.set_debug(true);
        environment.remove_global("debug");
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, _, value| {
            let no_json = |_| minijinja::Error::new(ErrorKind::BadSerialization, "this has no form in JSON");
            Ok(out.write_str(&serde_json::to_string(value).map_err(no_json)?)?)
        });
        environment.add_template_owned(NAME, text.to_owned()).map_err(|error| told(text, &error))?;
        if let Some(place) = collecting(text) {
            let what = "this collects text, where no value would stand as it should: put the text between quotes where it \
                        belongs, or join it, as {{ \"Hello \" ~ name }}";
            return Err(located(text, place, what.to_owned()));
        }
        Ok(Self { text: text.into(), environment: Arc::new(environment) })
    }

    /// The body that tells of `event`, whose fields are what the template sees.
    ///
    /// # Errors
    /// [`TemplateError`] where it gives no JSON, or too much.
    pub fn render(&self, event: &Map<String, serde_json::Value>) -> Result<String, TemplateError> {
        let rendered =
            self.environment.get_template(NAME).and_then(|template| template.render_with_spans(table(event)));
        let (output, spans) = rendered.map_err(|error| told(&self.text, &error))?;
        let body = self.fit(&output, &spans)?;
        if body.len() > BODY_BYTES_MAX {
            let what = format!("the body becomes {} bytes long, and may have {BODY_BYTES_MAX}", body.len());
            return Err(located(&self.text, 0, what));
        }
        Ok(body)
    }

    /// The names that it looks up, as paths: `data.lead.id`. Of a name that is computed, what stands before it.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let names = self.environment.get_template(NAME).map(|template| template.undeclared_variables(true));
        let is_its_own = |name: &String| !GLOBALS.contains(&name.split('.').next().unwrap_or_default());
        names.unwrap_or_default().into_iter().filter(is_its_own).collect()
    }

    /// `what` is wrong with `name`, at its first place.
    #[must_use]
    pub fn error_at(&self, name: &str, what: String) -> TemplateError {
        located(&self.text, self.text.find(name).unwrap_or_default(), what)
    }

    /// What was rendered, each value written as its place asks for.
    fn fit(&self, output: &str, spans: &[OutputSpan]) -> Result<String, TemplateError> {
        let (mut body, mut cursor, mut pieces) = (String::with_capacity(output.len()), Cursor::default(), Vec::new());
        for span in spans {
            let piece = output.get(span.output_range()).unwrap_or_default();
            let (is_raw, source) = (span.kind() == OutputSpanKind::Raw, span.source_range().start);
            pieces.push((body.len(), source, is_raw));
            if is_raw {
                cursor.pass(piece);
                body.push_str(piece);
            } else if cursor.is_escaping {
                let what = "a backslash stands before it, which would give it another meaning";
                return Err(located(&self.text, source, what.to_owned()));
            } else {
                body.push_str(&cursor.fit(piece));
            }
        }
        match serde_json::from_str::<IgnoredAny>(&body) {
            Ok(_) => Ok(body.trim_ascii().to_owned()),
            Err(error) => {
                let place = offset(&body, error.line(), error.column());
                let before = pieces.iter().rev().find(|(start, ..)| *start <= place);
                let source =
                    before.map_or(0, |(start, source, is_raw)| source + if *is_raw { place - start } else { 0 });
                Err(located(&self.text, source, no_json(&error)))
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

/// A table as templates see it.
fn table(map: &Map<String, serde_json::Value>) -> Value {
    Value::from_pairs(map.iter().map(|(name, value)| (name.as_str(), seen(value))))
}

/// A value as templates see it: null is undefined, so that both are told, joined and replaced in the same way.
fn seen(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::UNDEFINED,
        serde_json::Value::Array(items) => items.iter().map(seen).collect::<Vec<_>>().into(),
        serde_json::Value::Object(map) => table(map),
        plain => Value::from(minijinja::value::Serde(plain)),
    }
}

/// What the engine says is wrong, with its place. Never its whole text, which may repeat values.
fn told(text: &str, error: &minijinja::Error) -> TemplateError {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "this takes too long, or becomes too large".to_owned(),
        // It would repeat the numbers.
        (_, Some(detail)) if detail.starts_with("unable to calculate") => "this can't be calculated".to_owned(),
        (ErrorKind::SyntaxError | ErrorKind::BadSerialization, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    let line = || offset(text, error.line().unwrap_or(1), 1);
    located(text, error.range().map_or_else(line, |range| range.start), what)
}

/// Where a block begins that collects what is rendered in it: what is written there is no JSON text yet.
fn collecting(text: &str) -> Option<usize> {
    let blocks = text.match_indices("{%").map(|(place, _)| (place, text.get(place + 2..).unwrap_or_default()));
    let mut collecting = blocks.filter(|(_, after)| {
        let block = after.split("%}").next().unwrap_or_default().trim_start_matches(['-', '+']).trim_start();
        let word = block.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        // In filters, behind the name that is set, one may stand as well.
        let assigns = block.split('|').next().unwrap_or_default().contains('=');
        word == "filter" || word == "set" && !assigns
    });
    collecting.next().map(|(place, _)| place)
}

/// What is wrong with a JSON text, without its place in it.
fn no_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    format!("what comes of it is no JSON: {what}")
}

/// The byte at which a line and a column stand, both from 1, columns in bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column.saturating_sub(1)
}

fn located(text: &str, place: usize, what: String) -> TemplateError {
    let before = text.get(..text.floor_char_boundary(place)).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    TemplateError { line, column, what }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rendered(text: &str, event: &serde_json::Value) -> Result<serde_json::Value, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        let body = template.render(event.as_object().unwrap()).map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&body).unwrap())
    }

    fn event() -> serde_json::Value {
        json!({"type": "lead.assigned", "data": {"lead": {"id": 7, "agent": null}, "submission": {"answers":
            {"name": "Ann \"the\" \\ boss\n", "count": 2, "days": ["mon", "tue"], "big": 18_446_744_073_709_551_615_u64}}}})
    }

    #[test]
    fn a_value_stands_as_it_is_and_between_quotes_as_text() {
        let name = "Ann \"the\" \\ boss\n";
        for (text, expected) in [
            ("{\"a\": {{ data.submission.answers.name }}}", json!({"a": name})),
            ("{\"a\": \"Hello {{ data.submission.answers.name }}!\"}", json!({"a": format!("Hello {name}!")})),
            ("[{{ \"Hello \" ~ data.submission.answers.name }}]", json!([format!("Hello {name}")])),
            ("[{{ data.lead.id }}, \"{{ data.lead.id }}\"]", json!([7, "7"])),
            (
                "[{{ data.submission.answers.days }}, \"{{ data.submission.answers.days }}\"]",
                json!([["mon", "tue"], "mon, tue"]),
            ),
            ("{{ data.submission.answers.big }}", json!(18_446_744_073_709_551_615_u64)),
            ("{{ data.lead }}", json!({"id": 7, "agent": null})),
            ("{ {{ data.submission.answers.name }}: true}", json!({name: true})),
            ("{\"a\": {% if data.booking %}1{% else %}0{% endif %}}\n", json!({"a": 0})),
        ] {
            assert_eq!(rendered(text, &event()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn answers_keep_the_order_in_which_they_came() {
        let text = "[{% for name, answer in data.submission.answers | items %}{% if not loop.first %}, {% endif %}\"{{ name }}\"{% endfor %}]";
        assert_eq!(rendered(text, &event()), Ok(json!(["name", "count", "days", "big"])));
    }

    #[test]
    fn what_is_null_or_missing_is_null_and_nothing_between_quotes() {
        for (text, expected) in [
            ("[{{ data.lead.agent }}, {{ data.booking.date }}, {{ nothing.at.all }}]", json!([null, null, null])),
            ("\"<{{ data.lead.agent }}{{ data.booking.date }}>\"", json!("<>")),
            ("{{ \"agent \" ~ data.lead.agent }}", json!("agent ")),
            ("{{ data.lead.agent or \"nobody\" }}", json!("nobody")),
            ("{{ data.lead.agent | default(\"nobody\") | upper }}", json!("NOBODY")),
            ("{{ data.lead.agent | upper }}", json!("")),
        ] {
            assert_eq!(rendered(text, &event()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, why) in [
            ("{\n  \"a\": {{ data.x }\n}", "line 2, column "),
            ("{\"a\": {{ data.x | nofilter }}}", "line 1, column 19: unknown filter: filter nofilter is unknown"),
            ("{% include \"x\" %}", "line 1, column 4: unknown statement include"),
            ("{% if data %}", "unexpected end of input"),
            ("{{ debug() }}", "debug is unknown"),
            ("", "what comes of it is no JSON: EOF while parsing a value"),
            (
                "{\n \"é\": {{ data.lead.id }},\n}",
                "line 3, column 1: what comes of it is no JSON: key must be a string",
            ),
            ("{\"a\": \"x\ny\"}", "line 1, column 8: what comes of it is no JSON: control character"),
            ("{} {{ data.lead.id }}", "line 1, column 7: what comes of it is no JSON: trailing characters"),
            ("{\"a\": \"\\{{ data.lead.id }}\"}", "line 1, column 12: a backslash stands before it"),
            ("{% set x %}{{ data.lead.id }}{% endset %}{{ x }}", "line 1, column 1: this collects text"),
            ("[{%\n  set\nx\n%}a{% endset %}{{ x }}]", "line 1, column 2: this collects text"),
            ("[{%+ set\tx | replace(from='a', to='b') %}a{% endset %}]", "line 1, column 2: this collects text"),
            ("[{% filter\nupper %}a{% endfilter %}]", "line 1, column 2: this collects text"),
            ("[{%- filter upper %}a{% endfilter %}]", "line 1, column 2: this collects text"),
            ("{{ 1 / 0 }}", "this can't be calculated"),
        ] {
            let said = rendered(text, &event()).unwrap_err();
            assert!(said.contains(why), "{text}\n{said}");
        }
    }

    #[test]
    fn nothing_takes_long_or_becomes_large() {
        for text in [
            "{{ \"x\" * 1000000000 }}",
            "[{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}]",
            "\"{% for a in range(99999) %}{{ data.lead.id }}{% endfor %}\"",
        ] {
            assert!(
                rendered(text, &event()).unwrap_err().ends_with("this takes too long, or becomes too large"),
                "{text}"
            );
        }
        let long = json!({"data": "x".repeat(BODY_BYTES_MAX)});
        let said = rendered("{{ data }}", &long).unwrap_err();
        assert_eq!(said, "line 1, column 1: the body becomes 1048578 bytes long, and may have 1048576");
        assert!(rendered("{{ data[2:] }}", &long).is_ok());
    }

    #[test]
    fn its_names_are_paths_and_what_the_language_has_is_none_of_them() {
        let text = "{{ data.lead.id }}{% for a in range(3) %}{{ loop.index }}{{ a }}{% endfor %}{{ data[\"x\"] }}{{ summary }}";
        let template = Template::parse(text).unwrap();
        assert_eq!(template.names().into_iter().collect::<Vec<_>>(), ["data", "data.lead.id", "summary"]);
        let error = Template::parse("{\n{{ data.x }}").unwrap().error_at("data.x", "no".to_owned());
        assert_eq!(error.to_string(), "line 2, column 4: no");
    }

    proptest! {
        #[test]
        fn whatever_customers_write_is_the_value_unchanged_and_nothing_else(name in ".*", other in any::<String>()) {
            let text = "{\"a\": {{ data.name }}, \"b\": \"Hello {{ data.name }}: {{ data.other }}\", \"c\": [\"{{ data.other }}\"], \
                        \"d\": {{ data.name ~ data.other }}}";
            let event = json!({"data": {"name": name, "other": other}});
            let expected = json!({"a": name, "b": format!("Hello {name}: {other}"), "c": [other], "d": format!("{name}{other}")});
            prop_assert_eq!(rendered(text, &event), Ok(expected));
        }

        #[test]
        fn the_same_event_gives_the_same_bytes(name in ".*") {
            let template = Template::parse("{\"a\": {{ data }} }").unwrap();
            let event = json!({"data": {"name": name, "b": 1, "a": 2}});
            prop_assert_eq!(template.render(event.as_object().unwrap()), template.render(event.as_object().unwrap()));
        }
    }
}
