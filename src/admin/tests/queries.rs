//! Tests lists: order, filters and paging.

use std::collections::BTreeMap;

use serde_json::json;

use super::support::{
    AdminHarness, START, agent, assert_contains, assert_ends_with, assert_fields,
    assert_unreadable, filter, ids, one_job,
};
use crate::admin::{AdminCommand, AdminQuery, AdminRequest, ErrorCode, ListFilter, SlotFilter};
use crate::domain::access::Principal;
use crate::domain::ids::{FlowName, JobId, LeadId, SubmissionId};
use crate::domain::time::Millis;
use crate::store::tests::corruptions::{CorruptAttempt, CorruptRow};

fn of_state(name: &str) -> ListFilter {
    filter(|f| f.state = Some(name.to_owned()))
}

fn submission_ids(harness: &AdminHarness, filter: ListFilter) -> Vec<u64> {
    harness.ids(AdminQuery::Submissions(filter))
}

#[test]
fn list_is_newest_first_and_limited() {
    let harness = AdminHarness::new();
    harness.accept_many(0..3);
    let all = submission_ids(&harness, ListFilter::default());
    assert_eq!(all, [3, 2, 1], "0 is no limit");
    assert_eq!(submission_ids(&harness, filter(|f| f.limit = 2)), [3, 2]);
}

#[test]
fn list_over_pages_has_each_row_once() {
    let harness = AdminHarness::new();
    let count = u64::try_from(crate::admin::queries::PAGE_ROWS).unwrap() + 1;
    harness.accept_many(0..count);
    let expected: Vec<u64> = (1..=count).rev().collect();
    assert_eq!(submission_ids(&harness, ListFilter::default()), expected);
    let jobs = harness.ids(AdminQuery::Jobs(ListFilter::default()));
    assert_eq!(jobs, expected);
}

#[test]
fn concurrent_inserts_do_not_disturb_list() {
    let harness = AdminHarness::new();
    harness.accept_many(0..510);
    let mut rows = Vec::new();
    let mut extra = 0;
    let all = AdminQuery::Submissions(ListFilter::default());
    let answered = harness
        .handler
        .handle(&Principal::Shell, all.into(), &mut |row| {
            if rows.len() % 100 == 0 {
                harness.accept(&format!("meanwhile {extra}"));
                extra += 1;
            }
            rows.push(row);
            true
        });
    answered.unwrap();
    assert_eq!(ids(&rows), (1..=510).rev().collect::<Vec<u64>>());
}

#[test]
fn list_filters_by_since() {
    let harness = AdminHarness::new();
    harness.accept("old");
    harness.clock.advance(Millis::from_secs(3600));
    harness.accept("new");
    let since = Some(START.plus(Millis::from_secs(1800)));
    assert_eq!(submission_ids(&harness, filter(|f| f.since = since)), [2]);
    let jobs = harness.ids(AdminQuery::Jobs(filter(|f| f.since = since)));
    assert_eq!(jobs, [2]);
}

#[test]
fn list_filters_by_state_flow_and_agent() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", None);
    harness.accept_and_finish("a");
    harness.accept("b");
    let third = harness.accept("c");
    harness.mark_dead(third, "it can't be");
    let of_agent = |name| filter(|f| f.agent = Some(agent(name)));
    let of_flow = |name| filter(|f| f.flow = FlowName::new(name).ok());
    for (query, expected) in [
        (AdminQuery::Submissions(of_state("done")), &[1][..]),
        (AdminQuery::Submissions(of_state("accepted")), &[2]),
        (AdminQuery::Submissions(of_state("dead")), &[3]),
        (AdminQuery::Submissions(of_agent("Ann")), &[1]),
        (AdminQuery::Leads(of_agent("Ann")), &[1]),
        (AdminQuery::Submissions(of_agent("Bob")), &[]),
        (AdminQuery::Submissions(of_flow("visit")), &[3, 2, 1]),
        (AdminQuery::Submissions(of_flow("other")), &[]),
        (AdminQuery::Jobs(of_flow("visit")), &[3, 2, 1]),
        (AdminQuery::DeadLetters(of_flow("visit")), &[3]),
        (AdminQuery::DeadLetters(of_flow("other")), &[]),
    ] {
        assert_eq!(harness.ids(query.clone()), expected, "{query:?}");
    }
}

#[test]
fn unknown_state_error_lists_valid_states() {
    let harness = AdminHarness::new();
    let job_states = "scheduled, running, done, dead, discarded, expired";
    let submission_states = "accepted, done, conflict, dead";
    let wrong = || of_state("finished");
    for (query, known) in [
        (AdminQuery::Submissions(wrong()), submission_states),
        (AdminQuery::Jobs(wrong()), job_states),
        (AdminQuery::Leads(wrong()), "open, closed"),
        (AdminQuery::Bookings(wrong()), "confirmed, cancelled"),
    ] {
        let refusal = harness.error(query);
        assert_eq!(refusal.code, ErrorCode::Invalid);
        assert_ends_with(&refusal.message, &format!("use one of {known}"));
    }
}

#[test]
fn leased_job_is_shown_as_running() {
    let harness = AdminHarness::with_server(vec![JobId::new(2)], BTreeMap::new());
    harness.accept_many(0..2);
    let in_state = |state: &str| harness.ids(AdminQuery::Jobs(of_state(state)));
    assert_eq!(in_state("running"), [2]);
    assert_eq!(in_state("scheduled"), [1]);
    let status = harness.row(AdminQuery::Status);
    let counts = json!({"scheduled": 1, "running": 1, "done": 0, "dead": 0});
    assert_eq!(status["jobs"], counts);
    assert_eq!(status["warnings"][0], "this is a rehearsal");
}

#[test]
fn lead_shows_assignment_candidates() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", Some(1));
    harness.add_agent("Bob", None);
    for token in ["a", "b", "c"] {
        harness.accept_and_finish(token);
    }
    let lead = harness.row(AdminQuery::Lead { id: LeadId::new(3) });
    assert_eq!(lead["agent"], "Bob", "Ann has all she can take: {lead}");
    let candidates = lead["candidates"].as_array().unwrap();
    for (name, outcome) in [("Ann", "full"), ("Bob", "chosen")] {
        let candidate = candidates.iter().find(|one| one["agent"] == name);
        assert_eq!(candidate.unwrap()["outcome"], outcome, "{lead}");
    }
}

#[test]
fn slots_show_taken_count() {
    let harness = AdminHarness::new();
    harness.book("a", "2026-11-24", "10:00");
    let slots = |limit| {
        let filter = SlotFilter {
            days: None,
            calendar: None,
            from: None,
            to: None,
            limit,
        };
        harness.rows(AdminQuery::Slots(filter)).unwrap()
    };
    let shown = slots(4);
    let shown = shown
        .iter()
        .map(|slot| json!([slot["date"], slot["time"], slot["taken"]]));
    let expected = [
        json!(["2026-11-24", "09:00", 0]),
        json!(["2026-11-24", "10:00", 1]),
        json!(["2026-11-24", "11:00", 0]),
        json!(["2026-11-25", "09:00", 0]),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    assert_eq!(slots(0).len(), 6, "a week, and 0 is no limit");
}

#[test]
fn not_found_error_names_list_command() {
    let harness = AdminHarness::new();
    let (id, submission_id, lead_id) = (JobId::new(7), SubmissionId::new(7), LeadId::new(7));
    let submission = AdminQuery::Submission { id: submission_id };
    let retry = AdminCommand::RetryDeadLetters(one_job(id));
    let requests: [(AdminRequest, &str); 5] = [
        (submission.into(), "submissions"),
        (AdminQuery::Job { id }.into(), "jobs"),
        (AdminQuery::DeadLetter { id }.into(), "dead-letters list"),
        (AdminQuery::Lead { id: lead_id }.into(), "leads"),
        (retry.into(), "dead-letters list"),
    ];
    for (request, list) in requests {
        let refusal = harness.error(request);
        assert_eq!(refusal.code, ErrorCode::NotFound);
        assert_ends_with(&refusal.message, &format!("`flowgate {list}` lists them"));
    }
}

#[test]
fn unreadable_row_is_marked_and_hides_no_other() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", Some(2));
    harness.add_agent("Bob", None);
    for token in ["a", "b", "c", "d"] {
        harness.accept_and_finish(token);
    }
    for (table, key) in [
        ("submissions", 2),
        ("jobs", 3),
        ("leads", 4),
        ("agents", 1),
        ("health_events", 1),
    ] {
        harness.execute(CorruptRow { table, key });
    }
    let all = ListFilter::default;
    // The agent of submission 4 comes from the unreadable lead 4. Submission 3 needs the unreadable
    // job 3.
    for (query, ids_shown, ids_unreadable) in [
        (
            AdminQuery::Submissions(all()),
            &[4, 3, 2, 1][..],
            &[4, 3, 2][..],
        ),
        (AdminQuery::Jobs(all()), &[4, 3, 2, 1], &[3]),
        (AdminQuery::Leads(all()), &[4, 3, 2, 1], &[4]),
        (AdminQuery::Agents(all()), &[2, 1], &[1]),
    ] {
        let mut rows = harness.rows(query.clone()).unwrap();
        assert_eq!(ids(&rows), ids_shown, "{query:?}");
        rows.retain(|row| row["state"] == "unreadable");
        assert_eq!(ids(&rows), ids_unreadable, "{query:?}");
    }
    let leads = harness.rows(AdminQuery::Leads(all())).unwrap();
    assert_eq!(leads[3]["agent"], "agent 1, unreadable");
    assert_eq!(leads[2]["agent"], "Bob");
    assert_contains(leads[0]["error"].as_str().unwrap(), "leads");

    let warnings = harness.row(AdminQuery::Status)["warnings"].to_string();
    assert_contains(&warnings, "health_events");
}

#[test]
fn unreadable_attempt_hides_no_other() {
    let harness = AdminHarness::new();
    let job = harness.accept("a");
    harness.record_failure(job, "first");
    harness.mark_dead(job, "second");
    let (table, number) = ("attempts", 1);
    harness.execute(CorruptAttempt { table, job, number });
    let id = job;
    for request in [AdminQuery::Job { id }, AdminQuery::DeadLetter { id }] {
        let history = &harness.row(request)["attempt_history"];
        assert_unreadable(&history[0], &json!({"number": 1}), "table attempts");
        assert_fields(&history[1], &json!({"number": 2, "error": "second"}));
    }
}
