//! Tests requests about deliveries and destinations.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::{
    AdminHarness, RETRY_AT_START, START, all_jobs, assert_contains, assert_fields,
    assert_unreadable, corrected_job, filter, ids, one_job, select_jobs,
};
use crate::admin::{AdminCommand, AdminHandler, AdminQuery, ErrorCode, ListFilter};
use crate::domain::access::Principal;
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::{Millis, Timestamp};
use crate::intake::Catalog;
use crate::reloadable::Reloadable;
use crate::store::tests::corruptions::{CorruptAttempt, CorruptRow};

fn crm() -> DestinationName {
    DestinationName::new("crm").unwrap()
}

fn deliveries(harness: &AdminHarness, filter: ListFilter) -> Vec<Value> {
    harness.rows(AdminQuery::Deliveries(filter)).unwrap()
}

fn all_deliveries(harness: &AdminHarness) -> Vec<Value> {
    deliveries(harness, ListFilter::default())
}

/// Accepts this number of forms and marks their deliveries as dead. Returns the job IDs of the
/// deliveries.
fn make_dead_letters(harness: &AdminHarness, count: u64) -> Vec<JobId> {
    harness.accept_many(0..count);
    let newest_first = ids(&all_deliveries(harness)).into_iter();
    let all: Vec<JobId> = newest_first.rev().map(JobId::new).collect();
    for job in &all {
        harness.record_response(*job, 422, "no such field", Some(RetryDecision::GiveUp));
    }
    all
}

fn due_deliveries(harness: &AdminHarness, until: Timestamp) -> Vec<JobId> {
    let store = &harness.store;
    let due = store.read_with(|read| read.due_deliveries(&crm(), until, usize::MAX));
    due.unwrap()
}

#[test]
fn delivery_shows_body_and_responses() {
    let harness = AdminHarness::with_deliveries();
    harness.accept("a");
    let row = all_deliveries(&harness).remove(0);
    assert_eq!(row["status"], Value::Null, "nothing was answered: {row}");
    let id = JobId::new(row["id"].as_u64().unwrap());
    let at = START.plus(Millis::from_secs(5));
    let retry = Some(RetryDecision::RetryAt { at });
    harness.record_response(id, 503, "try later", retry);
    let row = all_deliveries(&harness).remove(0);
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
    for (attempt, (status, response)) in history.iter().zip([(503, "try later"), (200, "thanks")]) {
        assert_fields(attempt, &json!({"status": status, "response": response}));
    }
}

#[test]
fn unreadable_attempt_or_response_hides_no_other() {
    let harness = AdminHarness::with_deliveries();
    harness.accept("a");
    let id = JobId::new(ids(&all_deliveries(&harness))[0]);
    for response in ["first", "second", "third"] {
        harness.record_response(id, 503, response, Some(RETRY_AT_START));
    }
    for (table, number) in [("attempts", 1), ("exchanges", 2)] {
        let job = id;
        harness.execute(CorruptAttempt { table, job, number });
    }
    let (table, key) = ("receipts", id.get());
    harness.execute(CorruptRow { table, key });
    let whole = harness.row(AdminQuery::Delivery { id });
    let line = |index: usize| &whole["attempt_history"][index];
    assert_unreadable(line(0), &json!({"number": 1}), "table attempts");
    let unanswered = json!({"error": "responded with 503", "response": null});
    assert_fields(line(1), &unanswered);
    let why = line(1)["response_error"].as_str().unwrap();
    assert_contains(why, "table delivery_responses");
    assert_eq!(line(2)["response"], "third");
    assert_eq!(line(2).get("unreadable"), None);
    let job = harness.row(AdminQuery::Job { id });
    assert_eq!(job["attempt_history"][1]["number"], 2);
    assert_eq!(job["message"]["state"], "unreadable");
}

#[test]
fn submission_job_is_no_delivery() {
    let harness = AdminHarness::with_deliveries();
    let job = harness.accept("a");
    let query = AdminQuery::Delivery { id: job };
    harness.assert_error(query, ErrorCode::NotFound, "`flowgate deliveries`");
}

#[test]
fn deliveries_are_filtered_by_destination_event_flow_and_state() {
    let harness = AdminHarness::with_deliveries();
    make_dead_letters(&harness, 2);
    harness.accept("later");
    let all = ids(&all_deliveries(&harness));
    assert_eq!(all.len(), 3);
    let to_crm = filter(|f| f.destination = Some(crm()));
    let to_other = filter(|f| f.destination = DestinationName::new("other").ok());
    let accepted = filter(|f| f.event = Some(EventKind::SubmissionAccepted));
    let waiting = filter(|f| f.event = Some(EventKind::LeadWaiting));
    let of_flow = |name| filter(|f| f.flow = FlowName::new(name).ok());
    let in_state = |name: &str| filter(|f| f.state = Some(name.to_owned()));
    for (filter, expected) in [
        (to_crm.clone(), &all[..]),
        (to_other.clone(), &[]),
        (accepted, &all[..]),
        (waiting.clone(), &[]),
        (of_flow("visit"), &all[..]),
        (of_flow("home"), &[]),
        (in_state("scheduled"), &all[..1]),
        (in_state("dead"), &all[1..]),
        (filter(|f| f.limit = 1), &all[..1]),
    ] {
        let found = ids(&deliveries(&harness, filter.clone()));
        assert_eq!(found, expected, "{filter:?}");
    }
    for (filter, expected) in [(to_crm, &all[1..]), (to_other, &[]), (waiting, &[])] {
        let dead = harness.ids(AdminQuery::DeadLetters(filter.clone()));
        assert_eq!(dead, expected, "{filter:?}");
    }
}

#[test]
fn destination_filter_excludes_other_dead_letters() {
    let harness = AdminHarness::with_deliveries();
    let message = harness.accept_unparsable("{}", "the message is no object");
    let to_crm = filter(|f| f.destination = Some(crm()));
    assert!(harness.ids(AdminQuery::DeadLetters(to_crm)).is_empty());
    let dead_letter = harness.row(AdminQuery::DeadLetters(ListFilter::default()));
    let expected = json!({"id": message, "destination": null, "event": null});
    assert_fields(&dead_letter, &expected);
}

#[test]
fn corrected_body_replaces_event_and_both_are_stored() {
    let harness = AdminHarness::with_deliveries();
    let id = make_dead_letters(&harness, 1)[0];
    let before = harness.row(AdminQuery::Delivery { id });
    let corrected = r#"{"type":"submission.accepted","data":{"corrected":true}}"#;
    harness.row(AdminCommand::RetryDeadLetters(corrected_job(id, corrected)));
    let sent = harness.store.read_with(|read| read.pending_delivery(id));
    assert_eq!(&*sent.unwrap().unwrap().body, corrected);
    harness.record_response(id, 200, "", None);
    let after = harness.row(AdminQuery::Delivery { id });
    assert_eq!(after["corrected"]["data"]["corrected"], true, "{after}");
    for same in ["id", "webhook_id", "body"] {
        assert_eq!(after[same], before[same], "{same}");
    }
}

#[test]
fn discarded_delivery_shows_corrected_body() {
    let harness = AdminHarness::with_deliveries();
    let id = make_dead_letters(&harness, 1)[0];
    let retry = corrected_job(id, r#"{"b":2}"#);
    harness.row(AdminCommand::RetryDeadLetters(retry));
    harness.record_response(id, 422, "still none", Some(RetryDecision::GiveUp));
    let whole = harness.row(AdminQuery::Delivery { id });
    assert_eq!(whole["corrected"], json!({"b": 2}));
    harness.row(AdminCommand::DiscardDeadLetters(one_job(id)));
    let whole = harness.row(AdminQuery::Delivery { id });
    let expected = json!({"state": "discarded", "corrected": {"b": 2}});
    assert_fields(&whole, &expected);
}

#[test]
fn dry_run_counts_expired_messages() {
    let harness = AdminHarness::with_deliveries();
    make_dead_letters(&harness, 3);
    let all = all_jobs(true);
    let catalog = Catalog {
        max_ages: BTreeMap::from([(crm(), Millis::from_secs(3600))]),
        ..Catalog::from(&harness.config)
    };
    let (store, clock) = (harness.store.clone(), harness.clock.clone());
    let handler = AdminHandler::new(store, clock, Reloadable::new(catalog), None);
    let late = || {
        let mut late = json!(null);
        let retry = AdminCommand::RetryDeadLetters(all.clone());
        let outcome = handler.handle(&Principal::Shell, retry.into(), &mut |row| {
            late = row["expired_messages"].clone();
            true
        });
        outcome.map(|()| late).unwrap()
    };
    assert_eq!(late(), 0);
    harness.clock.advance(Millis::from_secs(3600));
    assert_eq!(late(), 3);
    let row = harness.row(AdminCommand::RetryDeadLetters(all.clone()));
    assert_eq!(row["expired_messages"], 0, "a webhook's never expire");
}

#[test]
fn bulk_retry_takes_few_commits() {
    let harness = AdminHarness::with_deliveries();
    let dead_letters = make_dead_letters(&harness, 250);
    let assert_changed = |command: AdminCommand| {
        let before = harness.store.writer_stats().commits;
        assert_eq!(harness.row(command), json!({"changed": 250}));
        let commits = harness.store.writer_stats().commits - before;
        // Two of them are for the entry in the audit log and its outcome.
        assert!(commits <= 5, "{commits} commits for 250 letters");
    };
    assert_changed(AdminCommand::RetryDeadLetters(all_jobs(false)));
    let due = due_deliveries(&harness, START);
    assert_eq!(due, dead_letters, "in the order in which they came");

    for job in &dead_letters {
        harness.record_response(*job, 422, "", Some(RetryDecision::GiveUp));
    }
    assert_changed(AdminCommand::DiscardDeadLetters(all_jobs(false)));
}

#[test]
fn retry_rate_spreads_due_times() {
    let harness = AdminHarness::with_deliveries();
    let dead_letters = make_dead_letters(&harness, 250);
    let rate = Some(Rate::parse("10/s").unwrap());
    let all = select_jobs(ListFilter::default(), false, rate);
    harness.row(AdminCommand::RetryDeadLetters(all));
    // The last two times lie in the later slices.
    for (seconds, count) in [(0, 1), (1, 11), (24, 241), (25, 250)] {
        let due = due_deliveries(&harness, START.plus(Millis::from_secs(seconds)));
        assert_eq!(due, dead_letters[..count], "after {seconds} s");
    }
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
    assert!(!row.to_string().contains("hush"), "only the host: {row}");
    let paused = harness.row(AdminCommand::PauseDestination { name: crm() });
    assert_fields(&paused, &json!({"state": "paused", "paused_at": START}));
    let warnings = || harness.row(AdminQuery::Status)["warnings"].to_string();
    let suggestion = "1 delivery queued: `flowgate destinations resume crm`";
    assert_contains(&warnings(), suggestion);
    let resumed = harness.row(AdminCommand::ResumeDestination { name: crm() });
    assert_eq!(resumed["state"], "ok");
    assert!(!warnings().contains("crm"));
    let name = DestinationName::new("cmr").unwrap();
    let pause = AdminCommand::PauseDestination { name };
    let why = "there is no destination cmr: `flowgate destinations` lists them";
    harness.assert_error(pause, ErrorCode::NotFound, why);
}
