//! Bodies of a plain flow, good and bad.

use super::*;
use crate::domain::flow::{Encryption, Screen};
use crate::domain::ids::FlowName;

fn flow(screens: Vec<Screen>) -> Flow {
    Flow { screens, ..Flow::new(FlowName::new("appointment").unwrap(), "/form".to_owned()) }
}

fn screen(name: &str, is_final: bool) -> Screen {
    Screen { is_final, ..Screen::new(name) }
}

fn form(body: &str) -> Form {
    match Request::read(&flow(Vec::new()), body.as_bytes()).unwrap() {
        Request::Sent(sent) => sent.form(&Catalog::default(), Timestamp::from_millis(0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_shipped_example_is_read_whole() {
    let form = form(include_str!("../../../tests/vectors/plain_appointment.json"));
    let submission = &form.submission;
    assert_eq!(submission.flow_token.as_ref().unwrap().as_str(), "unique_token_98765");
    assert_eq!(submission.customer.phone.as_deref(), Some("1234567890"));
    assert_eq!(submission.screen.as_deref(), Some("APPOINTMENT_SCREEN"));
    assert!(submission.data.contains("\"user_email\": \"user@example.com\""), "as it came: {}", submission.data);
    assert_eq!(&*submission.extra, "");
}

#[test]
fn unknown_and_null_fields_are_kept_as_they_came() {
    let form = form(r#"{"action":"data_exchange","data":{"a":null,"b":1.50},"new":[1, 2],"flow_token":null}"#);
    assert_eq!(&*form.submission.data, r#"{"a":null,"b":1.50}"#);
    assert_eq!(&*form.submission.extra, r#"{"new":[1, 2]}"#);
    assert_eq!(form.submission.flow_token, None);
}

#[test]
fn the_signature_of_a_token_is_not_stored() {
    let form = form(r#"{"action":"data_exchange","flow_token":"t","flow_token_signature":"a.b.c","new":1}"#);
    assert_eq!(&*form.submission.extra, r#"{"new":1}"#);
}

#[test]
fn without_a_usable_token_the_user_and_the_answers_are_the_key() {
    let body = |token: &str, user: &str, data: &str| {
        form(&format!(
            r#"{{"action":"data_exchange","flow_token":{token},"context":{{"user_id":"{user}"}},"data":{data}}}"#
        ))
        .form_key
    };
    assert_eq!(body("\"unused\"", "1234567", "{}"), body("\"\"", "1234567", "{}"));
    assert_ne!(body("\"unused\"", "1234567", "{}"), body("\"unused\"", "7654321", "{}"));
    assert_ne!(body("\"unused\"", "1234567", "{}"), body("\"unused\"", "1234567", "{\"a\":1}"));
    assert_eq!(body("\"t\"", "1234567", "{}"), body("\"t\"", "7654321", "{\"a\":1}"));
}

#[test]
fn without_a_token_and_a_user_equal_answers_are_a_copy_for_minutes() {
    let body = br#"{"action":"data_exchange","data":{"agree":true}}"#;
    let flow = flow(Vec::new());
    let keys = |minutes: u64| match Request::read(&flow, body).unwrap() {
        Request::Sent(sent) => {
            let now = Timestamp::from_millis(minutes * 60 * 1000);
            sent.form(&Catalog::default(), now).keys()
        }
        other => panic!("{other:?}"),
    };
    let first = keys(9);
    assert!(keys(9).contains(&first[0]) && keys(11).contains(&first[0]), "also just after the turn of ten minutes");
    assert!(!keys(21).contains(&first[0]));
}

#[test]
fn what_is_no_submission_is_refused_with_the_field_and_the_reason() {
    let cases = [
        ("", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "action: is missing"),
        (r#"{"action":"dance"}"#, "dance"),
        (r#"{"action":7}"#, "action: is not a text"),
        (r#"{"action":"data_exchange","data":[]}"#, "data: is no object"),
        (r#"{"action":"data_exchange","flow_token":7}"#, "flow_token: is not a text"),
        (r#"{"action":"data_exchange","context":{"user_id":{}}}"#, "context.user_id: is not a text"),
        (r#"{"action":"data_exchange","screen":1}"#, "screen: is not a text"),
        (r#"{"action":"data_exchange","data":{"a":"\ud800"}}"#, "data: is no object that can be read"),
        (r#"{"action":"data_exchange""#, "no JSON"),
    ];
    for (body, says) in cases {
        let error = Request::read(&flow(Vec::new()), body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{body}: {error}");
    }
    assert!(matches!(Request::read(&flow(Vec::new()), b"\xff\xfe"), Err(IntakeError::NotJson(_))));
    let deep = format!(r#"{{"action":"data_exchange","data":{}1{}}}"#, "{\"a\":".repeat(5000), "}".repeat(5000));
    assert!(matches!(Request::read(&flow(Vec::new()), deep.as_bytes()), Err(IntakeError::Field { .. })));
}

#[test]
fn a_screen_that_is_not_the_last_is_a_draft() {
    let flow = flow(vec![screen("A", false), screen("B", true)]);
    let body = br#"{"action":"data_exchange","screen":"A","flow_token":"t","data":{"a":1}}"#;
    let Request::Sent(sent) = Request::read(&flow, body).unwrap() else { panic!("not sent") };
    assert_eq!((sent.stage, sent.next(sent.answers())), (Stage::Draft, "B"));
    let (_, draft) = sent.draft("B", &Map::new(), Timestamp::ZERO).unwrap();
    assert_eq!((&*draft.screen, &*draft.data), ("B", "{\"a\":1}"));
    let nobodys = br#"{"action":"data_exchange","screen":"A","flow_token":"unused","data":{"a":1}}"#;
    let Request::Sent(sent) = Request::read(&flow, nobodys).unwrap() else { panic!("not sent") };
    assert!(sent.draft("B", &Map::new(), Timestamp::ZERO).is_err());
}

#[test]
fn a_complaint_is_known_by_having_nothing_but_its_own_names_and_all_else_is_a_form() {
    let read = |flow: &Flow, data: &str| {
        let body = format!(r#"{{"action":"data_exchange","screen":"A","flow_token":"t","data":{data}}}"#);
        match Request::read(flow, body.as_bytes()).unwrap() {
            Request::Complaint(complaint) => Some(format!("{}: {}", complaint.error, complaint.message)),
            Request::Sent(_) => None,
            other => panic!("{other:?}"),
        }
    };
    let plain = flow(vec![screen("A", true)]);
    let encrypted = Flow { encryption: Encryption::Required, ..plain.clone() };
    let both = r#"{"error":"timeout_error","error_message":"late"}"#;
    assert_eq!(read(&encrypted, both).as_deref(), Some("timeout_error: late"));
    assert_eq!(read(&encrypted, r#"{"error_key":"new-one"}"#).as_deref(), Some("new-one: "));
    assert_eq!(read(&encrypted, r#"{"error_message":"alone"}"#).as_deref(), Some(": alone"));
    assert_eq!(read(&encrypted, r#"{"error":null,"error_key":"k","error_message":null}"#).as_deref(), Some("k: "));
    for form in [
        r#"{"error":"of mine","name":"Ann"}"#,
        r#"{"error_message":"a field of the form","name":null}"#,
        r#"{"error":{"no":"text"}}"#,
        r#"{"error":"late","error_message":7}"#,
        r#"{"error":"","error_message":""}"#,
        r#"{"error":null}"#,
        "{}",
    ] {
        assert_eq!(read(&encrypted, form), None, "{form}");
    }
    assert_eq!(read(&plain, both), None, "plain senders have no such client");

    let mut declares = encrypted.clone();
    let kind = crate::domain::field::FieldKind::Text { min: None, max: None };
    declares.screens[0].fields.push(crate::domain::field::Field::new("error", kind));
    assert_eq!(read(&declares, both), None);
    assert!(read(&declares, r#"{"error_key":"k","error_message":"late"}"#).is_some());
    let undeclared = Flow { screens: Vec::new(), ..encrypted };
    assert!(read(&undeclared, both).is_some());
    assert_eq!(read(&undeclared, r#"{"error":"of mine","name":"Ann"}"#), None);
}

#[test]
fn init_shows_the_first_screen_and_back_the_one_before_that_which_is_left() {
    let flow = flow(vec![screen("A", false), screen("B", true)]);
    let shown = |body: &str| match Request::read(&flow, body.as_bytes()).unwrap() {
        Request::Show(shown) => shown.screen(&Map::new()),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(r#"{"action":"INIT","screen":"","data":{}}"#), "A");
    assert_eq!(shown(r#"{"action":"BACK","screen":"B"}"#), "A");
    assert_eq!(shown(r#"{"action":"BACK","screen":"A"}"#), "A", "there is none before it");
    for unnamed in [r#"{"action":"BACK"}"#, r#"{"action":"BACK","screen":null}"#, r#"{"action":"BACK","screen":""}"#] {
        assert_eq!(shown(unnamed), "A", "nothing says which one is left: {unnamed}");
    }
    assert!(Request::read(&flow, br#"{"action":"BACK","screen":"Z"}"#).is_err());
    assert!(Request::read(&flow, br#"{"action":"navigate","screen":"B"}"#).is_err());
    assert!(matches!(Request::read(&flow, br#"{"action":"ping"}"#), Ok(Request::Ping)));
}

#[test]
fn what_the_config_does_not_know_is_for_a_program_to_answer() {
    let flow = Flow { has_program: true, ..flow(vec![screen("A", false), screen("B", true)]) };
    let shown = |body: &str| match Request::read(&flow, body.as_bytes()).unwrap() {
        Request::Show(shown) => (shown.screen(&Map::new()), shown.is_back()),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(r#"{"action":"navigate","screen":"B"}"#), ("B".to_owned(), false), "its user stays there");
    assert_eq!(shown(r#"{"action":"navigate"}"#), ("A".to_owned(), false));
    assert_eq!(shown(r#"{"action":"navigate","screen":"Z"}"#), ("Z".to_owned(), false));
    assert_eq!(shown(r#"{"action":"BACK","screen":"Z"}"#), ("Z".to_owned(), true));
    for screen in [r#""Z""#, "null"] {
        let body = format!(r#"{{"action":"data_exchange","screen":{screen},"flow_token":"t","data":{{"a":1}}}}"#);
        let Request::Sent(sent) = Request::read(&flow, body.as_bytes()).unwrap() else { panic!("not sent") };
        assert_eq!((sent.stage, sent.draft_key().is_some()), (Stage::Draft, true), "{body}");
    }
}

#[test]
fn a_notification_may_have_more_names_than_are_known_where_none_of_the_screens_own_is_there() {
    use crate::domain::field::{Field, FieldKind};
    let name = Field::new("name", FieldKind::Email);
    let declared = Flow {
        encryption: Encryption::Required,
        ..flow(vec![Screen { fields: vec![name], ..screen("ASK", true) }, screen("OPEN", true)])
    };
    let is_complaint = |on: &str, data: &str| {
        let body = format!(r#"{{"action":"data_exchange","screen":"{on}","data":{data},"flow_token":"t"}}"#);
        matches!(Request::read(&declared, body.as_bytes()).unwrap(), Request::Complaint(_))
    };
    assert!(is_complaint("ASK", r#"{"error":"timeout_error","error_message":"late","code":5}"#));
    assert!(is_complaint("ASK", r#"{"error_key":"timeout_error","new":{}}"#));
    assert!(!is_complaint("ASK", r#"{"error":"none","name":""}"#), "a form sends all of its fields");
    assert!(!is_complaint("ASK", r#"{"error_message":"late","code":5}"#));
    assert!(!is_complaint("OPEN", r#"{"error":"timeout_error","code":5}"#), "nobody knows what a form has here");
}

#[test]
fn reading_a_complaint_looks_up_no_more_where_it_has_more_names() {
    use super::super::json::LOOK_UPS;
    let encrypted = Flow { encryption: Encryption::Required, ..flow(vec![screen("A", true)]) };
    let look_ups = |names: usize| {
        let [error, message] = [r#""error":"e","#, r#""error_message":"m","#].map(|name| name.repeat(names));
        let body = format!(r#"{{"action":"data_exchange","screen":"A","data":{{{error}{message}"error":"e"}}}}"#);
        let before = LOOK_UPS.get();
        assert!(matches!(Request::read(&encrypted, body.as_bytes()), Ok(Request::Complaint(_))));
        LOOK_UPS.get() - before
    };
    assert_eq!(look_ups(1), look_ups(1000), "each look-up walks over all names");
}
