//! Gateways, as an operator sees them on a stopped server's file.

use serde_json::json;

use super::support::{Office, START};
use crate::admin::Question;
use crate::domain::gateway::{Entry, GatewayKind, Standing};
use crate::domain::ids::GatewayName;
use crate::store::NoteGateway;
use crate::store::tests::stray::SpoilGateway;

fn name(text: &str) -> GatewayName {
    GatewayName::new(text).unwrap()
}

/// A gateway with two lines of history.
fn note(office: &Office, gateway: &str) {
    let entry = |note: &str| Entry { at: START, state: "close".into(), did: None, note: note.into() };
    let standing = Standing::unasked(GatewayKind::Waha, START);
    let entries = vec![entry("first"), entry("second")];
    office.store.ask(NoteGateway { gateway: name(gateway), standing, entries, tell: Vec::new() }).unwrap();
}

#[test]
fn a_row_of_a_gateway_that_can_not_be_read_is_shown_as_that_and_hides_no_other() {
    let office = Office::new();
    for gateway in ["a", "b"] {
        note(&office, gateway);
    }
    office.store.ask(SpoilGateway { gateway: name("a"), line: None }).unwrap();
    office.store.ask(SpoilGateway { gateway: name("b"), line: Some(1) }).unwrap();

    let list = office.rows(Question::Gateways).unwrap();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&json!("a"), &json!("unreadable")));
    assert!(list[0]["error"].as_str().unwrap().contains("table gateways"), "{}", list[0]);
    assert_eq!((&list[1]["name"], &list[1]["state"]), (&json!("b"), &json!("unasked")));

    let one = office.row(Question::Gateway { name: name("a") });
    assert_eq!((&one["state"], &one["history"][0]["note"]), (&json!("unreadable"), &json!("second")));
    let other = office.row(Question::Gateway { name: name("b") });
    assert_eq!((&other["state"], &other["history"][0]["note"]), (&json!("unasked"), &json!("second")));
    let line = &other["history"][1];
    assert_eq!((&line["number"], &line["state"]), (&json!(1), &json!("unreadable")));
    assert!(line["error"].as_str().unwrap().contains("table gateway_history"), "{line}");
}
