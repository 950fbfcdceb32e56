//! Tests lists: order, filters and paging.

use serde_json::{Value, json};

use super::support::{
    AdminHarness, START, agent, assert_contains, assert_ends_with, assert_fields, filter, ids,
    one_job,
};
use crate::admin::{AdminCommand, AdminQuery, AdminRequest, ErrorCode, ListFilter, SlotFilter};
use crate::domain::ids::{FlowName, JobId, LeadId, SubmissionId};
use crate::domain::time::Millis;
use crate::store::tests::corruptions::{CorruptAttempt, CorruptRow};

fn submission_ids(harness: &AdminHarness, filter: ListFilter) -> Vec<u64> {
    harness.ids(AdminQuery::Submissions(filter))
}

#[test]
fn list_is_newest_first_and_limited() {
    let harness = AdminHarness::new();
    harness.accept_many(0..3);
    assert_eq!(
        submission_ids(&harness, ListFilter::default()),
        [3, 2, 1],
        "0 is no limit"
    );
    assert_eq!(submission_ids(&harness, filter(|f| f.limit = 2)), [3, 2]);
}

#[test]
fn list_over_pages_has_each_row_once() {
    let harness = AdminHarness::new();
    let count = u64::try_from(crate::admin::queries::PAGE_ROWS).unwrap() + 1;
    harness.accept_many(0..count);
    let expected: Vec<u64> = (1..=count).rev().collect();
    assert_eq!(submission_ids(&harness, ListFilter::default()), expected);
    assert_eq!(
        harness.ids(AdminQuery::Jobs(ListFilter::default())),
        expected
    );
}

#[test]
fn concurrent_inserts_do_not_disturb_list() {
    let harness = AdminHarness::new();
    harness.accept_many(0..510);
    let mut rows = Vec::new();
    let mut extra = 0;
    let all = AdminQuery::Submissions(ListFilter::default());
    let answered = harness.handler.handle(all.into(), &mut |row| {
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
    let first = harness.accept("a");
    harness.finish(first);
    harness.accept("b");
    let third = harness.accept("c");
    harness.mark_dead(third, "it can't be");
    let of_state =
        |state: &str| submission_ids(&harness, filter(|f| f.state = Some(state.to_owned())));
    assert_eq!(
        (of_state("done"), of_state("accepted"), of_state("dead")),
        (vec![1], vec![2], vec![3])
    );
    let ann = filter(|f| f.agent = Some(agent("Ann")));
    assert_eq!(submission_ids(&harness, ann.clone()), [1]);
    assert_eq!(harness.ids(AdminQuery::Leads(ann)), [1]);
    let unknown_agent = filter(|f| f.agent = Some(agent("Bob")));
    assert_eq!(submission_ids(&harness, unknown_agent), Vec::<u64>::new());

    let of_flow = |name: &str| filter(|f| f.flow = Some(FlowName::new(name).unwrap()));
    let none = Vec::<u64>::new();
    assert_eq!(submission_ids(&harness, of_flow("visit")), [3, 2, 1]);
    assert_eq!(submission_ids(&harness, of_flow("other")), none);
    assert_eq!(harness.ids(AdminQuery::Jobs(of_flow("visit"))), [3, 2, 1]);
    assert_eq!(harness.ids(AdminQuery::DeadLetters(of_flow("visit"))), [3]);
    assert_eq!(harness.ids(AdminQuery::DeadLetters(of_flow("other"))), none);
}

#[test]
fn unknown_state_error_lists_valid_states() {
    let harness = AdminHarness::new();
    let wrong = || filter(|f| f.state = Some("finished".to_owned()));
    for (request, known) in [
        (
            AdminQuery::Submissions(wrong()),
            "accepted, done, conflict, dead",
        ),
        (
            AdminQuery::Jobs(wrong()),
            "scheduled, running, done, dead, discarded, expired",
        ),
        (AdminQuery::Leads(wrong()), "open, closed"),
        (AdminQuery::Bookings(wrong()), "confirmed, cancelled"),
    ] {
        let refusal = harness.error(request);
        assert_eq!(refusal.code, ErrorCode::Invalid);
        assert_ends_with(&refusal.message, &format!("use one of {known}"));
    }
}

#[test]
fn leased_job_is_shown_as_running() {
    let harness = AdminHarness::with_running_jobs(vec![JobId::new(2)]);
    harness.accept("a");
    harness.accept("b");
    let of_state = |state: &str| filter(|f| f.state = Some(state.to_owned()));
    let in_state = |state: &str| harness.ids(AdminQuery::Jobs(of_state(state)));
    assert_eq!(
        (in_state("running"), in_state("scheduled")),
        (vec![2], vec![1])
    );
    let status = harness.row(AdminQuery::Status);
    assert_eq!(
        status["jobs"],
        json!({"scheduled": 1, "running": 1, "done": 0, "dead": 0})
    );
    assert_eq!(status["warnings"][0], "this is a rehearsal");
}

#[test]
fn lead_shows_assignment_candidates() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", Some(1));
    harness.add_agent("Bob", None);
    for token in ["a", "b", "c"] {
        let job = harness.accept(token);
        harness.finish(job);
    }
    let lead = harness.row(AdminQuery::Lead { id: LeadId::new(3) });
    assert_eq!(lead["agent"], "Bob", "Ann has all she can take: {lead}");
    let candidates = lead["candidates"].as_array().unwrap();
    let verdict =
        |name: &str| candidates.iter().find(|one| one["agent"] == name).unwrap()["outcome"].clone();
    assert_eq!(
        (verdict("Ann"), verdict("Bob")),
        (json!("full"), json!("chosen")),
        "{lead}"
    );
}

#[test]
fn slots_show_taken_count() {
    let harness = AdminHarness::new();
    harness.book("a", "2026-11-24", "10:00");
    let slots = |limit| {
        harness
            .rows(AdminQuery::Slots(SlotFilter {
                calendar: None,
                from: None,
                to: None,
                limit,
            }))
            .unwrap()
    };
    let expected = [
        json!({"date": "2026-11-24", "time": "09:00", "taken": 0}),
        json!({"date": "2026-11-24", "time": "10:00", "taken": 1}),
        json!({"date": "2026-11-24", "time": "11:00", "taken": 0}),
        json!({"date": "2026-11-25", "time": "09:00", "taken": 0}),
    ];
    let shown = slots(4);
    assert_eq!(shown.len(), 4);
    for (slot, expected) in shown.iter().zip(&expected) {
        assert_fields(slot, expected);
    }
    assert_eq!(slots(0).len(), 6, "a week, and 0 is no limit");
}

#[test]
fn not_found_error_names_list_command() {
    let harness = AdminHarness::new();
    let (submission, lead, job) = (SubmissionId::new(7), LeadId::new(7), JobId::new(7));
    let requests: [(AdminRequest, &str); 5] = [
        (
            AdminQuery::Submission { id: submission }.into(),
            "submissions",
        ),
        (AdminQuery::Job { id: job }.into(), "jobs"),
        (
            AdminQuery::DeadLetter { id: job }.into(),
            "dead-letters list",
        ),
        (AdminQuery::Lead { id: lead }.into(), "leads"),
        (
            AdminCommand::RetryDeadLetters(one_job(job)).into(),
            "dead-letters list",
        ),
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
        let job = harness.accept(token);
        harness.finish(job);
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
    let shown = |request: AdminQuery| -> Vec<(Value, bool)> {
        let rows = harness.rows(request).unwrap();
        rows.iter()
            .map(|row| (row["id"].clone(), row["state"] == "unreadable"))
            .collect()
    };
    let (well, ill) = (|id: u64| (json!(id), false), |id: u64| (json!(id), true));
    let all = ListFilter::default;
    // The agent of submission 4 comes from the unreadable lead 4. Submission 3 needs the unreadable
    // job 3.
    assert_eq!(
        shown(AdminQuery::Submissions(all())),
        [ill(4), ill(3), ill(2), well(1)]
    );
    assert_eq!(
        shown(AdminQuery::Jobs(all())),
        [well(4), ill(3), well(2), well(1)]
    );
    assert_eq!(
        shown(AdminQuery::Leads(all())),
        [ill(4), well(3), well(2), well(1)]
    );
    assert_eq!(shown(AdminQuery::Agents(all())), [well(2), ill(1)]);
    let leads = harness.rows(AdminQuery::Leads(all())).unwrap();
    assert_eq!(
        (&leads[3]["agent"], &leads[2]["agent"]),
        (&json!("agent 1, unreadable"), &json!("Bob"))
    );
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
    harness.execute(CorruptAttempt {
        table: "attempts",
        job,
        number: 1,
    });
    for request in [
        AdminQuery::Job { id: job },
        AdminQuery::DeadLetter { id: job },
    ] {
        let whole = harness.row(request);
        let [first, second] = [&whole["attempt_history"][0], &whole["attempt_history"][1]];
        assert_fields(first, &json!({"number": 1, "state": "unreadable"}));
        assert_contains(first["error"].as_str().unwrap(), "table attempts");
        assert_fields(second, &json!({"number": 2, "error": "second"}));
    }
}
