//! Tests lists: order, filters and paging.

use serde_json::{Value, json};

use super::support::{AdminHarness, START, agent, flow};
use crate::admin::{AdminRequest, ErrorCode, JobSelector, ListFilter};
use crate::domain::ids::{FlowName, JobId, LeadId, SubmissionId};
use crate::domain::time::Millis;
use crate::store::tests::corruptions::{CorruptAttempt, CorruptRow};

fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

fn submission_ids(harness: &AdminHarness, filter: ListFilter) -> Vec<u64> {
    ids(&harness.rows(AdminRequest::Submissions(filter)).unwrap())
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
    assert_eq!(
        submission_ids(
            &harness,
            ListFilter {
                limit: 2,
                ..ListFilter::default()
            }
        ),
        [3, 2]
    );
}

#[test]
fn list_over_pages_has_each_row_once() {
    let harness = AdminHarness::new();
    let count = u64::try_from(crate::admin::queries::PAGE_ROWS).unwrap() + 1;
    harness.accept_many(0..count);
    let expected: Vec<u64> = (1..=count).rev().collect();
    assert_eq!(submission_ids(&harness, ListFilter::default()), expected);
    assert_eq!(
        ids(&harness
            .rows(AdminRequest::Jobs(ListFilter::default()))
            .unwrap()),
        expected
    );
}

#[test]
fn concurrent_inserts_do_not_disturb_list() {
    let harness = AdminHarness::new();
    harness.accept_many(0..510);
    let mut rows = Vec::new();
    let mut extra = 0;
    harness
        .handler
        .handle(
            AdminRequest::Submissions(ListFilter::default()),
            &mut |row| {
                if rows.len() % 100 == 0 {
                    harness.accept(&format!("meanwhile {extra}"));
                    extra += 1;
                }
                rows.push(row);
                true
            },
        )
        .unwrap();
    assert_eq!(ids(&rows), (1..=510).rev().collect::<Vec<u64>>());
}

#[test]
fn list_filters_by_since() {
    let harness = AdminHarness::new();
    harness.accept("old");
    harness.clock.advance(Millis::from_secs(3600));
    harness.accept("new");
    let since = Some(START.plus(Millis::from_secs(1800)));
    assert_eq!(
        submission_ids(
            &harness,
            ListFilter {
                since,
                ..ListFilter::default()
            }
        ),
        [2]
    );
    let jobs = harness
        .rows(AdminRequest::Jobs(ListFilter {
            since,
            ..ListFilter::default()
        }))
        .unwrap();
    assert_eq!(ids(&jobs), [2]);
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
    let of_state = |state: &str| {
        submission_ids(
            &harness,
            ListFilter {
                state: Some(state.to_owned()),
                ..ListFilter::default()
            },
        )
    };
    assert_eq!(
        (of_state("done"), of_state("accepted"), of_state("dead")),
        (vec![1], vec![2], vec![3])
    );
    let ann = ListFilter {
        agent: Some(agent("Ann")),
        ..ListFilter::default()
    };
    assert_eq!(submission_ids(&harness, ann.clone()), [1]);
    assert_eq!(ids(&harness.rows(AdminRequest::Leads(ann)).unwrap()), [1]);
    let unknown_agent = ListFilter {
        agent: Some(agent("Bob")),
        ..ListFilter::default()
    };
    assert_eq!(submission_ids(&harness, unknown_agent), Vec::<u64>::new());

    let of_flow = |name: &str| ListFilter {
        flow: Some(FlowName::new(name).unwrap()),
        ..ListFilter::default()
    };
    assert_eq!(
        submission_ids(&harness, of_flow(flow().as_str())),
        [3, 2, 1]
    );
    assert_eq!(
        submission_ids(&harness, of_flow("other")),
        Vec::<u64>::new()
    );
    assert_eq!(
        ids(&harness.rows(AdminRequest::Jobs(of_flow("visit"))).unwrap()),
        [3, 2, 1]
    );
    assert_eq!(
        ids(&harness
            .rows(AdminRequest::DeadLetters(of_flow("visit")))
            .unwrap()),
        [3]
    );
    assert_eq!(
        harness
            .rows(AdminRequest::DeadLetters(of_flow("other")))
            .unwrap(),
        Vec::<Value>::new()
    );
}

#[test]
fn unknown_state_error_lists_valid_states() {
    let harness = AdminHarness::new();
    let wrong = || ListFilter {
        state: Some("finished".to_owned()),
        ..ListFilter::default()
    };
    for (request, known) in [
        (
            AdminRequest::Submissions(wrong()),
            "accepted, done, conflict, dead",
        ),
        (
            AdminRequest::Jobs(wrong()),
            "scheduled, running, done, dead, discarded, expired",
        ),
        (AdminRequest::Leads(wrong()), "open, closed"),
        (AdminRequest::Bookings(wrong()), "confirmed, cancelled"),
    ] {
        let refusal = harness.error(request);
        assert_eq!(refusal.code, ErrorCode::Invalid);
        assert!(
            refusal.message.ends_with(&format!("use one of {known}")),
            "{}",
            refusal.message
        );
    }
}

#[test]
fn leased_job_is_shown_as_running() {
    let harness = AdminHarness::with_running_jobs(vec![JobId::new(2)]);
    harness.accept("a");
    harness.accept("b");
    let in_state = |state: &str| {
        ids(&harness
            .rows(AdminRequest::Jobs(ListFilter {
                state: Some(state.to_owned()),
                ..ListFilter::default()
            }))
            .unwrap())
    };
    assert_eq!(
        (in_state("running"), in_state("scheduled")),
        (vec![2], vec![1])
    );
    let status = harness.row(AdminRequest::Status);
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
    let lead = harness.row(AdminRequest::Lead { id: LeadId::new(3) });
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
            .rows(AdminRequest::Slots {
                calendar: None,
                from: None,
                to: None,
                limit,
            })
            .unwrap()
    };
    let shown: Vec<(Value, Value, Value)> = slots(4)
        .iter()
        .map(|slot| {
            (
                slot["date"].clone(),
                slot["time"].clone(),
                slot["taken"].clone(),
            )
        })
        .collect();
    let slot = |date: &str, time: &str, taken: u32| (json!(date), json!(time), json!(taken));
    assert_eq!(
        shown,
        [
            slot("2026-11-24", "09:00", 0),
            slot("2026-11-24", "10:00", 1),
            slot("2026-11-24", "11:00", 0),
            slot("2026-11-25", "09:00", 0),
        ]
    );
    assert_eq!(slots(0).len(), 6, "a week, and 0 is no limit");
}

#[test]
fn not_found_error_names_list_command() {
    let harness = AdminHarness::new();
    for (request, suggestion) in [
        (
            AdminRequest::Submission {
                id: SubmissionId::new(7),
            },
            "`flowgate submissions` lists them",
        ),
        (
            AdminRequest::Job { id: JobId::new(7) },
            "`flowgate jobs` lists them",
        ),
        (
            AdminRequest::DeadLetter { id: JobId::new(7) },
            "`flowgate dead-letters list` lists them",
        ),
        (
            AdminRequest::Lead { id: LeadId::new(7) },
            "`flowgate leads` lists them",
        ),
        (
            AdminRequest::RetryDeadLetters(JobSelector::One {
                id: JobId::new(7),
                payload: None,
            }),
            "`flowgate dead-letters list` lists them",
        ),
    ] {
        let refusal = harness.error(request);
        assert_eq!(refusal.code, ErrorCode::NotFound);
        assert!(refusal.message.ends_with(suggestion), "{}", refusal.message);
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
        harness
            .store
            .execute_blocking(CorruptRow { table, key })
            .unwrap();
    }
    let shown = |request| -> Vec<(Value, bool)> {
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
        shown(AdminRequest::Submissions(all())),
        [ill(4), ill(3), ill(2), well(1)]
    );
    assert_eq!(
        shown(AdminRequest::Jobs(all())),
        [well(4), ill(3), well(2), well(1)]
    );
    assert_eq!(
        shown(AdminRequest::Leads(all())),
        [ill(4), well(3), well(2), well(1)]
    );
    assert_eq!(shown(AdminRequest::Agents(all())), [ill(1), well(2)]);
    let leads = harness.rows(AdminRequest::Leads(all())).unwrap();
    assert_eq!(
        (&leads[3]["agent"], &leads[2]["agent"]),
        (&json!("agent 1, unreadable"), &json!("Bob"))
    );
    assert!(
        leads[0]["error"].as_str().unwrap().contains("leads"),
        "{}",
        leads[0]
    );

    let warnings = harness.row(AdminRequest::Status)["warnings"].to_string();
    assert!(warnings.contains("health_events"), "{warnings}");
}

#[test]
fn unreadable_attempt_hides_no_other() {
    let harness = AdminHarness::new();
    let job = harness.accept("a");
    harness.record_failure(job, "first");
    harness.mark_dead(job, "second");
    harness
        .store
        .execute_blocking(CorruptAttempt {
            table: "attempts",
            job,
            number: 1,
        })
        .unwrap();
    for request in [
        AdminRequest::Job { id: job },
        AdminRequest::DeadLetter { id: job },
    ] {
        let whole = harness.row(request);
        let [first, second] = [&whole["attempt_history"][0], &whole["attempt_history"][1]];
        assert_eq!(
            (&first["number"], &first["state"]),
            (&json!(1), &json!("unreadable")),
            "{whole}"
        );
        assert!(
            first["error"].as_str().unwrap().contains("table attempts"),
            "{first}"
        );
        assert_eq!(
            (&second["number"], &second["error"]),
            (&json!(2), &json!("second"))
        );
    }
}
