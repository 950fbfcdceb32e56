//! Tests the values in a payload, the errors of templates and the bounds of rendering.

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
        let event = event.as_object().unwrap();
        prop_assert_eq!(template.render(event), template.render(event));
    }
}
