//! Tests requests about deliveries and destinations.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::{
    AdminHarness, START, all_jobs, assert_contains, assert_fields, filter, ids, one_job,
};
use crate::admin::{AdminCommand, AdminHandler, AdminQuery, ErrorCode, JobSelector, ListFilter};
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Millis;
use crate::intake::Catalog;
use crate::reloadable::Reloadable;
use crate::store::tests::corruptions::{CorruptAttempt, CorruptRow};

fn crm() -> DestinationName {
    DestinationName::new("crm").unwrap()
}

fn deliveries(harness: &AdminHarness, filter: ListFilter) -> Vec<Value> {
    harness.rows(AdminQuery::Deliveries(filter)).unwrap()
}

/// Accepts this number of forms and marks their deliveries as dead. Returns the job IDs of the
/// deliveries.
fn make_dead_letters(harness: &AdminHarness, count: u64) -> Vec<JobId> {
    harness.accept_many(0..count);
    let mut all: Vec<JobId> = ids(&deliveries(harness, ListFilter::default()))
        .into_iter()
        .map(JobId::new)
        .collect();
    all.reverse();
    for job in &all {
        harness.record_response(*job, 422, "no such field", Some(RetryDecision::GiveUp));
    }
    all
}

#[test]
fn delivery_shows_body_and_responses() {
    let harness = AdminHarness::with_deliveries();
    harness.accept("a");
    let row = deliveries(&harness, ListFilter::default()).remove(0);
    assert_eq!(
        row["status"],
        Value::Null,
        "nothing was answered yet: {row}"
    );
    let id = JobId::new(row["id"].as_u64().unwrap());
    harness.record_response(
        id,
        503,
        "try later",
        Some(RetryDecision::RetryAt {
            at: START.plus(Millis::from_secs(5)),
        }),
    );
    let row = deliveries(&harness, ListFilter::default()).remove(0);
    assert_fields(
        &row,
        &json!({"destination": "crm", "event": "submission.accepted", "flow": "visit", "state": "scheduled",
            "attempts": 1, "status": 503, "submission_id": 1, "last_error": "responded with 503"}),
    );
    harness.record_response(id, 200, "thanks", None);
    let whole = harness.row(AdminQuery::Delivery { id });
    assert_fields(&whole, &json!({"state": "done", "status": 200}));
    assert_eq!(whole["body"]["type"], "submission.accepted");
    assert!(whole["webhook_id"].as_str().unwrap().starts_with("msg_"));
    let history = whole["attempt_history"].as_array().unwrap();
    assert_eq!(history.len(), 2);
    assert_fields(
        &history[0],
        &json!({"status": 503, "response": "try later"}),
    );
    assert_fields(&history[1], &json!({"status": 200, "response": "thanks"}));
}

#[test]
fn unreadable_attempt_or_response_hides_no_other() {
    let harness = AdminHarness::with_deliveries();
    harness.accept("a");
    let id = JobId::new(ids(&deliveries(&harness, ListFilter::default()))[0]);
    for response in ["first", "second", "third"] {
        harness.record_response(
            id,
            503,
            response,
            Some(RetryDecision::RetryAt { at: START }),
        );
    }
    harness.execute(CorruptAttempt {
        table: "attempts",
        job: id,
        number: 1,
    });
    harness.execute(CorruptAttempt {
        table: "exchanges",
        job: id,
        number: 2,
    });
    harness.execute(CorruptRow {
        table: "receipts",
        key: id.get(),
    });
    let whole = harness.row(AdminQuery::Delivery { id });
    let line = |index: usize| &whole["attempt_history"][index];
    assert_fields(line(0), &json!({"number": 1, "state": "unreadable"}));
    assert_contains(line(0)["error"].as_str().unwrap(), "table attempts");
    assert_fields(
        line(1),
        &json!({"error": "responded with 503", "response": null}),
    );
    assert_contains(
        line(1)["response_error"].as_str().unwrap(),
        "table delivery_responses",
    );
    assert_eq!(
        (&line(2)["response"], line(2).get("unreadable")),
        (&json!("third"), None)
    );
    let job = harness.row(AdminQuery::Job { id });
    assert_eq!(
        (
            &job["attempt_history"][1]["number"],
            &job["message"]["state"]
        ),
        (&json!(2), &json!("unreadable"))
    );
}

#[test]
fn submission_job_is_no_delivery() {
    let harness = AdminHarness::with_deliveries();
    let job = harness.accept("a");
    let refusal = harness.error(AdminQuery::Delivery { id: job });
    assert_eq!(refusal.code, ErrorCode::NotFound);
    assert_contains(&refusal.message, "`flowgate deliveries`");
}

#[test]
fn deliveries_are_filtered_by_destination_event_flow_and_state() {
    let harness = AdminHarness::with_deliveries();
    make_dead_letters(&harness, 2);
    harness.accept("later");
    let all = ids(&deliveries(&harness, ListFilter::default()));
    assert_eq!(all.len(), 3);
    let other = DestinationName::new("other").unwrap();
    let flow = |name: &str| Some(FlowName::new(name).unwrap());
    let state = |name: &str| Some(name.to_owned());
    for (filter, expected) in [
        (filter(|f| f.destination = Some(crm())), &all[..]),
        (filter(|f| f.destination = Some(other.clone())), &[]),
        (
            filter(|f| f.event = Some(EventKind::SubmissionAccepted)),
            &all[..],
        ),
        (filter(|f| f.event = Some(EventKind::LeadWaiting)), &[]),
        (filter(|f| f.flow = flow("visit")), &all[..]),
        (filter(|f| f.flow = flow("home")), &[]),
        (filter(|f| f.state = state("scheduled")), &all[..1]),
        (filter(|f| f.state = state("dead")), &all[1..]),
        (filter(|f| f.limit = 1), &all[..1]),
    ] {
        assert_eq!(
            ids(&deliveries(&harness, filter.clone())),
            expected,
            "{filter:?}"
        );
    }
    let dead = |filter| harness.ids(AdminQuery::DeadLetters(filter));
    let none = Vec::<u64>::new();
    assert_eq!(dead(filter(|f| f.destination = Some(crm()))), all[1..]);
    assert_eq!(dead(filter(|f| f.destination = Some(other))), none);
    assert_eq!(
        dead(filter(|f| f.event = Some(EventKind::LeadWaiting))),
        none
    );
}

#[test]
fn destination_filter_excludes_other_dead_letters() {
    let harness = AdminHarness::with_deliveries();
    let message = harness.accept_unparsable("{}", "the message is no object");
    let to_crm = filter(|f| f.destination = Some(crm()));
    assert!(harness.ids(AdminQuery::DeadLetters(to_crm)).is_empty());
    let dead_letter = harness.row(AdminQuery::DeadLetters(ListFilter::default()));
    assert_fields(
        &dead_letter,
        &json!({"id": message, "destination": null, "event": null}),
    );
}

#[test]
fn corrected_body_replaces_event_and_both_are_stored() {
    let harness = AdminHarness::with_deliveries();
    let id = make_dead_letters(&harness, 1)[0];
    let before = harness.row(AdminQuery::Delivery { id });
    let corrected = r#"{"type":"submission.accepted","data":{"corrected":true}}"#;
    harness.row(AdminCommand::RetryDeadLetters(JobSelector::One {
        id,
        payload: Some(corrected.to_owned()),
    }));
    let sent = harness
        .store
        .read()
        .unwrap()
        .pending_delivery(id)
        .unwrap()
        .unwrap();
    assert_eq!(&*sent.body, corrected);
    harness.record_response(id, 200, "", None);
    let after = harness.row(AdminQuery::Delivery { id });
    assert_eq!(
        after["corrected"]["data"]["corrected"], true,
        "also when it is over: {after}"
    );
    for same in ["id", "webhook_id", "body"] {
        assert_eq!(after[same], before[same], "{same}");
    }
}

#[test]
fn discarded_delivery_shows_corrected_body() {
    let harness = AdminHarness::with_deliveries();
    let id = make_dead_letters(&harness, 1)[0];
    harness.row(AdminCommand::RetryDeadLetters(JobSelector::One {
        id,
        payload: Some("{\"b\":2}".to_owned()),
    }));
    harness.record_response(id, 422, "still none", Some(RetryDecision::GiveUp));
    assert_eq!(
        harness.row(AdminQuery::Delivery { id })["corrected"],
        json!({"b": 2})
    );
    harness.row(AdminCommand::DiscardDeadLetters(one_job(id)));
    let whole = harness.row(AdminQuery::Delivery { id });
    assert_fields(
        &whole,
        &json!({"state": "discarded", "corrected": {"b": 2}}),
    );
}

#[test]
fn dry_run_counts_expired_messages() {
    let harness = AdminHarness::with_deliveries();
    make_dead_letters(&harness, 3);
    let all = all_jobs(true);
    let late = || {
        let expires = BTreeMap::from([(crm(), Millis::from_secs(3600))]);
        let catalog = Catalog {
            max_ages: expires,
            ..Catalog::from(&harness.config)
        };
        let handler = AdminHandler::new(
            harness.store.clone(),
            harness.clock.clone(),
            Reloadable::new(catalog),
            None,
        );
        let mut late = json!(null);
        let outcome = handler.handle(
            AdminCommand::RetryDeadLetters(all.clone()).into(),
            &mut |row| {
                late = row["expired_messages"].clone();
                true
            },
        );
        outcome.map(|()| late).unwrap()
    };
    assert_eq!(late(), 0);
    harness.clock.advance(Millis::from_secs(3600));
    assert_eq!(late(), 3);
    assert_eq!(
        harness.row(AdminCommand::RetryDeadLetters(all.clone()))["expired_messages"],
        0,
        "a webhook's deliveries never expire"
    );
}

#[test]
fn bulk_retry_takes_few_commits() {
    let harness = AdminHarness::with_deliveries();
    let dead_letters = make_dead_letters(&harness, 250);
    let before = harness.store.writer_stats().commits;
    let all = all_jobs(false);
    assert_eq!(
        harness.row(AdminCommand::RetryDeadLetters(all.clone())),
        json!({"changed": 250})
    );
    let commits = harness.store.writer_stats().commits - before;
    assert!(commits <= 3, "{commits} commits for 250 letters");
    let due = harness
        .store
        .read_with(|read| read.due_deliveries(&crm(), START, usize::MAX))
        .unwrap();
    assert_eq!(due, dead_letters, "in the order in which they came");

    for job in &dead_letters {
        harness.record_response(*job, 422, "", Some(RetryDecision::GiveUp));
    }
    let before = harness.store.writer_stats().commits;
    assert_eq!(
        harness.row(AdminCommand::DiscardDeadLetters(all)),
        json!({"changed": 250})
    );
    assert!(harness.store.writer_stats().commits - before <= 3);
}

#[test]
fn retry_rate_spreads_due_times() {
    let harness = AdminHarness::with_deliveries();
    let dead_letters = make_dead_letters(&harness, 250);
    let rate = Some(Rate::parse("10/s").unwrap());
    harness.row(AdminCommand::RetryDeadLetters(JobSelector::All {
        filter: ListFilter::default(),
        dry_run: false,
        rate,
    }));
    let due_by = |seconds| {
        let until = START.plus(Millis::from_secs(seconds));
        harness
            .store
            .read_with(|read| read.due_deliveries(&crm(), until, usize::MAX))
            .unwrap()
    };
    assert_eq!(due_by(0), dead_letters[..1]);
    assert_eq!(due_by(1), dead_letters[..11]);
    assert_eq!(due_by(24), dead_letters[..241], "over the slices too");
    assert_eq!(due_by(25), dead_letters);
}

#[test]
fn paused_destination_is_listed_until_resumed() {
    let harness = AdminHarness::with_deliveries();
    harness.accept("a");
    let row = harness.row(AdminQuery::Destinations);
    assert_fields(
        &row,
        &json!({"name": "crm", "state": "ok", "host": "crm.example", "waiting": 1, "paused_at": null}),
    );
    assert!(
        !row.to_string().contains("hush"),
        "only the host of the URL: {row}"
    );
    let paused = harness.row(AdminCommand::PauseDestination { name: crm() });
    assert_fields(&paused, &json!({"state": "paused", "paused_at": START}));
    let warnings = harness.row(AdminQuery::Status)["warnings"].to_string();
    assert_contains(
        &warnings,
        "1 delivery queued: `flowgate destinations resume crm`",
    );
    assert_eq!(
        harness.row(AdminCommand::ResumeDestination { name: crm() })["state"],
        "ok"
    );
    assert!(
        !harness.row(AdminQuery::Status)["warnings"]
            .to_string()
            .contains("crm")
    );
    let unknown = harness.error(AdminCommand::PauseDestination {
        name: DestinationName::new("cmr").unwrap(),
    });
    assert_eq!(
        unknown.message,
        "there is no destination cmr: `flowgate destinations` lists them"
    );
}
