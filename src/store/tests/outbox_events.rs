//! Tests of single events of leads, health and destinations: each is emitted once.
//!
//! The model test in `outbox_model` covers the deliveries of events.

use serde_json::{Value, json};

use crate::domain::health::assessment::{Assessment, Severity};
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::time::Millis;
use crate::store::{AgentChange, IngestWebhook, RecordHealth};

use super::support::{START, StoreBench, flow};

#[test]
fn leads_of_removed_agent_emit_one_event_each() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    for token in ["a", "b"] {
        bench.finish_job(bench.accept_new(token));
    }
    bench.add_agent("bob", Some(1));
    bench.subscribe(&["crm"], &[]);
    bench.change_agent("ann", AgentChange::Remove);
    assert_eq!(bench.event_kinds(), ["lead.assigned", "lead.waiting"]);
    let assigned = bench.last_event_data("lead.assigned");
    assert_eq!(assigned["lead"]["agent"], "bob");
    let waiting = bench.last_event_data("lead.waiting");
    assert_eq!(waiting["submission"]["flow_token"], "b");
    bench.assert_invariants();
}

#[test]
fn waiting_lead_emits_its_event_once() {
    let bench = StoreBench::with_subscribers();
    bench.finish_job(bench.accept_new("a"));
    assert_eq!(bench.event_kinds(), ["submission.accepted", "lead.waiting"]);
    bench.add_agent("ann", None);
    assert_eq!(
        bench.event_kinds(),
        ["submission.accepted", "lead.waiting", "lead.assigned"]
    );
}

fn meta_event(at: u64, name: &str, value: &Value) -> HealthEvent {
    let at = START.plus(Millis::from_secs(at));
    HealthEvent::new(Some(at), name, "17", &value.to_string())
}

fn latency_event(at: u64, state: &str, threshold: u32) -> HealthEvent {
    let value = json!({"alert_state": state, "threshold": threshold, "message": "slow"});
    meta_event(at, "ENDPOINT_LATENCY", &value)
}

fn ingest_events(bench: &StoreBench, events: &[HealthEvent]) {
    bench.execute(IngestWebhook {
        health_events: events.to_vec(),
        ..IngestWebhook::default()
    });
}

#[test]
fn meta_health_event_emits_once_while_active() {
    let bench = StoreBench::with_subscribers();
    ingest_events(&bench, &[latency_event(1, "ACTIVATED", 1000)]);
    ingest_events(&bench, &[latency_event(1, "ACTIVATED", 1000)]);
    assert_eq!(bench.event_kinds(), ["flow.unhealthy"]);
    let health = &bench.last_event_data("flow.unhealthy")["health"];
    assert_eq!(health["source"], "meta");
    assert_eq!(health["meta_flow_id"], "17");
    assert_eq!(health["threshold"], 1000.0);
    assert_eq!(health["findings"][0], "slow");
    ingest_events(&bench, &[latency_event(3, "DEACTIVATED", 1000)]);
    ingest_events(&bench, &[latency_event(2, "ACTIVATED", 5000)]);
    assert_eq!(bench.event_kinds().len(), 1, "it came late, and is over");
    let (better, worse) = (
        latency_event(4, "ACTIVATED", 1000),
        latency_event(5, "ACTIVATED", 5000),
    );
    ingest_events(&bench, &[better, worse]);
    assert_eq!(bench.event_kinds().len(), 2, "the worse of the two");
    let status = |at, to: &str| meta_event(at, "FLOW_STATUS_CHANGE", &json!({"new_status": to}));
    ingest_events(&bench, &[status(6, "THROTTLED")]);
    ingest_events(&bench, &[status(7, "PUBLISHED")]);
    assert_eq!(bench.event_kinds().len(), 3);
    bench.assert_invariants();
}

fn record_health(bench: &StoreBench, severity: Severity) {
    bench.execute(RecordHealth {
        flow: flow(),
        assessment: Assessment {
            severity,
            findings: vec!["slow".to_owned()],
            suggestion: "look".to_owned(),
        },
    });
}

#[test]
fn unhealthy_flow_emits_once_per_episode() {
    let bench = StoreBench::with_subscribers();
    let (ok, warning, alert) = (Severity::Ok, Severity::Warning, Severity::Alert);
    for severity in [ok, warning, alert, alert, warning, alert] {
        record_health(&bench, severity);
    }
    assert_eq!(bench.event_kinds(), ["flow.unhealthy"]);
    let data = bench.last_event_data("flow.unhealthy");
    assert_eq!(data["flow"], flow().as_str());
    let bench = bench.reopen();
    record_health(&bench, Severity::Alert);
    assert_eq!(bench.event_kinds().len(), 1);
    record_health(&bench, Severity::Ok);
    record_health(&bench, Severity::Alert);
    assert_eq!(bench.event_kinds().len(), 2);
}

#[test]
fn disabled_destination_emits_one_alert() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &["crm", "ops"]);
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    let refuse = |job| {
        let retry = Some(bench.retry_in_a_minute());
        bench.record_attempt(job, retry, Some("the destination responded with 410 Gone"));
    };
    for job in bench.delivery_ids() {
        refuse(job);
    }
    let accepted = "submission.accepted";
    assert_eq!(
        bench.event_kinds(),
        [accepted, accepted, "destination.stopped"]
    );
    let stopped = &bench.last_event_data("destination.stopped")["destination"];
    let reason = "the destination responded with 410 Gone";
    assert_eq!(*stopped, json!({"name": "crm", "reason": reason}));
    // The alert about the destination waits with the other deliveries.
    assert_eq!(bench.due_deliveries("crm").len(), 3);
    bench.pause_destination("crm", false);
    refuse(bench.delivery_ids()[0]);
    assert_eq!(bench.event_kinds().len(), 4, "it stopped anew");
    bench.assert_invariants();
}
