//! Tests requests that change dead letters, agents and bookings.

use serde_json::{Value, json};

use super::support::{
    AdminHarness, START, agent, all_jobs, corrected_job, filter, ids, one_job, select_jobs, team,
};
use crate::admin::{AdminCommand, AdminQuery, AgentSettings, ErrorCode, ListFilter};
use crate::domain::ids::{BookingId, JobId, LeadId};
use crate::domain::rate_limiter::Rate;
use crate::domain::time::{Millis, Timestamp};

fn dead_letter_count(harness: &AdminHarness) -> usize {
    dead_letter_ids(harness).len()
}

fn dead_letter_ids(harness: &AdminHarness) -> Vec<u64> {
    harness.ids(AdminQuery::DeadLetters(ListFilter::default()))
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
    let newest = select_jobs(filter(|f| f.limit = 2), false, None);
    assert_eq!(
        harness.row(AdminCommand::DiscardDeadLetters(newest)),
        json!({"changed": 2})
    );
    assert_eq!(dead_letter_ids(&harness), [1]);
}

#[test]
fn retry_rate_is_limited_to_one_week() {
    let harness = AdminHarness::new();
    make_dead_letters(&harness, 3);
    let at = |rate: Rate, dry_run| {
        let all = select_jobs(ListFilter::default(), dry_run, Some(rate));
        AdminCommand::RetryDeadLetters(all)
    };
    // The parser accepts no rate this slow. Here it replaces a large number of dead letters.
    let slow = Rate {
        count: 1,
        per: Millis::from_secs(4 * 24 * 60 * 60),
    };
    for dry_run in [true, false] {
        let why = "3 dead letters at 1/h would take longer than 7 days";
        harness.assert_error(at(slow, dry_run), ErrorCode::Invalid, why);
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
    let one = |payload| AdminCommand::RetryDeadLetters(corrected_job(job, payload));
    let why = "the payload is not valid JSON: ";
    harness.assert_error(one("{oops"), ErrorCode::Invalid, why);

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
    let retry = AdminCommand::RetryDeadLetters(corrected_job(job, "{}"));
    harness.assert_error(retry, ErrorCode::Failed, "its fields can't be replaced");
    assert_eq!(dead_letter_count(&harness), 1);
}

#[test]
fn change_of_other_job_names_its_state() {
    let harness = AdminHarness::new();
    let job = harness.accept("a");
    let discard = || AdminCommand::DiscardDeadLetters(one_job(job));
    let why = "job 1 is scheduled, not a dead letter";
    harness.assert_error(discard(), ErrorCode::NotFound, why);
    harness.mark_dead(job, "the flow has gone");
    harness.row(discard());
    let retry = AdminCommand::RetryDeadLetters(one_job(job));
    let why = "job 1 is discarded, not a dead letter";
    harness.assert_error(retry, ErrorCode::NotFound, why);
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
    let why = "ends on 2026-11-24, before it begins";
    harness.assert_error(absent("2026-11-25", "2026-11-24"), ErrorCode::Invalid, why);
    let row = harness.row(absent("2026-11-24", "2026-11-24"));
    assert_eq!(
        row["absences"],
        json!([{"from": "2026-11-24T00:00:00.000Z", "to": "2026-11-25T00:00:00.000Z"}])
    );

    harness.accept_and_finish("a");
    let lead = harness.row(AdminQuery::Lead { id: LeadId::new(1) });
    assert_eq!(lead["agent"], Value::Null);
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
    let again = add(AgentSettings::default());
    harness.assert_error(again, ErrorCode::Failed, "agent Ann exists");
    for weight in [0, 1001] {
        let wrong = add(AgentSettings {
            weight: Some(weight),
            ..AgentSettings::default()
        });
        let why = format!("the weight must be from 1 to 1000, not {weight}");
        harness.assert_error(wrong, ErrorCode::Invalid, &why);
    }
    let pause = AdminCommand::PauseAgent { name: agent("Bob") };
    let why = "there is no agent Bob: `flowgate agents` lists them";
    harness.assert_error(pause, ErrorCode::NotFound, why);
}

#[test]
fn lead_closes_once() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", None);
    harness.accept_and_finish("a");
    let close = || AdminCommand::CloseLead { id: LeadId::new(1) };
    assert_eq!(harness.row(close())["state"], "closed");
    assert_eq!(harness.error(close()).message, "lead 1 is closed already");
}

#[test]
fn booking_moves_only_to_free_slot() {
    let harness = AdminHarness::new();
    harness.book("a", "2026-11-24", "10:00");
    harness.book("b", "2026-11-24", "11:00");
    let id = BookingId::new(1);
    let move_to = |time: &str| AdminCommand::MoveBooking {
        id,
        date: "2026-11-24".parse().unwrap(),
        time: time.parse().unwrap(),
    };
    let why = "Nearest free slots: 2026-11-24 09:00, 2026-11-25 09:00";
    harness.assert_error(move_to("11:00"), ErrorCode::Failed, why);
    assert_eq!(harness.row(AdminQuery::Booking { id })["time"], "10:00");
    assert_eq!(harness.row(move_to("09:00"))["time"], "09:00");

    let cancel = || AdminCommand::CancelBooking { id };
    assert_eq!(harness.row(cancel())["state"], "cancelled");
    for change in [cancel(), move_to("10:00")] {
        harness.assert_error(change, ErrorCode::Failed, "booking 1 is already cancelled");
    }
    let report = harness.rows(AdminQuery::CheckIntegrity).unwrap();
    assert_eq!(report.len(), 1, "nothing found, one summary: {report:?}");
}
