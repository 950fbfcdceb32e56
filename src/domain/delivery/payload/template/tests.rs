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
    json!({"type": "lead.assigned", "data": {"lead": {"id": 7, "agent": null}, "answers":
        {"name": "Ann \"the\" \\ boss\n", "count": 2, "days": ["mon", "tue"], "big": u64::MAX}}})
}

#[test]
fn value_renders_as_json_or_text_in_quotes() {
    let name = "Ann \"the\" \\ boss\n";
    let hi = format!("Hi {name}");
    let id_twice = json!([7, "7"]);
    for (text, expected) in [
        (r#"{"a": {{ data.answers.name }}}"#, json!({"a": name})),
        (r#"{"a": "Hi {{ data.answers.name }}"}"#, json!({"a": hi})),
        (r#"[{{ "Hi " ~ data.answers.name }}]"#, json!([hi])),
        (r#"[{{ data.lead.id }}, "{{ data.lead.id }}"]"#, id_twice),
        (
            r#"[{{ data.answers.days }}, "{{ data.answers.days }}"]"#,
            json!([["mon", "tue"], "mon, tue"]),
        ),
        ("{{ data.answers.big }}", json!(u64::MAX)),
        ("{{ data.lead }}", json!({"id": 7, "agent": null})),
        ("{ {{ data.answers.name }}: true}", json!({name: true})),
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
    let text = "[{% for name, answer in data.answers | items %}{% if not loop.first %}, {% endif %}\"{{ name }}\"{% endfor %}]";
    let names = json!(["name", "count", "days", "big"]);
    assert_eq!(rendered(text, &event()), Ok(names));
}

#[test]
fn missing_value_is_null_or_empty_text() {
    for (text, expected) in [
        (
            "[{{ data.lead.agent }}, {{ data.booking.date }}, {{ nothing.at.all }}]",
            json!([null, null, null]),
        ),
        (
            r#""{{ data.lead.agent }}{{ data.booking.date }}""#,
            json!(""),
        ),
        ("{{ \"agent \" ~ data.lead.agent }}", json!("agent ")),
        ("{{ data.lead.agent or \"nobody\" }}", json!("nobody")),
        ("{{ data.lead.agent | default('no') | upper }}", json!("NO")),
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
            "{\"a\": \"\\{{ data.lead.id }}\"}",
            "line 1, column 12: a backslash before a value",
        ),
        ("{{ 1 / 0 }}", "this can't be calculated"),
    ] {
        let error = rendered(text, &event()).unwrap_err();
        assert!(error.contains(why), "{text}\n{error}");
    }
    for (text, line, column, why) in [
        ("", 1, 1, "EOF while parsing a value"),
        (
            "{\n \"é\": {{ data.lead.id }},\n}",
            3,
            1,
            "key must be a string",
        ),
        ("{\"a\": \"x\ny\"}", 1, 8, "control character"),
        ("{} {{ data.lead.id }}", 1, 7, "trailing characters"),
    ] {
        let why = format!("line {line}, column {column}: the result is not valid JSON: {why}");
        let error = rendered(text, &event()).unwrap_err();
        assert!(error.starts_with(&why), "{text}\n{error}");
    }
    let why = "line 1, column 2: `{% set %}` and `{% filter %}` blocks";
    for text in [
        "[{% set x %}{{ data.lead.id }}{% endset %}{{ x }}]",
        "[{%\n  set\nx\n%}a{% endset %}{{ x }}]",
        "[{%+ set\tx | replace(from='a', to='b') %}a{% endset %}]",
        "[{% filter\nupper %}a{% endfilter %}]",
        "[{%- filter upper %}a{% endfilter %}]",
    ] {
        let error = rendered(text, &event()).unwrap_err();
        assert!(error.starts_with(why), "{text}\n{error}");
    }
}

#[test]
fn rendering_is_bounded() {
    for text in [
        "{{ \"x\" * 1000000000 }}",
        "[{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}]",
        "\"{% for a in range(99999) %}{{ data.lead.id }}{% endfor %}\"",
    ] {
        let error = rendered(text, &event()).unwrap_err();
        let why = "the template takes too long, or its result is too large";
        assert!(error.ends_with(why), "{text}");
    }
    let long = json!({"data": "x".repeat(BODY_BYTES_MAX)});
    let error = rendered("{{ data }}", &long).unwrap_err();
    let why = "line 1, column 1: the payload has 1048578 bytes, the maximum is 1048576";
    assert_eq!(error, why);
    assert!(rendered("{{ data[2:] }}", &long).is_ok());
}

#[test]
fn referenced_paths_exclude_builtins() {
    let text = "{{ data.lead.id }}{% for a in range(3) %}{{ loop.index }}{{ a }}{% endfor %}{{ data[\"x\"] }}{{ summary }}";
    let paths = Template::parse(text).unwrap().referenced_paths();
    assert!(
        paths.iter().eq(["data", "data.lead.id", "summary"]),
        "{paths:?}"
    );
    let template = Template::parse("{\n{{ data.x }}").unwrap();
    let error = template.error_at("data.x", "no".to_owned());
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
