//! Tests requests that change dead letters, agents and bookings.

use serde_json::{Value, json};

use super::support::{AdminHarness, START, agent};
use crate::admin::{AdminRequest, AgentSettings, ErrorCode, JobSelector, ListFilter};
use crate::domain::ids::{BookingId, JobId, LeadId};
use crate::domain::rate_limiter::Rate;
use crate::domain::time::{Millis, Timestamp};

fn all_dead_letters(dry_run: bool) -> JobSelector {
    JobSelector::All {
        filter: ListFilter::default(),
        dry_run,
        rate: None,
    }
}

fn dead_letter_count(harness: &AdminHarness) -> usize {
    harness
        .rows(AdminRequest::DeadLetters(ListFilter::default()))
        .unwrap()
        .len()
}

#[test]
fn dry_run_counts_and_changes_nothing() {
    let harness = AdminHarness::new();
    for token in ["a", "b", "c", "d"] {
        let job = harness.accept(token);
        harness.mark_dead(job, "the flow has gone");
    }
    for request in [
        AdminRequest::RetryDeadLetters(all_dead_letters(true)),
        AdminRequest::DiscardDeadLetters(all_dead_letters(true)),
    ] {
        let row = harness.row(request);
        assert_eq!(row["would_change"], 4);
        let samples = row["samples"].as_array().unwrap();
        assert_eq!(
            samples
                .iter()
                .map(|dead_letter| dead_letter["id"].clone())
                .collect::<Vec<_>>(),
            [4, 3, 2]
        );
    }
    assert_eq!(dead_letter_count(&harness), 4);
    assert_eq!(
        harness.row(AdminRequest::RetryDeadLetters(all_dead_letters(false))),
        json!({"changed": 4})
    );
    assert_eq!(dead_letter_count(&harness), 0);
}

#[test]
fn limit_selects_newest_dead_letters() {
    let harness = AdminHarness::new();
    for token in ["a", "b", "c"] {
        let job = harness.accept(token);
        harness.mark_dead(job, "the flow has gone");
    }
    let filter = ListFilter {
        limit: 2,
        ..ListFilter::default()
    };
    assert_eq!(
        harness.row(AdminRequest::DiscardDeadLetters(JobSelector::All {
            filter,
            dry_run: false,
            rate: None
        })),
        json!({"changed": 2})
    );
    let left = harness
        .rows(AdminRequest::DeadLetters(ListFilter::default()))
        .unwrap();
    assert_eq!(
        left.iter()
            .map(|dead_letter| dead_letter["id"].clone())
            .collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn retry_rate_is_limited_to_one_week() {
    let harness = AdminHarness::new();
    for token in ["a", "b", "c"] {
        let job = harness.accept(token);
        harness.mark_dead(job, "the flow has gone");
    }
    let at = |rate: Rate, dry_run| {
        AdminRequest::RetryDeadLetters(JobSelector::All {
            filter: ListFilter::default(),
            dry_run,
            rate: Some(rate),
        })
    };
    // The parser accepts no rate this slow. Here it replaces a large number of dead letters.
    let slow = Rate {
        count: 1,
        per: Millis::from_secs(4 * 24 * 60 * 60),
    };
    for dry_run in [true, false] {
        let refusal = harness.error(at(slow, dry_run));
        assert_eq!(refusal.code, ErrorCode::Invalid);
        assert!(
            refusal
                .message
                .contains("3 dead letters at 1/h would take longer than 7 days"),
            "{}",
            refusal.message
        );
    }
    assert_eq!(dead_letter_count(&harness), 3);
    harness.row(at(Rate::parse("1/h").unwrap(), false));
    let due = harness
        .store
        .read_with(|read| read.due_jobs(None, Timestamp::MAX, usize::MAX))
        .unwrap();
    let hours: Vec<u64> = due
        .iter()
        .map(|(at, _)| at.since(START).get() / 3_600_000)
        .collect();
    assert_eq!(
        (hours, due[0].1),
        (vec![0, 1, 2], JobId::new(1)),
        "the oldest first"
    );
}

#[test]
fn corrected_payload_is_stored_beside_original() {
    let harness = AdminHarness::new();
    let job = harness.accept_unparsable("{\"message\":7}", "the message is no object");
    let one = |payload: &str| {
        AdminRequest::RetryDeadLetters(JobSelector::One {
            id: job,
            payload: Some(payload.to_owned()),
        })
    };
    let refusal = harness.error(one("{oops"));
    assert_eq!(refusal.code, ErrorCode::Invalid);
    assert!(
        refusal
            .message
            .starts_with("the payload is not valid JSON: "),
        "{}",
        refusal.message
    );

    assert_eq!(harness.row(one("{\"message\":{}}"))["state"], "scheduled");
    harness.mark_dead(job, "still nothing to be made of it");
    let dead_letter = harness.row(AdminRequest::DeadLetter { id: job });
    assert_eq!(
        (&dead_letter["payload"], &dead_letter["corrected"]),
        (&json!({"message": 7}), &json!({"message": {}}))
    );
}

#[test]
fn submission_job_rejects_payload() {
    let harness = AdminHarness::new();
    let job = harness.accept("a");
    harness.mark_dead(job, "the flow has gone");
    let refusal = harness.error(AdminRequest::RetryDeadLetters(JobSelector::One {
        id: job,
        payload: Some("{}".to_owned()),
    }));
    assert!(
        refusal.message.contains("its fields can't be replaced"),
        "{}",
        refusal.message
    );
    assert_eq!(dead_letter_count(&harness), 1);
}

#[test]
fn discard_of_scheduled_job_names_state() {
    let harness = AdminHarness::new();
    let job = harness.accept("a");
    let refusal = harness.error(AdminRequest::DiscardDeadLetters(JobSelector::One {
        id: job,
        payload: None,
    }));
    assert_eq!(refusal.code, ErrorCode::NotFound);
    assert!(
        refusal
            .message
            .starts_with("job 1 is scheduled, not a dead letter"),
        "{}",
        refusal.message
    );
}

#[test]
fn absent_agent_gets_no_leads() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", None);
    let absent = |from: &str, to: &str| AdminRequest::SetAgentAbsence {
        name: agent("Ann"),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
    };
    let refusal = harness.error(absent("2026-11-25", "2026-11-24"));
    assert!(
        refusal
            .message
            .contains("ends on 2026-11-24, before it begins"),
        "{}",
        refusal.message
    );
    let row = harness.row(absent("2026-11-24", "2026-11-24"));
    assert_eq!(
        row["absences"],
        json!([{"from": "2026-11-24T00:00:00.000Z", "to": "2026-11-25T00:00:00.000Z"}])
    );

    let job = harness.accept("a");
    harness.finish(job);
    assert_eq!(
        harness.row(AdminRequest::Lead { id: LeadId::new(1) })["agent"],
        Value::Null
    );
}

#[test]
fn agent_name_is_unique_and_weight_in_range() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", None);
    let add = |settings| AdminRequest::AddAgent {
        name: agent("Ann"),
        team: super::support::team("sales"),
        settings,
    };
    assert!(
        harness
            .error(add(AgentSettings::default()))
            .message
            .starts_with("agent Ann exists")
    );
    for weight in [0, 1001] {
        let refusal = harness.error(add(AgentSettings {
            weight: Some(weight),
            ..AgentSettings::default()
        }));
        assert_eq!(
            refusal.message,
            format!("the weight must be from 1 to 1000, not {weight}")
        );
    }
    let missing = harness.error(AdminRequest::PauseAgent { name: agent("Bob") });
    assert_eq!(
        missing.message,
        "there is no agent Bob: `flowgate agents` lists them"
    );
}

#[test]
fn lead_closes_once() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", None);
    let job = harness.accept("a");
    harness.finish(job);
    let close = || AdminRequest::CloseLead { id: LeadId::new(1) };
    assert_eq!(harness.row(close())["state"], "closed");
    assert_eq!(harness.error(close()).message, "lead 1 is closed already");
}

#[test]
fn booking_moves_only_to_free_slot() {
    let harness = AdminHarness::new();
    harness.book("a", "2026-11-24", "10:00");
    harness.book("b", "2026-11-24", "11:00");
    let move_to = |time: &str| AdminRequest::MoveBooking {
        id: BookingId::new(1),
        date: "2026-11-24".parse().unwrap(),
        time: time.parse().unwrap(),
    };
    let refusal = harness.error(move_to("11:00"));
    assert!(
        refusal
            .message
            .contains("Nearest free slots: 2026-11-24 09:00, 2026-11-25 09:00"),
        "{}",
        refusal.message
    );
    assert_eq!(
        harness.row(AdminRequest::Booking {
            id: BookingId::new(1)
        })["time"],
        "10:00"
    );
    assert_eq!(harness.row(move_to("09:00"))["time"], "09:00");

    let cancel = || AdminRequest::CancelBooking {
        id: BookingId::new(1),
    };
    assert_eq!(harness.row(cancel())["state"], "cancelled");
    assert_eq!(
        harness.error(cancel()).message,
        "booking 1 is already cancelled"
    );
    assert_eq!(
        harness.error(move_to("10:00")).message,
        "booking 1 is already cancelled"
    );
    let report = harness.rows(AdminRequest::CheckIntegrity).unwrap();
    assert_eq!(report.len(), 1, "nothing found, one summary: {report:?}");
}

#[test]
fn retry_of_discarded_dead_letter_fails() {
    let harness = AdminHarness::new();
    let job = harness.accept("a");
    harness.mark_dead(job, "the flow has gone");
    harness.row(AdminRequest::DiscardDeadLetters(JobSelector::One {
        id: job,
        payload: None,
    }));
    let refusal = harness.error(AdminRequest::RetryDeadLetters(JobSelector::One {
        id: JobId::new(1),
        payload: None,
    }));
    assert!(
        refusal
            .message
            .starts_with("job 1 is discarded, not a dead letter"),
        "{}",
        refusal.message
    );
}
