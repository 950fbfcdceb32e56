//! What admins change: dead letters, agents, bookings.

use serde_json::{Value, json};

use super::support::{Office, START, agent};
use crate::admin::{AgentSettings, ErrorCode, Filter, Question, Selection};
use crate::domain::ids::{BookingId, JobId, LeadId};
use crate::domain::pace::Rate;
use crate::domain::time::{Millis, Timestamp};

fn all(dry_run: bool) -> Selection {
    Selection::All { filter: Filter::default(), dry_run, rate: None }
}

fn dead(office: &Office) -> usize {
    office.rows(Question::DeadLetters(Filter::default())).unwrap().len()
}

#[test]
fn a_dry_run_counts_shows_three_and_changes_nothing() {
    let office = Office::new();
    for token in ["a", "b", "c", "d"] {
        let job = office.accept(token);
        office.bury(job, "the flow has gone");
    }
    for question in [Question::Retry(all(true)), Question::Discard(all(true))] {
        let told = office.row(question);
        assert_eq!(told["would_change"], 4);
        let samples = told["samples"].as_array().unwrap();
        assert_eq!(samples.iter().map(|letter| letter["id"].clone()).collect::<Vec<_>>(), [4, 3, 2]);
    }
    assert_eq!(dead(&office), 4);
    assert_eq!(office.row(Question::Retry(all(false))), json!({"changed": 4}));
    assert_eq!(dead(&office), 0);
}

#[test]
fn a_limit_takes_the_newest_dead_letters() {
    let office = Office::new();
    for token in ["a", "b", "c"] {
        let job = office.accept(token);
        office.bury(job, "the flow has gone");
    }
    let filter = Filter { limit: 2, ..Filter::default() };
    assert_eq!(
        office.row(Question::Discard(Selection::All { filter, dry_run: false, rate: None })),
        json!({"changed": 2})
    );
    let left = office.rows(Question::DeadLetters(Filter::default())).unwrap();
    assert_eq!(left.iter().map(|letter| letter["id"].clone()).collect::<Vec<_>>(), [1]);
}

#[test]
fn at_a_rate_they_are_spread_over_a_week_at_the_most() {
    let office = Office::new();
    for token in ["a", "b", "c"] {
        let job = office.accept(token);
        office.bury(job, "the flow has gone");
    }
    let at =
        |rate: Rate, dry_run| Question::Retry(Selection::All { filter: Filter::default(), dry_run, rate: Some(rate) });
    // No such slow rate can be typed: it stands for many more letters.
    let slow = Rate { count: 1, per: Millis::from_secs(4 * 24 * 60 * 60) };
    for dry_run in [true, false] {
        let refusal = office.refusal(at(slow, dry_run));
        assert_eq!(refusal.code, ErrorCode::Invalid);
        assert!(refusal.message.contains("3 dead letters at 1/h would take longer than 7 days"), "{}", refusal.message);
    }
    assert_eq!(dead(&office), 3);
    office.row(at(Rate::parse("1/h").unwrap(), false));
    let due = office.store.look(|read| read.due(None, Timestamp::MAX, usize::MAX)).unwrap();
    let hours: Vec<u64> = due.iter().map(|(at, _)| at.since(START).get() / 3_600_000).collect();
    assert_eq!((hours, due[0].1), (vec![0, 1, 2], JobId::new(1)), "the oldest first");
}

#[test]
fn a_corrected_payload_is_kept_beside_the_original() {
    let office = Office::new();
    let job = office.unreadable("{\"message\":7}", "the message is no object");
    let one = |payload: &str| Question::Retry(Selection::One { id: job, payload: Some(payload.to_owned()) });
    let refusal = office.refusal(one("{oops"));
    assert_eq!(refusal.code, ErrorCode::Invalid);
    assert!(refusal.message.starts_with("the payload is no JSON: "), "{}", refusal.message);

    assert_eq!(office.row(one("{\"message\":{}}"))["state"], "scheduled");
    office.bury(job, "still nothing to be made of it");
    let letter = office.row(Question::DeadLetter { id: job });
    assert_eq!((&letter["payload"], &letter["corrected"]), (&json!({"message": 7}), &json!({"message": {}})));
}

#[test]
fn what_carries_a_submission_takes_no_payload() {
    let office = Office::new();
    let job = office.accept("a");
    office.bury(job, "the flow has gone");
    let refusal = office.refusal(Question::Retry(Selection::One { id: job, payload: Some("{}".to_owned()) }));
    assert!(refusal.message.contains("its fields can't be replaced"), "{}", refusal.message);
    assert_eq!(dead(&office), 1);
}

#[test]
fn a_job_that_is_no_dead_letter_says_what_it_is() {
    let office = Office::new();
    let job = office.accept("a");
    let refusal = office.refusal(Question::Discard(Selection::One { id: job, payload: None }));
    assert_eq!(refusal.code, ErrorCode::NotFound);
    assert!(refusal.message.starts_with("job 1 is scheduled, no dead letter"), "{}", refusal.message);
}

#[test]
fn an_agent_who_is_absent_gets_nothing_until_the_day_they_are_back() {
    let office = Office::new();
    office.add_agent("Ann", None);
    let absent = |from: &str, to: &str| Question::AgentAbsent {
        name: agent("Ann"),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
    };
    let refusal = office.refusal(absent("2026-11-25", "2026-11-24"));
    assert!(refusal.message.contains("ends on 2026-11-24, before it begins"), "{}", refusal.message);
    let told = office.row(absent("2026-11-24", "2026-11-24"));
    assert_eq!(told["absences"], json!([{"from": "2026-11-24T00:00:00.000Z", "to": "2026-11-25T00:00:00.000Z"}]));

    let job = office.accept("a");
    office.finish(job);
    assert_eq!(office.row(Question::Lead { id: LeadId::new(1) })["agent"], Value::Null);
}

#[test]
fn an_agent_is_named_once_and_weighs_something() {
    let office = Office::new();
    office.add_agent("Ann", None);
    let add = |settings| Question::AddAgent { name: agent("Ann"), team: super::support::team("sales"), settings };
    assert!(office.refusal(add(AgentSettings::default())).message.starts_with("there is an agent Ann already"));
    for weight in [0, 1001] {
        let refusal = office.refusal(add(AgentSettings { weight: Some(weight), ..AgentSettings::default() }));
        assert_eq!(refusal.message, format!("a weight is from 1 to 1000, not {weight}"));
    }
    let missing = office.refusal(Question::PauseAgent { name: agent("Bob") });
    assert_eq!(missing.message, "there is no agent Bob: `flowgate agents` lists them");
}

#[test]
fn a_lead_is_closed_once() {
    let office = Office::new();
    office.add_agent("Ann", None);
    let job = office.accept("a");
    office.finish(job);
    let close = || Question::CloseLead { id: LeadId::new(1) };
    assert_eq!(office.row(close())["state"], "closed");
    assert_eq!(office.refusal(close()).message, "lead 1 is closed already");
}

#[test]
fn a_booking_moves_to_a_free_slot_or_stays_where_it_is() {
    let office = Office::new();
    office.book("a", "2026-11-24", "10:00");
    office.book("b", "2026-11-24", "11:00");
    let move_to = |time: &str| Question::MoveBooking {
        id: BookingId::new(1),
        date: "2026-11-24".parse().unwrap(),
        time: time.parse().unwrap(),
    };
    let refusal = office.refusal(move_to("11:00"));
    assert!(refusal.message.contains("Free near it: 2026-11-24 09:00, 2026-11-25 09:00"), "{}", refusal.message);
    assert_eq!(office.row(Question::Booking { id: BookingId::new(1) })["time"], "10:00");
    assert_eq!(office.row(move_to("09:00"))["time"], "09:00");

    let cancel = || Question::CancelBooking { id: BookingId::new(1) };
    assert_eq!(office.row(cancel())["state"], "cancelled");
    assert_eq!(office.refusal(cancel()).message, "booking 1 was cancelled before");
    assert_eq!(office.refusal(move_to("10:00")).message, "booking 1 was cancelled before");
    let report = office.rows(Question::Check).unwrap();
    assert_eq!(report.len(), 1, "nothing found, one summary: {report:?}");
}

#[test]
fn a_dead_letter_that_is_gone_is_told_as_such() {
    let office = Office::new();
    let job = office.accept("a");
    office.bury(job, "the flow has gone");
    office.row(Question::Discard(Selection::One { id: job, payload: None }));
    let refusal = office.refusal(Question::Retry(Selection::One { id: JobId::new(1), payload: None }));
    assert!(refusal.message.starts_with("job 1 is discarded, no dead letter"), "{}", refusal.message);
}
