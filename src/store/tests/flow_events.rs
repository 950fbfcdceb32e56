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
    bench.execute(RecordFlowError {
        flow_error: FlowError::new(flow(), None, None, error, ""),
        encrypted_request_key: IdempotencyKey::for_message(&MessageId::new(error).unwrap()),
    });
}

fn stored_errors(bench: &StoreBench) -> Vec<String> {
    let flow_errors = rows::<FlowError>(&bench.read()).into_iter();
    flow_errors
        .map(|(_, flow_error)| flow_error.code.into())
        .collect()
}

fn health_event(sent: Option<u64>, value: &str) -> HealthEvent {
    let sent_at = sent.map(Timestamp::from_millis);
    HealthEvent::new(sent_at, "ENDPOINT_LATENCY", "17", value)
}

/// Ingests events and returns those that were new.
fn ingest_events(bench: &StoreBench, events: &[HealthEvent]) -> Vec<String> {
    let ingested = bench.execute(IngestWebhook {
        health_events: events.to_vec(),
        ..IngestWebhook::default()
    });
    let new = ingested.new_health_events.into_iter();
    new.map(|event| event.payload.into()).collect()
}

fn stored_values(bench: &StoreBench) -> Vec<String> {
    let events = bench.read().health_events().unwrap().into_iter();
    events
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
    let (_, first) = read.list_rows::<FlowError>(Some(2), 9).unwrap().remove(0);
    assert_eq!(first.unwrap().received_at, START);
    let later = read.flow_errors_since(START.plus(Millis::new(1)), 9);
    assert_eq!(later.unwrap().len(), 1);
    drop(read);
    bench.assert_invariants();
}

#[test]
fn repeated_health_event_is_stored_once() {
    let bench = StoreBench::new();
    let events = ["1", "1", "2"].map(|value| health_event(Some(1), value));
    assert_eq!(ingest_events(&bench, &events), ["1", "2"]);
    let bench = bench.reopen();
    // The same value at another time is another event.
    let events = [1, 2].map(|sent| health_event(Some(sent), "2"));
    assert_eq!(ingest_events(&bench, &events), ["2"]);
    assert_eq!(stored_values(&bench), ["2", "2", "1"]);
    bench.assert_invariants();
}

#[test]
fn untimed_health_event_is_new_after_the_resend_window() {
    let bench = StoreBench::new();
    for (day, expected) in [(0, 1), (7, 0), (8, 1)] {
        bench.clock.jump_to(START.plus(days(day)));
        let untimed = ingest_events(&bench, &[health_event(None, "{}")]);
        assert_eq!(untimed.len(), expected, "on day {day}");
        let timed = ingest_events(&bench, &[health_event(Some(1), "{}")]);
        assert_eq!(
            timed.len(),
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
    assert_eq!(stored_errors(&bench).len(), 2);
    assert_eq!(stored_values(&bench).len(), 5);
    purge(&bench, days(3), days(2));
    assert_eq!(stored_errors(&bench).len(), 2);
    assert_eq!(stored_values(&bench).len(), 3);
    bench.assert_invariants();
}
