//! Tests requests that change dead letters, agents and bookings.

use serde_json::{Value, json};

use super::support::{
    AdminHarness, START, agent, all_jobs, assert_contains, assert_starts_with, filter, ids,
    one_job, team,
};
use crate::admin::{AdminCommand, AdminQuery, AgentSettings, ErrorCode, JobSelector, ListFilter};
use crate::domain::ids::{BookingId, JobId, LeadId};
use crate::domain::rate_limiter::Rate;
use crate::domain::time::{Millis, Timestamp};

fn dead_letter_count(harness: &AdminHarness) -> usize {
    harness
        .rows(AdminQuery::DeadLetters(ListFilter::default()))
        .unwrap()
        .len()
}

/// Accepts this number of forms and marks their jobs as dead.
fn make_dead_letters(harness: &AdminHarness, count: u64) {
    for number in 0..count {
        let job = harness.accept(&number.to_string());
        harness.mark_dead(job, "the flow has gone");
    }
}

#[test]
fn dry_run_counts_and_changes_nothing() {
    let harness = AdminHarness::new();
    make_dead_letters(&harness, 4);
    for request in [
        AdminCommand::RetryDeadLetters(all_jobs(true)),
        AdminCommand::DiscardDeadLetters(all_jobs(true)),
    ] {
        let row = harness.row(request);
        assert_eq!(row["would_change"], 4);
        assert_eq!(ids(row["samples"].as_array().unwrap()), [4, 3, 2]);
    }
    assert_eq!(dead_letter_count(&harness), 4);
    assert_eq!(
        harness.row(AdminCommand::RetryDeadLetters(all_jobs(false))),
        json!({"changed": 4})
    );
    assert_eq!(dead_letter_count(&harness), 0);
}

#[test]
fn limit_selects_newest_dead_letters() {
    let harness = AdminHarness::new();
    make_dead_letters(&harness, 3);
    let filter = filter(|f| f.limit = 2);
    assert_eq!(
        harness.row(AdminCommand::DiscardDeadLetters(JobSelector::All {
            filter,
            dry_run: false,
            rate: None
        })),
        json!({"changed": 2})
    );
    let left = harness
        .rows(AdminQuery::DeadLetters(ListFilter::default()))
        .unwrap();
    assert_eq!(ids(&left), [1]);
}

#[test]
fn retry_rate_is_limited_to_one_week() {
    let harness = AdminHarness::new();
    make_dead_letters(&harness, 3);
    let at = |rate: Rate, dry_run| {
        AdminCommand::RetryDeadLetters(JobSelector::All {
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
        assert_contains(
            &refusal.message,
            "3 dead letters at 1/h would take longer than 7 days",
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
        AdminCommand::RetryDeadLetters(JobSelector::One {
            id: job,
            payload: Some(payload.to_owned()),
        })
    };
    let refusal = harness.error(one("{oops"));
    assert_eq!(refusal.code, ErrorCode::Invalid);
    assert_starts_with(&refusal.message, "the payload is not valid JSON: ");

    assert_eq!(harness.row(one("{\"message\":{}}"))["state"], "scheduled");
    harness.mark_dead(job, "still nothing to be made of it");
    let dead_letter = harness.row(AdminQuery::DeadLetter { id: job });
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
    let refusal = harness.error(AdminCommand::RetryDeadLetters(JobSelector::One {
        id: job,
        payload: Some("{}".to_owned()),
    }));
    assert_contains(&refusal.message, "its fields can't be replaced");
    assert_eq!(dead_letter_count(&harness), 1);
}

#[test]
fn discard_of_scheduled_job_names_state() {
    let harness = AdminHarness::new();
    let job = harness.accept("a");
    let refusal = harness.error(AdminCommand::DiscardDeadLetters(one_job(job)));
    assert_eq!(refusal.code, ErrorCode::NotFound);
    assert_starts_with(&refusal.message, "job 1 is scheduled, not a dead letter");
}

#[test]
fn absent_agent_gets_no_leads() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", None);
    let absent = |from: &str, to: &str| AdminCommand::SetAgentAbsence {
        name: agent("Ann"),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
    };
    let refusal = harness.error(absent("2026-11-25", "2026-11-24"));
    assert_contains(&refusal.message, "ends on 2026-11-24, before it begins");
    let row = harness.row(absent("2026-11-24", "2026-11-24"));
    assert_eq!(
        row["absences"],
        json!([{"from": "2026-11-24T00:00:00.000Z", "to": "2026-11-25T00:00:00.000Z"}])
    );

    let job = harness.accept("a");
    harness.finish(job);
    assert_eq!(
        harness.row(AdminQuery::Lead { id: LeadId::new(1) })["agent"],
        Value::Null
    );
}

#[test]
fn agent_name_is_unique_and_weight_in_range() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", None);
    let add = |settings| AdminCommand::AddAgent {
        name: agent("Ann"),
        team: team("sales"),
        settings,
    };
    let refusal = harness.error(add(AgentSettings::default()));
    assert_starts_with(&refusal.message, "agent Ann exists");
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
    let missing = harness.error(AdminCommand::PauseAgent { name: agent("Bob") });
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
    let close = || AdminCommand::CloseLead { id: LeadId::new(1) };
    assert_eq!(harness.row(close())["state"], "closed");
    assert_eq!(harness.error(close()).message, "lead 1 is closed already");
}

#[test]
fn booking_moves_only_to_free_slot() {
    let harness = AdminHarness::new();
    harness.book("a", "2026-11-24", "10:00");
    harness.book("b", "2026-11-24", "11:00");
    let move_to = |time: &str| AdminCommand::MoveBooking {
        id: BookingId::new(1),
        date: "2026-11-24".parse().unwrap(),
        time: time.parse().unwrap(),
    };
    let refusal = harness.error(move_to("11:00"));
    assert_contains(
        &refusal.message,
        "Nearest free slots: 2026-11-24 09:00, 2026-11-25 09:00",
    );
    assert_eq!(
        harness.row(AdminQuery::Booking {
            id: BookingId::new(1)
        })["time"],
        "10:00"
    );
    assert_eq!(harness.row(move_to("09:00"))["time"], "09:00");

    let cancel = || AdminCommand::CancelBooking {
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
    let report = harness.rows(AdminQuery::CheckIntegrity).unwrap();
    assert_eq!(report.len(), 1, "nothing found, one summary: {report:?}");
}

#[test]
fn retry_of_discarded_dead_letter_fails() {
    let harness = AdminHarness::new();
    let job = harness.accept("a");
    harness.mark_dead(job, "the flow has gone");
    harness.row(AdminCommand::DiscardDeadLetters(one_job(job)));
    let refusal = harness.error(AdminCommand::RetryDeadLetters(one_job(JobId::new(1))));
    assert_starts_with(&refusal.message, "job 1 is discarded, not a dead letter");
}
