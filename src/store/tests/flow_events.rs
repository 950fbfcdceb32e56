//! Tests of flow errors and health events: stored once, in order, within limits, until their
//! retention is over.

use crate::domain::health::meta_event::HealthEvent;
use crate::domain::ids::MessageId;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{IngestWebhook, RecordFlowError};

use super::purge_rounds::{DAY, days};
use super::support::{START, StoreBench, flow, rows};

fn record_flow_error(bench: &StoreBench, error: &str) {
    let flow_error = FlowError::new(flow(), None, None, error, "");
    let request = IdempotencyKey::for_message(&MessageId::new(error).unwrap());
    bench.execute(RecordFlowError {
        flow_error,
        encrypted_request_key: request,
    });
}

fn stored_errors(bench: &StoreBench) -> Vec<String> {
    let flow_errors = rows::<FlowError>(&bench.read());
    flow_errors
        .into_iter()
        .map(|(_, flow_error)| flow_error.code.into())
        .collect()
}

fn health_event(sent: Option<u64>, value: &str) -> HealthEvent {
    HealthEvent::new(
        sent.map(Timestamp::from_millis),
        "ENDPOINT_LATENCY",
        "17",
        value,
    )
}

/// Ingests events and returns those that were new.
fn ingest_events(bench: &StoreBench, events: &[HealthEvent]) -> Vec<String> {
    let webhook = IngestWebhook {
        health_events: events.to_vec(),
        ..IngestWebhook::default()
    };
    bench
        .execute(webhook)
        .new_health_events
        .into_iter()
        .map(|event| event.payload.into())
        .collect()
}

fn stored_values(bench: &StoreBench) -> Vec<String> {
    let events = bench.read().health_events().unwrap();
    events
        .into_iter()
        .map(|(_, event)| event.unwrap().payload.into())
        .collect()
}

/// Purges one whole round.
fn purge(bench: &StoreBench, submission_retention: Millis, attempt_retention: Millis) {
    bench.purge(2, submission_retention, attempt_retention, DAY);
}

#[test]
fn flow_errors_survive_restart_in_order() {
    let bench = StoreBench::new();
    record_flow_error(&bench, "first");
    bench.clock.advance(Millis::new(5));
    record_flow_error(&bench, "second");
    let bench = bench.reopen();
    assert_eq!(stored_errors(&bench), ["second", "first"]);
    let read = bench.read();
    assert_eq!(
        read.list_rows::<FlowError>(Some(2), 9).unwrap()[0]
            .1
            .as_ref()
            .unwrap()
            .received_at,
        START
    );
    assert_eq!(
        read.flow_errors_since(START.plus(Millis::new(1)), 9)
            .unwrap()
            .len(),
        1
    );
    drop(read);
    bench.assert_invariants();
}

#[test]
fn repeated_health_event_is_stored_once() {
    let bench = StoreBench::new();
    assert_eq!(
        ingest_events(
            &bench,
            &[
                health_event(Some(1), "1"),
                health_event(Some(1), "1"),
                health_event(Some(1), "2")
            ]
        ),
        ["1", "2"]
    );
    let bench = bench.reopen();
    assert_eq!(
        ingest_events(
            &bench,
            &[health_event(Some(1), "2"), health_event(Some(2), "2")]
        ),
        ["2"],
        "one at another time is another"
    );
    assert_eq!(stored_values(&bench), ["2", "2", "1"]);
    bench.assert_invariants();
}

#[test]
fn untimed_health_event_is_new_after_the_resend_window() {
    let bench = StoreBench::new();
    for (day, expected) in [(0, 1), (7, 0), (8, 1)] {
        bench.clock.jump_to(START.plus(days(day)));
        assert_eq!(
            ingest_events(&bench, &[health_event(None, "{}")]).len(),
            expected,
            "on day {day}"
        );
        assert_eq!(
            ingest_events(&bench, &[health_event(Some(1), "{}")]).len(),
            usize::from(day == 0),
            "with its time, on day {day}"
        );
    }
}

#[test]
fn oldest_health_events_are_evicted_at_the_bound() {
    let bench = StoreBench::new();
    let many: Vec<HealthEvent> = (0..10_003)
        .map(|number| health_event(Some(number), &number.to_string()))
        .collect();
    assert_eq!(ingest_events(&bench, &many).len(), 10_003);
    bench.assert_invariants();
    assert_eq!(ingest_events(&bench, &many[9_003..]).len(), 0);
    assert_eq!(stored_values(&bench)[..2], ["10002", "10001"]);
}

#[test]
fn purge_removes_expired_flow_errors_and_health_events() {
    let bench = StoreBench::new();
    for number in 0..5 {
        record_flow_error(&bench, &number.to_string());
        ingest_events(&bench, &[health_event(Some(number), &number.to_string())]);
        bench.clock.advance(DAY);
    }
    purge(&bench, days(90), days(2));
    assert_eq!(
        (stored_errors(&bench).len(), stored_values(&bench).len()),
        (2, 5)
    );
    purge(&bench, days(3), days(2));
    assert_eq!(
        (stored_errors(&bench).len(), stored_values(&bench).len()),
        (2, 3)
    );
    bench.assert_invariants();
}
