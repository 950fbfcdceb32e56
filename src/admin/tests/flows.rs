//! Tests requests about flows: the config, flow errors, Meta's events, and warnings.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{
    AdminHarness, START, assert_contains, assert_fields, assert_unreadable, filter,
};
use crate::admin::{AdminQuery, ErrorCode, ListFilter};
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::health::window::{HealthWindow, RequestSample};
use crate::domain::ids::{FlowName, MessageId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::{Millis, Timestamp};
use crate::store::tests::corruptions::CorruptRow;
use crate::store::{IngestWebhook, RecordFlowError};

fn home() -> FlowName {
    FlowName::new("home").unwrap()
}

fn record_flow_error(harness: &AdminHarness, flow: &str, error: &str) {
    let flow_error = FlowError::new(FlowName::new(flow).unwrap(), Some("A"), None, error, "no");
    let request = IdempotencyKey::for_message(&MessageId::new(error).unwrap());
    harness.execute(RecordFlowError {
        flow_error,
        encrypted_request_key: request,
    });
}

/// Stores an event of Meta about its flow 17.
fn ingest_meta_event(harness: &AdminHarness, sent_at: Timestamp, event: &str, more: &Value) {
    let value = more.to_string();
    harness.execute(IngestWebhook {
        health_events: vec![HealthEvent::new(Some(sent_at), event, "17", &value)],
        ..IngestWebhook::default()
    });
}

/// Creates a running server that refused every second request.
fn harness_with_failing_endpoint() -> AdminHarness {
    let mut gauge = HealthWindow::default();
    for status in [200, 421, 421, 200, 421, 200] {
        let sample = RequestSample::new(Some(status), "cannot_decrypt", Millis::new(7));
        gauge.record_sample(Duration::ZERO, sample);
    }
    let stats = gauge.stats(Duration::ZERO);
    AdminHarness::with_server(Vec::new(), BTreeMap::from([(home(), stats)]))
}

fn flow_warnings(harness: &AdminHarness) -> Vec<String> {
    let status = harness.row(AdminQuery::Status);
    let warnings = status["warnings"].as_array().unwrap().iter();
    warnings
        .map(|warning| warning.as_str().unwrap().to_owned())
        .filter(|warning| warning.contains("flowgate flows"))
        .collect()
}

#[test]
fn flows_are_listed_by_name() {
    let rows = AdminHarness::new().rows(AdminQuery::Flows).unwrap();
    assert_eq!(
        rows,
        [
            json!({"name": "home", "path": "/home", "encrypted": true, "screens": []}),
            json!({"name": "visit", "path": "/visit", "encrypted": false, "screens": []}),
        ]
    );
}

#[test]
fn flow_errors_are_listed_newest_first_and_filtered() {
    let harness = AdminHarness::new();
    record_flow_error(&harness, "home", "first");
    harness.clock.advance(Millis::new(1));
    record_flow_error(&harness, "other", "second");
    record_flow_error(&harness, "home", "third");
    let since = Some(START.plus(Millis::new(1)));
    for (filter, expected) in [
        (ListFilter::default(), &["third", "second", "first"][..]),
        (filter(|f| f.limit = 1), &["third"]),
        (filter(|f| f.flow = Some(home())), &["third", "first"]),
        (filter(|f| f.since = since), &["third", "second"]),
    ] {
        let rows = harness.rows(AdminQuery::FlowErrors(filter.clone()));
        let rows = rows.unwrap();
        let errors: Vec<&Value> = rows.iter().map(|row| &row["error"]).collect();
        assert_eq!(errors, expected, "{filter:?}");
    }
}

#[test]
fn endpoint_health_is_compared_with_meta_thresholds() {
    let harness = harness_with_failing_endpoint();
    record_flow_error(&harness, "home", "timeout_error");
    let row = harness.row(AdminQuery::FlowHealth { flow: Some(home()) });
    assert_fields(
        &row,
        &json!({"severity": "alert", "errors_by_kind": {"cannot_decrypt": 3}, "p90_ms": 7, "availability": 100.0,
            "flow_errors": 1, "findings": ["error rate of 50 % is over Meta's threshold of 50 %"]}),
    );
    assert_contains(row["suggestion"].as_str().unwrap(), "flowgate keys check");
    for unwatched in ["visit", "nowhere"] {
        let flow = Some(FlowName::new(unwatched).unwrap());
        harness.assert_error(
            AdminQuery::FlowHealth { flow },
            ErrorCode::NotFound,
            unwatched,
        );
    }
}

#[test]
fn offline_file_shows_meta_events_without_stats() {
    let harness = AdminHarness::new();
    let slow = json!({"alert_state": "ACTIVATED", "threshold": 1000, "message": "slow"});
    ingest_meta_event(&harness, START, "ENDPOINT_LATENCY", &slow);
    let rows = harness.rows(AdminQuery::FlowHealth { flow: None }).unwrap();
    assert_fields(
        &rows[0],
        &json!({"source": "endpoint", "flow": "home", "requests": null, "severity": null}),
    );
    assert_contains(rows[0]["suggestion"].as_str().unwrap(), "no server runs");
    assert_fields(
        &rows[1],
        &json!({"source": "meta", "flow_id": "17", "state": "ACTIVATED", "severity": "alert", "message": "slow"}),
    );
    assert_eq!(rows.len(), 2);
}

#[test]
fn unreadable_row_hides_no_other_warning() {
    let harness = AdminHarness::new();
    for error in ["first", "second"] {
        record_flow_error(&harness, "home", error);
    }
    let activated = json!({"alert_state": "ACTIVATED"});
    for (number, event) in [(0, "CLIENT_ERROR_RATE"), (1, "ENDPOINT_LATENCY")] {
        ingest_meta_event(&harness, START.plus(Millis::new(number)), event, &activated);
    }
    for table in ["flow_errors", "health_events"] {
        harness.execute(CorruptRow { table, key: 1 });
    }
    let rows = harness.rows(AdminQuery::FlowHealth { flow: None }).unwrap();
    assert_eq!(rows[0]["flow_errors"], 1);
    let event = json!({"source": "meta", "event": "ENDPOINT_LATENCY"});
    assert_fields(&rows[1], &event);
    for (row, table) in rows[2..].iter().zip(["flow_errors", "health_events"]) {
        assert_unreadable(row, &json!({"id": 1}), &format!("table {table}"));
    }
    assert_eq!(rows.len(), 4);
    let hints = harness.row(AdminQuery::Status)["warnings"].to_string();
    for hint in ["table flow_errors", "ENDPOINT_LATENCY"] {
        assert_contains(&hints, hint);
    }
}

#[test]
fn status_warns_only_about_problems() {
    let assert_warnings = |harness: &AdminHarness, expected: &[&str]| {
        let warnings = flow_warnings(harness);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, part) in warnings.iter().zip(expected) {
            assert_contains(warning, part);
        }
    };
    let failing = harness_with_failing_endpoint();
    assert_warnings(&failing, &["flow home: error rate of 50 %"]);

    let harness = AdminHarness::with_server(Vec::new(), BTreeMap::new());
    assert_warnings(&harness, &[]);
    let change_status = |sent_at, status| {
        let change = json!({"new_status": status});
        ingest_meta_event(&harness, sent_at, "FLOW_STATUS_CHANGE", &change);
    };
    change_status(START, "PUBLISHED");
    assert_warnings(&harness, &[]);
    change_status(START.plus(Millis::new(1)), "THROTTLED");
    let activated = json!({"alert_state": "ACTIVATED"});
    ingest_meta_event(&harness, START, "ENDPOINT_LATENCY", &activated);
    record_flow_error(&harness, "home", "timeout_error");
    let last = "1 flow error in the last hour";
    assert_warnings(&harness, &["ENDPOINT_LATENCY", "THROTTLED", last]);

    // An alert that Meta never deactivates causes a warning for a week.
    harness.clock.advance(Millis::from_secs(8 * 24 * 60 * 60));
    assert_warnings(&harness, &["THROTTLED"]);
}
