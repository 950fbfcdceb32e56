//! Tests the order of screens and the validation of forms.

use serde_json::json;

use super::field::FieldKind;
use super::*;

/// Returns a screen that is final, leads to the screen `next`, or leads to the following one.
fn screen_named(name: &str, is_final: bool, next: Option<&str>, fields: Vec<Field>) -> Screen {
    let next = next.map(|next| NextScreen::Screen(next.to_owned()));
    Screen {
        is_final,
        next: next.unwrap_or_default(),
        fields,
        ..Screen::new(name)
    }
}

fn required_field(name: &str, kind: FieldKind) -> Field {
    Field {
        is_required: true,
        ..Field::new(name, kind)
    }
}

fn flow_with_screens(screens: Vec<Screen>) -> Flow {
    Flow {
        screens,
        ..Flow::new(FlowName::new("form").unwrap(), "/form".to_owned())
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other}"),
    }
}

fn validation_errors(flow: &Flow, screen: Option<&str>, data: Value) -> Vec<String> {
    let errors = flow.validate(screen, &object(data));
    errors.iter().map(ToString::to_string).collect()
}

fn stage(flow: &Flow, screen: Option<&str>) -> Result<ScreenStage, String> {
    let stage = flow.screen_stage(screen, &Map::new());
    stage.map_err(|error| error.to_string())
}

fn names<'a>(screens: impl IntoIterator<Item = &'a Screen>) -> Vec<&'a str> {
    let screens = screens.into_iter();
    screens.map(|screen| screen.name.as_str()).collect()
}

#[test]
fn flow_without_screens_accepts_any_form() {
    let flow = flow_with_screens(vec![]);
    assert_eq!(stage(&flow, Some("ANY")), Ok(ScreenStage::Final));
    assert_eq!(stage(&flow, None), Ok(ScreenStage::Final));
    assert!(validation_errors(&flow, Some("ANY"), json!({"a": [1, null]})).is_empty());
}

#[test]
fn signatures_of_tokens_are_checked_by_default_only_where_the_app_secret_is_known() {
    use TokenSignaturePolicy::{Check, Off, Require};
    let rules = |signature, token_signature| {
        let flow = Flow {
            signature,
            token_signature,
            ..flow_with_screens(vec![])
        };
        [true, false].map(|has_app_secret| flow.token_rule(has_app_secret))
    };
    assert_eq!(rules(SignaturePolicy::Required, None), [Check, Off]);
    assert_eq!(rules(SignaturePolicy::None, None), [Off, Off]);
    for written in [Check, Require, Off] {
        for signature in [SignaturePolicy::Required, SignaturePolicy::None] {
            assert_eq!(rules(signature, Some(written)), [written; 2]);
        }
    }
}

#[test]
fn next_screen_is_declared_or_following() {
    let flow = flow_with_screens(vec![
        screen_named("ONE", false, None, vec![]),
        screen_named("TWO", false, Some("FOUR"), vec![]),
        screen_named("THREE", false, None, vec![]),
        screen_named("FOUR", true, None, vec![]),
    ]);
    for (screen, next) in [("ONE", "TWO"), ("TWO", "FOUR"), ("THREE", "FOUR")] {
        let screen = flow.find_screen(screen).unwrap();
        assert_eq!(names(flow.next_screen(screen, &Map::new())), [next]);
    }
    let last = flow.find_screen("FOUR").unwrap();
    assert_eq!(flow.next_screen(last, &Map::new()), None);
    assert_eq!(stage(&flow, Some("ONE")), Ok(ScreenStage::Draft));
    assert_eq!(stage(&flow, Some("FOUR")), Ok(ScreenStage::Final));
}

/// Returns a form whose first screen leads to a screen that depends on the field `kind`.
fn branching_flow(default: Option<&str>) -> Flow {
    let cases = [("new", "INTAKE"), ("2", "INTAKE"), ("known", "SLOT")];
    let cases = cases.map(|(value, name)| (value.to_owned(), name.to_owned()));
    let by_kind = NextScreen::ByField {
        field: "kind".to_owned(),
        cases: cases.into(),
        default: default.map(str::to_owned),
    };
    let start = Screen {
        next: by_kind,
        ..Screen::new("START")
    };
    let what = required_field("what", FieldKind::ANY_TEXT);
    let since = required_field("since", FieldKind::ANY_TEXT);
    flow_with_screens(vec![
        start,
        screen_named("ASK", false, None, vec![what]),
        screen_named("INTAKE", false, Some("SLOT"), vec![since]),
        screen_named("SLOT", true, None, vec![]),
    ])
}

#[test]
fn next_screen_depends_on_field() {
    let (open, closed) = (branching_flow(None), branching_flow(Some("SLOT")));
    for (flow, kind, expected) in [
        (&open, json!("new"), "INTAKE"),
        (&open, json!(2), "INTAKE"),
        (&open, json!("?"), "ASK"),
        (&open, json!(null), "ASK"),
        (&closed, json!("?"), "SLOT"),
    ] {
        let start = flow.find_screen("START").unwrap();
        let next = flow.next_screen(start, &object(json!({"kind": kind})));
        assert_eq!(names(next), [expected], "{kind}");
    }
    let all_next = |flow: &Flow| {
        let screens = flow.next_screens(flow.find_screen("START").unwrap());
        names(screens).join(" ")
    };
    assert_eq!(all_next(&open), "ASK INTAKE SLOT");
    assert_eq!(all_next(&closed), "INTAKE SLOT");
}

#[test]
fn previous_screen_depends_on_field() {
    let flow = branching_flow(None);
    for (screen, answers, expected) in [
        ("SLOT", json!({"kind": "known"}), "START"),
        ("SLOT", json!({"kind": "new", "since": "x"}), "INTAKE"),
        // The only screen that always leads there.
        ("SLOT", json!({}), "INTAKE"),
        ("START", json!({}), "START"),
    ] {
        let previous = flow.previous_screen(screen, &object(answers));
        assert_eq!(names(previous), [expected]);
    }
}

#[test]
fn unknown_screen_error_lists_screens() {
    let flow = flow_with_screens(vec![
        screen_named("ONE", false, None, vec![]),
        screen_named("TWO", true, None, vec![]),
    ]);
    let unknown = "screen \"one\" is not a screen of this flow: it has ONE, TWO";
    assert_eq!(stage(&flow, Some("one")), Err(unknown.to_owned()));
    let missing = "screen is missing: it has ONE, TWO";
    assert_eq!(stage(&flow, None), Err(missing.to_owned()));
}

#[test]
fn every_missing_required_field_is_reported() {
    let age = FieldKind::Integer {
        min: Some(18),
        max: None,
    };
    let fields = vec![
        required_field("name", FieldKind::ANY_TEXT),
        Field::new("mail", FieldKind::Email),
        Field::new("age", age),
    ];
    let flow = flow_with_screens(vec![screen_named("ONE", true, None, fields)]);
    let errors = |data| validation_errors(&flow, Some("ONE"), data);
    assert_eq!(
        errors(json!({"name": null, "mail": "x", "other": {}})),
        ["name: is missing", "mail: is not an e-mail address"]
    );
    assert!(errors(json!({"name": "Ann", "mail": null})).is_empty());
}

#[test]
fn webhook_form_is_validated_against_all_screens() {
    let first = vec![
        required_field("a", FieldKind::Email),
        required_field("b", FieldKind::Date),
    ];
    let second = vec![required_field("b", FieldKind::Boolean)];
    let flow = flow_with_screens(vec![
        screen_named("ONE", false, None, first),
        screen_named("TWO", true, None, second),
    ]);
    let errors = |data| validation_errors(&flow, None, data).join("; ");
    assert_eq!(errors(json!({})), "");
    assert_eq!(errors(json!({"b": true})), "", "one declaration is enough");
    assert_eq!(
        errors(json!({"a": "x", "b": "x"})),
        "a: is not an e-mail address; b: is not a date like 2027-01-04"
    );
}
