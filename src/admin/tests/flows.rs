//! Flows: what the config has, what clients and Meta say of them, and the hints that follow.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::{Office, START};
use crate::admin::{ErrorCode, Filter, Question};
use crate::domain::complaint::Complaint;
use crate::domain::gauge::{Exchange, Gauge};
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::{FlowName, MessageId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};
use crate::store::tests::stray::SpoilRow;
use crate::store::{KeepComplaint, Receive};

fn home() -> FlowName {
    FlowName::new("home").unwrap()
}

fn complain(office: &Office, flow: &str, error: &str) {
    let complaint = Complaint::new(FlowName::new(flow).unwrap(), Some("A"), None, error, "no");
    let request = IdempotencyKey::of_message(&MessageId::new(error).unwrap());
    office.store.ask(KeepComplaint { complaint, request }).unwrap();
}

/// Meta says this of its flow 17.
fn say(office: &Office, sent_at: Timestamp, event: &str, more: &Value) {
    let value = more.to_string();
    let events = vec![HealthEvent::new(Some(sent_at), event, "17", &value)];
    office.store.ask(Receive { events, ..Receive::default() }).unwrap();
}

/// A running server of whose answers every second one was a refusal.
fn in_trouble() -> Office {
    let mut gauge = Gauge::default();
    for status in [200, 421, 421, 200, 421, 200] {
        gauge.record(std::time::Duration::ZERO, Exchange::new(Some(status), "cannot_decrypt", Millis::new(7)));
    }
    Office::watched(BTreeMap::from([(home(), gauge.read(std::time::Duration::ZERO))]))
}

fn hints(office: &Office) -> Vec<String> {
    let status = office.row(Question::Status);
    let hints = status["hints"].as_array().unwrap().iter().map(|hint| hint.as_str().unwrap().to_owned());
    hints.filter(|hint| hint.contains("flowgate flows")).collect()
}

#[test]
fn the_flows_of_the_config_are_listed_by_name() {
    let rows = Office::new().rows(Question::Flows).unwrap();
    assert_eq!(
        rows,
        [
            json!({"name": "home", "path": "/home", "encrypted": true, "screens": []}),
            json!({"name": "visit", "path": "/visit", "encrypted": false, "screens": []}),
        ]
    );
}

#[test]
fn complaints_are_listed_newest_first_and_filtered() {
    let office = Office::new();
    complain(&office, "home", "first");
    office.clock.advance(Millis::new(1));
    complain(&office, "other", "second");
    complain(&office, "home", "third");
    let errors = |filter| -> Vec<Value> {
        office.rows(Question::FlowErrors(filter)).unwrap().iter().map(|row| row["error"].clone()).collect()
    };
    assert_eq!(errors(Filter::default()), ["third", "second", "first"]);
    assert_eq!(errors(Filter { limit: 1, ..Filter::default() }), ["third"]);
    assert_eq!(errors(Filter { flow: Some(home()), ..Filter::default() }), ["third", "first"]);
    let since = Some(START.plus(Millis::new(1)));
    assert_eq!(errors(Filter { since, ..Filter::default() }), ["third", "second"]);
}

#[test]
fn an_endpoint_is_held_against_metas_thresholds_with_what_to_do() {
    let office = in_trouble();
    complain(&office, "home", "timeout_error");
    let row = office.row(Question::FlowHealth { flow: Some(home()) });
    assert_eq!(row["findings"], json!(["error rate of 50 % is over Meta's threshold of 50 %"]));
    assert_eq!((&row["verdict"], &row["errors_by_kind"]), (&json!("alert"), &json!({"cannot_decrypt": 3})));
    assert_eq!((&row["p90_ms"], &row["availability"], &row["complaints"]), (&json!(7), &json!(100.0), &json!(1)));
    assert!(row["advice"].as_str().unwrap().contains("flowgate keys check"), "{row}");
    for unwatched in ["visit", "nowhere"] {
        let flow = Some(FlowName::new(unwatched).unwrap());
        assert_eq!(office.refusal(Question::FlowHealth { flow }).code, ErrorCode::NotFound);
    }
}

#[test]
fn a_stopped_servers_file_has_what_meta_said_and_says_that_figures_are_missing() {
    let office = Office::new();
    say(&office, START, "ENDPOINT_LATENCY", &json!({"alert_state": "ACTIVATED", "threshold": 1000, "message": "slow"}));
    let rows = office.rows(Question::FlowHealth { flow: None }).unwrap();
    assert_eq!(
        (&rows[0]["flow"], &rows[0]["requests"], &rows[0]["verdict"]),
        (&json!("home"), &json!(null), &json!(null))
    );
    assert!(rows[0]["advice"].as_str().unwrap().contains("no server runs"), "{rows:?}");
    assert_eq!((&rows[1]["source"], &rows[1]["flow_id"]), (&json!("meta"), &json!("17")));
    assert_eq!(
        (&rows[1]["state"], &rows[1]["verdict"], &rows[1]["message"]),
        (&json!("ACTIVATED"), &json!("alert"), &json!("slow"))
    );
    assert_eq!(rows.len(), 2);
}

#[test]
fn a_row_that_can_not_be_read_is_told_and_hides_nothing_else_that_was_said() {
    let office = Office::new();
    for error in ["first", "second"] {
        complain(&office, "home", error);
    }
    for (number, event) in [(0, "CLIENT_ERROR_RATE"), (1, "ENDPOINT_LATENCY")] {
        say(&office, START.plus(Millis::new(number)), event, &json!({"alert_state": "ACTIVATED"}));
    }
    for table in ["complaints", "health_events"] {
        office.store.ask(SpoilRow { table, key: 1 }).unwrap();
    }
    let rows = office.rows(Question::FlowHealth { flow: None }).unwrap();
    assert_eq!(rows[0]["complaints"], 1);
    assert_eq!((&rows[1]["source"], &rows[1]["event"]), (&json!("meta"), &json!("ENDPOINT_LATENCY")));
    for (row, table) in rows[2..].iter().zip(["complaints", "health_events"]) {
        assert_eq!((&row["id"], &row["state"]), (&json!(1), &json!("unreadable")));
        assert!(row["error"].as_str().unwrap().contains(&format!("table {table}")), "{row}");
    }
    assert_eq!(rows.len(), 4);
    let hints = office.row(Question::Status)["hints"].to_string();
    assert!(hints.contains("table complaints") && hints.contains("ENDPOINT_LATENCY"), "{hints}");
}

#[test]
fn the_status_points_at_what_is_wrong_and_at_nothing_else() {
    let office = in_trouble();
    let hint = hints(&office);
    assert_eq!(hint.len(), 1, "{hint:?}");
    assert!(hint[0].contains("flow home: error rate of 50 %"), "{hint:?}");

    let office = Office::running(Vec::new());
    assert!(hints(&office).is_empty());
    say(&office, START, "FLOW_STATUS_CHANGE", &json!({"new_status": "PUBLISHED"}));
    assert!(hints(&office).is_empty());
    say(&office, START.plus(Millis::new(1)), "FLOW_STATUS_CHANGE", &json!({"new_status": "THROTTLED"}));
    say(&office, START, "ENDPOINT_LATENCY", &json!({"alert_state": "ACTIVATED"}));
    complain(&office, "home", "timeout_error");
    let hint = hints(&office);
    assert_eq!(hint.len(), 3, "{hint:?}");
    assert!(hint[0].contains("ENDPOINT_LATENCY") && hint[1].contains("THROTTLED"), "{hint:?}");
    assert!(hint[2].starts_with("1 error between phones and flows "), "{hint:?}");

    office.clock.advance(Millis::from_secs(8 * 24 * 60 * 60));
    let hint = hints(&office);
    assert_eq!(hint.len(), 1, "an alert that was never taken back is pointed at for a week: {hint:?}");
    assert!(hint[0].contains("THROTTLED"));
}
