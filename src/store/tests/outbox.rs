//! Tests of single cases of the outbox: the events emitted, their time, and the rows that retention
//! removes. The model test in `outbox_model` covers everything else.

use crate::clock::Clock;
use crate::domain::health::assessment::{self, Assessment};
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::ids::{AgentName, Customer, FlowName, FlowToken, JobId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{IllegalTransition, JobEvent, JobState};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::Draft;
use crate::domain::time::Millis;
use crate::store::engine::Rows;
use crate::store::{
    AgentChange, ChangeAgent, DeadLetterOutcome, DeferOrExpire, DiscardDeadLetter,
    DiscardDeliveries, IngestWebhook, PauseDestination, PurgeCursor, PurgeSlice, RecordHealth,
    RetentionQueue, RetryDeadLetter, SaveDraft,
};

use super::support::{START, StoreBench, destination, flow, form};

const MINUTE: Millis = Millis::from_secs(60);
const DAY: Millis = Millis::from_secs(24 * 60 * 60);
const MONTH: Millis = Millis::from_secs(30 * 24 * 60 * 60);

fn draft_key(token: &str) -> IdempotencyKey {
    IdempotencyKey::for_token(&flow(), &FlowToken::new(token).unwrap())
}

fn save_draft(bench: &StoreBench, token: &str, data: &str) {
    let draft = Draft {
        flow: flow(),
        flow_token: FlowToken::new(token).ok(),
        customer: Customer::from_text("16505551234"),
        screen: "DETAILS".into(),
        data: data.into(),
        updated_at: START,
    };
    bench
        .store
        .execute_blocking(SaveDraft {
            key: draft_key(token),
            draft,
            encrypted_request_key: None,
            reject_resubmission: false,
        })
        .unwrap();
}

/// Purges one round with an abandon timeout of half an hour.
fn purge_round(bench: &StoreBench) {
    bench.purge(3, MONTH, DAY, Millis::from_secs(30 * 60));
}

fn last_event_body(bench: &StoreBench, kind: &str) -> serde_json::Value {
    let event = bench
        .events()
        .into_iter()
        .rfind(|event| event.kind.as_str() == kind)
        .unwrap();
    serde_json::from_str(&event.body).unwrap()
}

#[test]
fn leads_of_removed_agent_emit_one_event_each() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    for token in ["a", "b"] {
        bench.finish_job(bench.accept_new(token));
    }
    bench.add_agent("bob", Some(1));
    bench.subscribe(&["crm"], &[]);
    let name = AgentName::new("ann").unwrap();
    bench
        .store
        .execute_blocking(ChangeAgent {
            name,
            change: AgentChange::Remove,
        })
        .unwrap();
    assert_eq!(bench.event_kinds(), ["lead.assigned", "lead.waiting"]);
    assert_eq!(
        last_event_body(&bench, "lead.assigned")["data"]["lead"]["agent"],
        "bob"
    );
    assert_eq!(
        last_event_body(&bench, "lead.waiting")["data"]["submission"]["flow_token"],
        "b"
    );
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

#[test]
fn abandoned_draft_emits_once_until_it_goes_on() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "t", r#"{"name":"Ann"}"#);
    bench.clock.advance(Millis::from_secs(30 * 60 - 1));
    purge_round(&bench);
    assert_eq!(bench.event_kinds(), [""; 0], "it may go on");
    bench.clock.advance(Millis::from_secs(1));
    purge_round(&bench);
    purge_round(&bench);
    let bench = bench.reopen();
    purge_round(&bench);
    assert_eq!(bench.event_kinds(), ["draft.abandoned"]);
    assert_eq!(
        last_event_body(&bench, "draft.abandoned")["data"]["draft"]["answers"]["name"],
        "Ann"
    );
    save_draft(&bench, "t", r#"{"name":"Anna"}"#);
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 1, "they came back");
    bench.clock.advance(DAY);
    purge_round(&bench);
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 2);
    assert_eq!(
        last_event_body(&bench, "draft.abandoned")["data"]["draft"]["answers"]["name"],
        "Anna"
    );
    bench.assert_invariants();
}

#[test]
fn submitted_draft_clears_its_abandoned_mark() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "t", "{}");
    bench.clock.advance(DAY);
    purge_round(&bench);
    let mut last = form("t", "{}");
    last.draft_key = Some(draft_key("t"));
    bench.accept(last);
    purge_round(&bench);
    assert_eq!(
        bench.event_kinds(),
        ["draft.abandoned", "submission.accepted"]
    );
    bench.assert_invariants();
}

#[test]
fn draft_abandoned_during_downtime_emits_before_purge() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "t", "{}");
    bench.clock.advance(MONTH);
    bench.clock.advance(MINUTE);
    purge_round(&bench);
    assert_eq!(bench.event_kinds(), ["draft.abandoned"]);
    assert_eq!(bench.store.read().unwrap().counts().unwrap().drafts, 0);
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 1);
    bench.assert_invariants();
}

#[test]
fn abandoned_drafts_are_emitted_in_bounded_slices() {
    let bench = StoreBench::with_subscribers();
    bench.subscribe(&["crm"], &[]);
    for token in 0..70 {
        save_draft(&bench, &token.to_string(), "{}");
    }
    bench.clock.advance(DAY);
    let abandon_timeouts = [(flow(), MINUTE)].into_iter().collect();
    let slice = PurgeSlice {
        cursor: PurgeCursor::Queue(RetentionQueue::AbandonedDrafts),
        max_rows: 1000,
        submission_retention: MONTH,
        attempt_retention: DAY,
        abandon_timeouts,
    };
    assert!(matches!(
        bench.store.execute_blocking(slice).unwrap().next,
        Some(PurgeCursor::Queue(RetentionQueue::AbandonedDrafts))
    ));
    assert_eq!(bench.event_kinds().len(), 64, "one slice");
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 70);

    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(600 << 10));
    for token in ["u", "v", "w"] {
        save_draft(&bench, token, &large);
    }
    bench.clock.advance(DAY);
    let abandon_timeouts = [(flow(), MINUTE)].into_iter().collect();
    let slice = PurgeSlice {
        cursor: PurgeCursor::Queue(RetentionQueue::AbandonedDrafts),
        max_rows: 1000,
        submission_retention: MONTH,
        attempt_retention: DAY,
        abandon_timeouts,
    };
    bench.store.execute_blocking(slice).unwrap();
    assert_eq!(bench.event_kinds().len(), 72);
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 73);
}

#[test]
fn event_without_subscriber_is_not_emitted_later() {
    let bench = StoreBench::new();
    save_draft(&bench, "t", "{}");
    bench.clock.advance(DAY);
    purge_round(&bench);
    bench.subscribe(&["crm"], &[]);
    purge_round(&bench);
    assert_eq!(bench.event_kinds(), [""; 0]);
}

fn meta_event(at: u64, name: &str, value: &serde_json::Value) -> HealthEvent {
    HealthEvent::new(
        Some(START.plus(Millis::from_secs(at))),
        name,
        "17",
        &value.to_string(),
    )
}

fn latency_event(at: u64, state: &str, threshold: u32) -> HealthEvent {
    let value =
        serde_json::json!({"alert_state": state, "threshold": threshold, "message": "slow"});
    meta_event(at, "ENDPOINT_LATENCY", &value)
}

fn ingest_events(bench: &StoreBench, events: &[HealthEvent]) {
    let webhook = IngestWebhook {
        health_events: events.to_vec(),
        ..IngestWebhook::default()
    };
    bench.store.execute_blocking(webhook).unwrap();
}

#[test]
fn meta_health_event_emits_once_while_active() {
    let bench = StoreBench::with_subscribers();
    ingest_events(&bench, &[latency_event(1, "ACTIVATED", 1000)]);
    ingest_events(&bench, &[latency_event(1, "ACTIVATED", 1000)]);
    assert_eq!(bench.event_kinds(), ["flow.unhealthy"]);
    let health = &last_event_body(&bench, "flow.unhealthy")["data"]["health"];
    assert_eq!(
        (&health["source"], &health["meta_flow_id"]),
        (&"meta".into(), &"17".into())
    );
    assert_eq!(
        (&health["threshold"], &health["findings"][0]),
        (&1000.0.into(), &"slow".into())
    );
    ingest_events(&bench, &[latency_event(3, "DEACTIVATED", 1000)]);
    ingest_events(&bench, &[latency_event(2, "ACTIVATED", 5000)]);
    assert_eq!(bench.event_kinds().len(), 1, "it came late, and is over");
    ingest_events(
        &bench,
        &[
            latency_event(4, "ACTIVATED", 1000),
            latency_event(5, "ACTIVATED", 5000),
        ],
    );
    assert_eq!(bench.event_kinds().len(), 2, "the worse of the two");
    let status = |at, to: &str| {
        meta_event(
            at,
            "FLOW_STATUS_CHANGE",
            &serde_json::json!({"new_status": to}),
        )
    };
    ingest_events(&bench, &[status(6, "THROTTLED")]);
    ingest_events(&bench, &[status(7, "PUBLISHED")]);
    assert_eq!(bench.event_kinds().len(), 3);
    bench.assert_invariants();
}

fn record_health(bench: &StoreBench, verdict: assessment::Severity) {
    let judgement = Assessment {
        severity: verdict,
        findings: vec!["slow".to_owned()],
        suggestion: "look".to_owned(),
    };
    bench
        .store
        .execute_blocking(RecordHealth {
            flow: flow(),
            assessment: judgement,
        })
        .unwrap();
}

#[test]
fn unhealthy_flow_emits_once_per_episode() {
    use crate::domain::health::assessment::Severity::{Alert, Ok, Warning};
    let bench = StoreBench::with_subscribers();
    for verdict in [Ok, Warning, Alert, Alert, Warning, Alert] {
        record_health(&bench, verdict);
    }
    assert_eq!(bench.event_kinds(), ["flow.unhealthy"]);
    assert_eq!(
        last_event_body(&bench, "flow.unhealthy")["data"]["flow"],
        flow().as_str()
    );
    let bench = bench.reopen();
    record_health(&bench, Alert);
    assert_eq!(bench.event_kinds().len(), 1);
    record_health(&bench, Ok);
    record_health(&bench, Alert);
    assert_eq!(bench.event_kinds().len(), 2);
}

/// Retry decision: due in one minute.
fn retry_in_a_minute(bench: &StoreBench) -> RetryDecision {
    RetryDecision::RetryAt {
        at: bench.clock.now().plus(MINUTE),
    }
}

#[test]
fn disabled_destination_emits_one_alert() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &["crm", "ops"]);
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    for (job, ..) in bench.deliveries() {
        bench.record_attempt(
            job,
            Some(retry_in_a_minute(&bench)),
            Some("the destination responded with 410 Gone"),
        );
    }
    assert_eq!(
        bench.event_kinds(),
        [
            "submission.accepted",
            "submission.accepted",
            "destination.stopped"
        ]
    );
    let stopped = &last_event_body(&bench, "destination.stopped")["data"]["destination"];
    assert_eq!(
        stopped,
        &serde_json::json!({"name": "crm", "reason": "the destination responded with 410 Gone"})
    );
    let waiting_count = |bench: &StoreBench| {
        let until = bench.clock.now().plus(DAY);
        bench
            .store
            .read()
            .unwrap()
            .due_deliveries(&destination("crm"), until, 10)
            .unwrap()
            .len()
    };
    assert_eq!(
        waiting_count(&bench),
        3,
        "the alert of its own waits with the rest"
    );
    bench
        .store
        .execute_blocking(PauseDestination {
            destination: destination("crm"),
            is_paused: false,
        })
        .unwrap();
    bench.record_attempt(
        bench.deliveries()[0].0,
        Some(retry_in_a_minute(&bench)),
        Some("the destination responded with 410 Gone"),
    );
    assert_eq!(bench.event_kinds().len(), 4, "it stopped anew");
    bench.assert_invariants();
}

fn delivery_at(bench: &StoreBench, index: usize) -> JobId {
    bench.deliveries()[index].0
}

#[test]
fn purge_removes_finished_deliveries_then_their_event() {
    let bench = StoreBench::with_subscribers();
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    let [done, dead, discarded, waits] = [
        delivery_at(&bench, 0),
        delivery_at(&bench, 1),
        delivery_at(&bench, 2),
        delivery_at(&bench, 3),
    ];
    bench.record_attempt(done, None, None);
    bench.record_attempt(dead, Some(RetryDecision::GiveUp), None);
    bench.record_attempt(discarded, Some(RetryDecision::GiveUp), None);
    assert_eq!(
        bench
            .store
            .execute_blocking(DiscardDeadLetter { job_id: discarded })
            .unwrap(),
        DeadLetterOutcome::Updated(JobState::Discarded)
    );
    // From here on, no destination is subscribed to dead letters. The two earlier alerts get
    // delivered.
    bench.subscribe(&[], &[]);
    for (job, ..) in bench.deliveries().into_iter().skip(4) {
        bench.record_attempt(job, None, None);
    }
    bench.clock.advance(MONTH);
    bench.purge(1, MONTH, DAY, DAY);
    let left: Vec<JobId> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(left.len(), 6, "not a moment earlier");
    bench.clock.advance(Millis::new(1));
    bench.purge(1, MONTH, DAY, DAY);
    let left: Vec<JobId> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(
        left,
        [dead, waits],
        "a dead letter stays, and so does what waits"
    );
    assert_eq!(
        bench.event_kinds(),
        ["submission.accepted", "submission.accepted"]
    );
    bench.assert_invariants();
    bench.record_attempt(waits, None, None);
    bench.clock.advance(MONTH);
    bench.clock.advance(DAY);
    bench.purge(1, MONTH, DAY, DAY);
    assert_eq!(
        bench.event_kinds(),
        ["submission.accepted"],
        "the other delivery of the event completes"
    );
    assert!(
        bench
            .store
            .read()
            .unwrap()
            .event(discarded)
            .unwrap()
            .is_none()
    );
    bench.assert_invariants();
}

#[test]
fn only_scheduled_deliveries_can_be_discarded() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &[]);
    for token in ["a", "b", "c"] {
        bench.accept_new(token);
    }
    let [waits, done, dead] = [
        delivery_at(&bench, 0),
        delivery_at(&bench, 1),
        delivery_at(&bench, 2),
    ];
    bench.record_attempt(done, None, None);
    bench.record_attempt(dead, Some(RetryDecision::GiveUp), None);
    let processes = JobId::new(waits.get() - 1);
    let discarded = bench.store.execute_blocking(DiscardDeliveries {
        job_ids: vec![waits, done, dead, processes, JobId::new(999)],
    });
    let refused = |state| {
        DeadLetterOutcome::Refused(IllegalTransition {
            state,
            event: JobEvent::DiscardScheduled,
        })
    };
    let (unknown, refused) = (
        DeadLetterOutcome::NotFound,
        [refused(JobState::Done), refused(JobState::Dead)],
    );
    let [is_done, is_dead] = refused;
    let now = DeadLetterOutcome::Updated(JobState::Discarded);
    assert_eq!(
        discarded.unwrap(),
        [now, is_done, is_dead, unknown.clone(), unknown]
    );
    assert!(
        bench
            .store
            .read()
            .unwrap()
            .waiting_deliveries(&destination("crm"))
            .unwrap()
            .is_empty()
    );
    bench.assert_invariants();
    // The attempt was in flight when the delivery was discarded. Its result comes too late.
    bench.record_attempt(waits, None, None);
    assert_eq!(
        bench
            .store
            .read()
            .unwrap()
            .job(waits)
            .unwrap()
            .unwrap()
            .state,
        JobState::Discarded
    );
    bench.clock.advance(MONTH);
    bench.clock.advance(Millis::new(1));
    bench.purge(1, MONTH, DAY, DAY);
    assert!(
        bench.store.read().unwrap().event(waits).unwrap().is_none(),
        "the body is gone"
    );
    assert!(bench.store.read().unwrap().event(dead).unwrap().is_some());
    bench.assert_invariants();
}

#[test]
fn failed_responses_are_purged_before_their_delivery() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &[]);
    bench.accept_new("a");
    let job = delivery_at(&bench, 0);
    let stored_numbers = |bench: &StoreBench| {
        let exchanges = bench.store.read().unwrap().delivery_responses(job).unwrap();
        exchanges
            .into_iter()
            .map(|(number, _)| number)
            .collect::<Vec<_>>()
    };
    bench.record_attempt(job, Some(retry_in_a_minute(&bench)), None);
    bench.record_attempt(job, Some(RetryDecision::GiveUp), None);
    bench.clock.advance(DAY);
    bench.clock.advance(DAY);
    bench.purge(1, MONTH, DAY, DAY);
    assert_eq!(
        stored_numbers(&bench),
        [1, 2],
        "a dead letter shows why it died"
    );
    bench
        .store
        .execute_blocking(RetryDeadLetter {
            job_id: job,
            payload: None,
        })
        .unwrap();
    bench.record_attempt(job, None, None);
    bench.clock.advance(DAY);
    bench.purge(1, MONTH, DAY, DAY);
    assert_eq!(stored_numbers(&bench), [1, 2, 3], "not a moment earlier");
    bench.clock.advance(Millis::new(1));
    bench.purge(1, MONTH, DAY, DAY);
    assert_eq!(
        stored_numbers(&bench),
        [3],
        "the answer that ended it stays as long as the delivery"
    );
    bench.assert_invariants();
    bench.clock.advance(MONTH);
    bench.purge(1, MONTH, DAY, DAY);
    assert_eq!(stored_numbers(&bench), [0; 0]);
    bench.assert_invariants();
}

#[test]
fn retention_of_rerun_delivery_counts_from_last_end() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &[]);
    bench.accept_new("a");
    let job = delivery_at(&bench, 0);
    let expired = vec![(job, "too late".to_owned())];
    bench
        .store
        .execute_blocking(DeferOrExpire {
            expired,
            ..DeferOrExpire::default()
        })
        .unwrap();
    for _ in 0..20 {
        bench.clock.advance(DAY);
    }
    bench
        .store
        .execute_blocking(RetryDeadLetter {
            job_id: job,
            payload: None,
        })
        .unwrap();
    bench.record_attempt(job, None, None);
    let attempts = |bench: &StoreBench| bench.store.read().unwrap().attempts(job).unwrap().len();
    let before = attempts(&bench);
    bench.clock.advance(DAY);
    bench.purge(1, MONTH, DAY, DAY);
    assert_eq!(attempts(&bench), before, "not a moment earlier");
    bench.clock.advance(Millis::new(MONTH.get() - DAY.get()));
    bench.purge(1, MONTH, DAY, DAY);
    assert!(attempts(&bench) < before);
    assert_eq!(
        bench.deliveries().len(),
        1,
        "the first end was 50 days ago, the last one 30"
    );
    bench.assert_invariants();
    bench.clock.advance(Millis::new(1));
    bench.purge(1, MONTH, DAY, DAY);
    assert_eq!(bench.deliveries().len(), 0);
    let read = bench.store.read().unwrap();
    let last_ends = read
        .with_read_txn(|txn| txn.open(crate::store::rows::schema::LAST_ENDS))
        .unwrap();
    assert_eq!(last_ends.len().unwrap(), 0);
    bench.assert_invariants();
}

#[test]
fn draft_of_removed_flow_emits_nothing() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "t", "{}");
    bench.clock.advance(DAY);
    let abandon_timeouts = [(FlowName::new("other").unwrap(), MINUTE)]
        .into_iter()
        .collect();
    let slice = PurgeSlice {
        cursor: PurgeCursor::Queue(RetentionQueue::AbandonedDrafts),
        max_rows: 10,
        submission_retention: MONTH,
        attempt_retention: DAY,
        abandon_timeouts,
    };
    bench.store.execute_blocking(slice).unwrap();
    assert_eq!(bench.event_kinds(), [""; 0]);
}
