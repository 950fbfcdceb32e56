//! Tests the parsing of valid and invalid request bodies of a flow.

use serde_json::Map;

use super::*;
use crate::domain::flow::field::{Field, FieldKind};
use crate::domain::flow::{Screen, ScreenStage};
use crate::domain::ids::FlowName;
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::time::Timestamp;
use crate::intake::Catalog;

fn flow_with_screens(screens: Vec<Screen>) -> Flow {
    Flow {
        screens,
        ..Flow::new(FlowName::new("appointment").unwrap(), "/form".to_owned())
    }
}

fn screen(name: &str, is_final: bool) -> Screen {
    Screen {
        is_final,
        ..Screen::new(name)
    }
}

fn parse_submission<'a>(flow: &'a Flow, body: &str) -> ScreenSubmission<'a> {
    match FlowRequest::parse(flow, body.as_bytes()).unwrap() {
        FlowRequest::ScreenSubmission(sent) => sent,
        other => panic!("{other:?}"),
    }
}

fn inbound_of(body: &str) -> InboundSubmission {
    let flow = flow_with_screens(Vec::new());
    parse_submission(&flow, body).to_inbound(&Catalog::default(), Timestamp::ZERO)
}

#[test]
fn shipped_example_is_parsed() {
    let form = inbound_of(include_str!(
        "../../../tests/vectors/plain_appointment.json"
    ));
    let submission = &form.submission;
    let token = submission.flow_token.as_ref().unwrap();
    assert_eq!(token.as_str(), "unique_token_98765");
    assert_eq!(submission.customer.phone.as_deref(), Some("1234567890"));
    assert_eq!(submission.screen.as_deref(), Some("APPOINTMENT_SCREEN"));
    let email = r#""user_email": "user@example.com""#;
    assert!(submission.data.contains(email), "{}", submission.data);
    assert_eq!(&*submission.unknown_fields, "");
}

#[test]
fn unknown_and_null_fields_are_preserved() {
    let form = inbound_of(
        r#"{"action":"data_exchange","data":{"a":null,"b":1.50},"new":[1, 2],"flow_token":null}"#,
    );
    assert_eq!(&*form.submission.data, r#"{"a":null,"b":1.50}"#);
    assert_eq!(&*form.submission.unknown_fields, r#"{"new":[1, 2]}"#);
    assert_eq!(form.submission.flow_token, None);
}

#[test]
fn token_signature_is_not_stored() {
    let form = inbound_of(
        r#"{"action":"data_exchange","flow_token":"t","flow_token_signature":"a.b.c","new":1}"#,
    );
    assert_eq!(&*form.submission.unknown_fields, r#"{"new":1}"#);
}

#[test]
fn form_key_without_token_is_customer_and_answers() {
    let body = |token: &str, customer: &str, data: &str| {
        inbound_of(&format!(
            r#"{{"action":"data_exchange","flow_token":"{token}","context":{{"user_id":"{customer}"}},"data":{data}}}"#
        ))
        .form_key
    };
    let (ann, bob, answers) = ("1234567", "7654321", r#"{"a":1}"#);
    let key = body("unused", ann, "{}");
    assert_eq!(key, body("", ann, "{}"));
    assert_ne!(key, body("unused", bob, "{}"));
    assert_ne!(key, body("unused", ann, answers));
    assert_eq!(body("t", ann, "{}"), body("t", bob, answers));
}

#[test]
fn anonymous_equal_answers_are_duplicates_for_minutes() {
    let flow = flow_with_screens(Vec::new());
    let sent = parse_submission(&flow, r#"{"action":"data_exchange","data":{"agree":true}}"#);
    let keys = |minutes: u64| {
        let now = Timestamp::from_millis(minutes * 60 * 1000);
        sent.to_inbound(&Catalog::default(), now).own_keys()
    };
    let first = keys(9);
    // Equal answers also match just after the change of a window.
    assert!(keys(9).contains(&first[0]) && keys(11).contains(&first[0]));
    assert!(!keys(21).contains(&first[0]));
}

#[test]
fn invalid_body_error_names_field_and_reason() {
    let flow = flow_with_screens(Vec::new());
    let exchange = |field: &str| format!(r#"{{"action":"data_exchange",{field}}}"#);
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let deep = exchange(&format!("\"data\":{deep}"));
    let customer = exchange(r#""context":{"user_id":{}}"#);
    let surrogate = exchange(r#""data":{"a":"\ud800"}"#);
    for (body, expected) in [
        ("", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "action: is missing"),
        (r#"{"action":"dance"}"#, "dance"),
        (r#"{"action":7}"#, "action: is not a text"),
        (r#"{"action":"data_exchange""#, "not valid JSON"),
        (&exchange(r#""data":[]"#), "data: is not an object"),
        (&exchange(r#""flow_token":7"#), "flow_token: is not a text"),
        (&exchange(r#""screen":1"#), "screen: is not a text"),
        (&customer, "context.user_id: is not a text"),
        (&surrogate, "data: is not a valid object"),
        // A body that is nested too deeply.
        (&deep, "data: "),
    ] {
        let parsed = FlowRequest::parse(&flow, body.as_bytes());
        let error = parsed.unwrap_err().to_string();
        assert!(error.contains(expected), "{body:.200}: {error}");
    }
    let not_utf8 = FlowRequest::parse(&flow, b"\xff\xfe");
    assert!(matches!(not_utf8, Err(IntakeError::NotJson(_))));
}

#[test]
fn non_final_screen_is_draft() {
    let flow = flow_with_screens(vec![screen("A", false), screen("B", true)]);
    let body = r#"{"action":"data_exchange","screen":"A","flow_token":"t","data":{"a":1}}"#;
    let sent = parse_submission(&flow, body);
    assert_eq!(sent.stage, ScreenStage::Draft);
    assert_eq!(sent.next_screen(sent.answers()), "B");
    let (_, draft) = sent.draft("B", &Map::new(), Timestamp::ZERO).unwrap();
    assert_eq!((&*draft.screen, &*draft.data), ("B", "{\"a\":1}"));
    let sent = parse_submission(&flow, &body.replace("\"t\"", "\"unused\""));
    assert!(sent.draft("B", &Map::new(), Timestamp::ZERO).is_err());
}

#[test]
fn flow_error_is_recognised_by_its_keys_only() {
    let flow_error_of = |flow: &Flow, data: &str| {
        let body =
            format!(r#"{{"action":"data_exchange","screen":"A","flow_token":"t","data":{data}}}"#);
        match FlowRequest::parse(flow, body.as_bytes()).unwrap() {
            FlowRequest::FlowError(flow_error) => {
                Some(format!("{}: {}", flow_error.code, flow_error.message))
            }
            FlowRequest::ScreenSubmission(_) => None,
            other => panic!("{other:?}"),
        }
    };
    let plain = flow_with_screens(vec![screen("A", true)]);
    let encrypted = Flow {
        encryption: EncryptionMode::Required,
        ..plain.clone()
    };
    let both = r#"{"error":"timeout_error","error_message":"late"}"#;
    let nulls = r#"{"error":null,"error_key":"k","error_message":null}"#;
    for (data, expected) in [
        (both, "timeout_error: late"),
        (r#"{"error_key":"new-one"}"#, "new-one: "),
        (r#"{"error_message":"alone"}"#, ": alone"),
        (nulls, "k: "),
    ] {
        let flow_error = flow_error_of(&encrypted, data);
        assert_eq!(flow_error.as_deref(), Some(expected), "{data}");
    }
    for form in [
        r#"{"error":"of mine","name":"Ann"}"#,
        r#"{"error_message":"a field of the form","name":null}"#,
        r#"{"error":{"no":"text"}}"#,
        r#"{"error":"late","error_message":7}"#,
        r#"{"error":"","error_message":""}"#,
        r#"{"error":null}"#,
        "{}",
    ] {
        assert_eq!(flow_error_of(&encrypted, form), None, "{form}");
    }
    // Senders of plain flows send no notifications.
    assert_eq!(flow_error_of(&plain, both), None);

    let mut declares = encrypted.clone();
    let text = FieldKind::Text {
        min: None,
        max: None,
    };
    let error = Field::new("error", text);
    declares.screens[0].fields.push(error);
    assert_eq!(flow_error_of(&declares, both), None);
    assert!(flow_error_of(&declares, r#"{"error_key":"k","error_message":"late"}"#).is_some());
    let undeclared = Flow {
        screens: Vec::new(),
        ..encrypted
    };
    assert!(flow_error_of(&undeclared, both).is_some());
    let form = r#"{"error":"of mine","name":"Ann"}"#;
    assert_eq!(flow_error_of(&undeclared, form), None);
}

/// Returns the screen to show, and `true` if the customer goes back.
fn resolved_screen(flow: &Flow, body: &str) -> (String, bool) {
    match FlowRequest::parse(flow, body.as_bytes()).unwrap() {
        FlowRequest::ScreenRequest(shown) => (shown.resolve_screen(&Map::new()), shown.is_back()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn init_and_back_resolve_screens() {
    let flow = flow_with_screens(vec![screen("A", false), screen("B", true)]);
    for body in [
        r#"{"action":"INIT","screen":"","data":{}}"#,
        r#"{"action":"BACK","screen":"B"}"#,
        // No screen comes before the first one.
        r#"{"action":"BACK","screen":"A"}"#,
        // The request does not name the screen that the customer leaves.
        r#"{"action":"BACK"}"#,
        r#"{"action":"BACK","screen":null}"#,
        r#"{"action":"BACK","screen":""}"#,
    ] {
        assert_eq!(resolved_screen(&flow, body).0, "A", "{body}");
    }
    for unknown in [
        r#"{"action":"BACK","screen":"Z"}"#,
        r#"{"action":"navigate","screen":"B"}"#,
    ] {
        assert!(FlowRequest::parse(&flow, unknown.as_bytes()).is_err());
    }
    let ping = FlowRequest::parse(&flow, br#"{"action":"ping"}"#);
    assert!(matches!(ping, Ok(FlowRequest::Ping)));
}

#[test]
fn unknown_action_and_screen_are_left_to_upstream() {
    let flow = Flow {
        has_upstream: true,
        ..flow_with_screens(vec![screen("A", false), screen("B", true)])
    };
    for (body, expected, is_back) in [
        // The customer stays on the screen.
        (r#"{"action":"navigate","screen":"B"}"#, "B", false),
        (r#"{"action":"navigate"}"#, "A", false),
        (r#"{"action":"navigate","screen":"Z"}"#, "Z", false),
        (r#"{"action":"BACK","screen":"Z"}"#, "Z", true),
    ] {
        let resolved = resolved_screen(&flow, body);
        assert_eq!(resolved, (expected.to_owned(), is_back), "{body}");
    }
    for screen in [r#""Z""#, "null"] {
        let body = format!(
            r#"{{"action":"data_exchange","screen":{screen},"flow_token":"t","data":{{"a":1}}}}"#
        );
        let sent = parse_submission(&flow, &body);
        assert_eq!(sent.stage, ScreenStage::Draft, "{body}");
        assert!(sent.draft_key().is_some(), "{body}");
    }
}

#[test]
fn flow_error_may_have_unknown_keys() {
    let name = Field::new("name", FieldKind::Email);
    let declared = Flow {
        encryption: EncryptionMode::Required,
        ..flow_with_screens(vec![
            Screen {
                fields: vec![name],
                ..screen("ASK", true)
            },
            screen("OPEN", true),
        ])
    };
    let late = r#"{"error":"timeout_error","error_message":"late","code":5}"#;
    for (on, data, expected) in [
        ("ASK", late, true),
        ("ASK", r#"{"error_key":"timeout_error","new":{}}"#, true),
        // A form sends all fields of its screen.
        ("ASK", r#"{"error":"none","name":""}"#, false),
        ("ASK", r#"{"error_message":"late","code":5}"#, false),
        // The fields of this screen are unknown.
        ("OPEN", r#"{"error":"timeout_error","code":5}"#, false),
    ] {
        let body = format!(
            r#"{{"action":"data_exchange","screen":"{on}","data":{data},"flow_token":"t"}}"#
        );
        let request = FlowRequest::parse(&declared, body.as_bytes()).unwrap();
        let is_flow_error = matches!(request, FlowRequest::FlowError(_));
        assert_eq!(is_flow_error, expected, "{body}");
    }
}

#[test]
fn flow_error_parsing_cost_is_constant() {
    use crate::intake::json::LOOKUPS;
    let encrypted = Flow {
        encryption: EncryptionMode::Required,
        ..flow_with_screens(vec![screen("A", true)])
    };
    let lookups = |names: usize| {
        let [error, message] =
            [r#""error":"e","#, r#""error_message":"m","#].map(|name| name.repeat(names));
        let body = format!(
            r#"{{"action":"data_exchange","screen":"A","data":{{{error}{message}"error":"e"}}}}"#
        );
        let before = LOOKUPS.get();
        let parsed = FlowRequest::parse(&encrypted, body.as_bytes());
        assert!(matches!(parsed, Ok(FlowRequest::FlowError(_))));
        LOOKUPS.get() - before
    };
    // Each look-up reads all names, so their number must not grow.
    assert_eq!(lookups(1), lookups(1000));
}
