//! Deliveries and destinations, as an operator sees and changes them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::{Office, START};
use crate::admin::{Desk, ErrorCode, Filter, Question, Selection};
use crate::current::Current;
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::pace::Rate;
use crate::domain::retry::Verdict;
use crate::domain::time::Millis;
use crate::intake::Catalog;
use crate::store::tests::stray::{SpoilAttempt, SpoilRow};

fn crm() -> DestinationName {
    DestinationName::new("crm").unwrap()
}

fn deliveries(office: &Office, filter: Filter) -> Vec<Value> {
    office.rows(Question::Deliveries(filter)).unwrap()
}

fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

/// So many forms, the deliveries of all of them dead letters; their numbers.
fn dead_letters(office: &Office, many: u64) -> Vec<JobId> {
    office.accept_many(0..many);
    let mut all: Vec<JobId> = ids(&deliveries(office, Filter::default())).into_iter().map(JobId::new).collect();
    all.reverse();
    for job in &all {
        office.answered(*job, 422, "no such field", Some(Verdict::Dead));
    }
    all
}

#[test]
fn a_delivery_is_shown_with_what_is_sent_and_what_came_back() {
    let office = Office::telling();
    office.accept("a");
    let row = deliveries(&office, Filter::default()).remove(0);
    assert_eq!(row["status"], Value::Null, "nothing was answered yet: {row}");
    let id = JobId::new(row["id"].as_u64().unwrap());
    office.answered(id, 503, "try later", Some(Verdict::Again { at: START.plus(Millis::from_secs(5)) }));
    let row = deliveries(&office, Filter::default()).remove(0);
    assert_eq!(
        (&row["destination"], &row["event"], &row["flow"]),
        (&json!("crm"), &json!("submission.accepted"), &json!("visit"))
    );
    assert_eq!(
        (&row["state"], &row["attempts"], &row["status"], &row["submission_id"], &row["last_error"]),
        (&json!("scheduled"), &json!(1), &json!(503), &json!(1), &json!("answered 503"))
    );
    office.answered(id, 200, "thanks", None);
    let whole = office.row(Question::Delivery { id });
    assert_eq!((&whole["state"], &whole["status"]), (&json!("done"), &json!(200)));
    assert_eq!(whole["body"]["type"], "submission.accepted");
    assert!(whole["webhook_id"].as_str().unwrap().starts_with("msg_"));
    let history: Vec<_> =
        whole["history"].as_array().unwrap().iter().map(|row| (row["status"].clone(), row["answer"].clone())).collect();
    assert_eq!(history, [(json!(503), json!("try later")), (json!(200), json!("thanks"))]);
}

#[test]
fn an_attempt_or_an_answer_that_can_not_be_read_hides_no_other() {
    let office = Office::telling();
    office.accept("a");
    let id = JobId::new(ids(&deliveries(&office, Filter::default()))[0]);
    for answer in ["first", "second", "third"] {
        office.answered(id, 503, answer, Some(Verdict::Again { at: START }));
    }
    office.store.ask(SpoilAttempt { table: "attempts", job: id, number: 1 }).unwrap();
    office.store.ask(SpoilAttempt { table: "exchanges", job: id, number: 2 }).unwrap();
    office.store.ask(SpoilRow { table: "receipts", key: id.get() }).unwrap();
    let whole = office.row(Question::Delivery { id });
    let line = |place: usize| &whole["history"][place];
    assert_eq!((&line(0)["number"], &line(0)["state"]), (&json!(1), &json!("unreadable")), "{whole}");
    assert!(line(0)["error"].as_str().unwrap().contains("table attempts"), "{whole}");
    assert_eq!((&line(1)["error"], &line(1)["answer"]), (&json!("answered 503"), &Value::Null));
    assert!(line(1)["unreadable"].as_str().unwrap().contains("table exchanges"), "{whole}");
    assert_eq!((&line(2)["answer"], line(2).get("unreadable")), (&json!("third"), None));
    let job = office.row(Question::Job { id });
    assert_eq!((&job["history"][1]["number"], &job["message"]["state"]), (&json!(2), &json!("unreadable")));
}

#[test]
fn what_delivers_nothing_is_no_delivery() {
    let office = Office::telling();
    let job = office.accept("a");
    let refusal = office.refusal(Question::Delivery { id: job });
    assert_eq!(refusal.code, ErrorCode::NotFound);
    assert!(refusal.message.contains("`flowgate deliveries`"), "{}", refusal.message);
}

#[test]
fn deliveries_are_filtered_by_destination_event_flow_and_state() {
    let office = Office::telling();
    dead_letters(&office, 2);
    office.accept("later");
    let all = ids(&deliveries(&office, Filter::default()));
    assert_eq!(all.len(), 3);
    let other = DestinationName::new("other").unwrap();
    for (filter, expected) in [
        (Filter { destination: Some(crm()), ..Filter::default() }, &all[..]),
        (Filter { destination: Some(other.clone()), ..Filter::default() }, &[]),
        (Filter { event: Some(EventKind::SubmissionAccepted), ..Filter::default() }, &all[..]),
        (Filter { event: Some(EventKind::LeadWaiting), ..Filter::default() }, &[]),
        (Filter { flow: Some(FlowName::new("visit").unwrap()), ..Filter::default() }, &all[..]),
        (Filter { flow: Some(FlowName::new("home").unwrap()), ..Filter::default() }, &[]),
        (Filter { state: Some("scheduled".to_owned()), ..Filter::default() }, &all[..1]),
        (Filter { state: Some("dead".to_owned()), ..Filter::default() }, &all[1..]),
        (Filter { limit: 1, ..Filter::default() }, &all[..1]),
    ] {
        assert_eq!(ids(&deliveries(&office, filter.clone())), expected, "{filter:?}");
    }
    let dead = |filter| ids(&office.rows(Question::DeadLetters(filter)).unwrap());
    assert_eq!(dead(Filter { destination: Some(crm()), ..Filter::default() }), all[1..]);
    assert_eq!(dead(Filter { destination: Some(other), ..Filter::default() }), Vec::<u64>::new());
    assert_eq!(dead(Filter { event: Some(EventKind::LeadWaiting), ..Filter::default() }), Vec::<u64>::new());
}

#[test]
fn a_filter_for_deliveries_lets_no_other_dead_letter_through() {
    let office = Office::telling();
    let message = office.unreadable("{}", "the message is no object");
    let filter = Filter { destination: Some(crm()), ..Filter::default() };
    assert!(office.rows(Question::DeadLetters(filter)).unwrap().is_empty());
    let letter = office.row(Question::DeadLetters(Filter::default()));
    assert_eq!(
        (&letter["id"], &letter["destination"], &letter["event"]),
        (&json!(message), &Value::Null, &Value::Null)
    );
}

#[test]
fn a_corrected_body_is_sent_in_place_of_the_event_and_both_stay() {
    let office = Office::telling();
    let id = dead_letters(&office, 1)[0];
    let before = office.row(Question::Delivery { id });
    let corrected = r#"{"type":"submission.accepted","data":{"corrected":true}}"#;
    office.row(Question::Retry(Selection::One { id, payload: Some(corrected.to_owned()) }));
    let sent = office.store.read().unwrap().outgoing(id).unwrap().unwrap();
    assert_eq!(&*sent.body, corrected);
    office.answered(id, 200, "", None);
    let after = office.row(Question::Delivery { id });
    assert_eq!(after["corrected"]["data"]["corrected"], true, "also when it is over: {after}");
    for same in ["id", "webhook_id", "body"] {
        assert_eq!(after[same], before[same], "{same}");
    }
}

#[test]
fn what_was_corrected_and_given_up_is_shown_as_it_was_sent() {
    let office = Office::telling();
    let id = dead_letters(&office, 1)[0];
    office.row(Question::Retry(Selection::One { id, payload: Some("{\"b\":2}".to_owned()) }));
    office.answered(id, 422, "still none", Some(Verdict::Dead));
    assert_eq!(office.row(Question::Delivery { id })["corrected"], json!({"b": 2}));
    office.row(Question::Discard(Selection::One { id, payload: None }));
    let whole = office.row(Question::Delivery { id });
    assert_eq!((&whole["state"], &whole["corrected"]), (&json!("discarded"), &json!({"b": 2})));
}

#[test]
fn a_dry_run_tells_how_many_are_messages_to_people_that_come_too_late() {
    let office = Office::telling();
    dead_letters(&office, 3);
    let all = Selection::All { filter: Filter::default(), dry_run: true, rate: None };
    let late = || {
        let expires = BTreeMap::from([(crm(), Millis::from_secs(3600))]);
        let catalog = Catalog { expires, ..Catalog::from(&office.config) };
        let desk = Desk::new(office.store.clone(), office.clock.clone(), Current::new(catalog), None);
        let mut late = json!(null);
        let told = desk.answer(Question::Retry(all.clone()), &mut |row| {
            late = row["expired_messages"].clone();
            true
        });
        told.map(|()| late).unwrap()
    };
    assert_eq!(late(), 0);
    office.clock.advance(Millis::from_secs(3600));
    assert_eq!(late(), 3);
    assert_eq!(office.row(Question::Retry(all.clone()))["expired_messages"], 0, "a webhook's deliveries never expire");
}

#[test]
fn thousands_of_dead_letters_take_few_commits() {
    let office = Office::telling();
    let letters = dead_letters(&office, 250);
    let before = office.store.figures().commits;
    let all = Selection::All { filter: Filter::default(), dry_run: false, rate: None };
    assert_eq!(office.row(Question::Retry(all.clone())), json!({"changed": 250}));
    let commits = office.store.figures().commits - before;
    assert!(commits <= 3, "{commits} commits for 250 letters");
    let due = office.store.look(|read| read.lane(&crm(), START, usize::MAX)).unwrap();
    assert_eq!(due, letters, "in the order in which they came");

    for job in &letters {
        office.answered(*job, 422, "", Some(Verdict::Dead));
    }
    let before = office.store.figures().commits;
    assert_eq!(office.row(Question::Discard(all)), json!({"changed": 250}));
    assert!(office.store.figures().commits - before <= 3);
}

#[test]
fn at_a_rate_dead_letters_are_spread_over_the_schedule() {
    let office = Office::telling();
    let letters = dead_letters(&office, 250);
    let rate = Some(Rate::parse("10/s").unwrap());
    office.row(Question::Retry(Selection::All { filter: Filter::default(), dry_run: false, rate }));
    let due_by = |seconds| {
        let until = START.plus(Millis::from_secs(seconds));
        office.store.look(|read| read.lane(&crm(), until, usize::MAX)).unwrap()
    };
    assert_eq!(due_by(0), letters[..1]);
    assert_eq!(due_by(1), letters[..11]);
    assert_eq!(due_by(24), letters[..241], "over the slices too");
    assert_eq!(due_by(25), letters);
}

#[test]
fn a_paused_destination_is_listed_as_such_until_it_is_resumed() {
    let office = Office::telling();
    office.accept("a");
    let row = office.row(Question::Destinations);
    assert_eq!(
        (&row["name"], &row["state"], &row["host"], &row["waiting"], &row["paused_at"]),
        (&json!("crm"), &json!("ok"), &json!("crm.example"), &json!(1), &Value::Null)
    );
    assert!(!row.to_string().contains("hush"), "only the host of the URL: {row}");
    let paused = office.row(Question::PauseDestination { name: crm() });
    assert_eq!((&paused["state"], &paused["paused_at"]), (&json!("paused"), &json!(START)));
    let hints = office.row(Question::Status)["hints"].to_string();
    assert!(hints.contains("1 delivery waits: `flowgate destinations resume crm`"), "{hints}");
    assert_eq!(office.row(Question::ResumeDestination { name: crm() })["state"], "ok");
    assert!(!office.row(Question::Status)["hints"].to_string().contains("crm"));
    let unknown = office.refusal(Question::PauseDestination { name: DestinationName::new("cmr").unwrap() });
    assert_eq!(unknown.message, "there is no destination cmr: `flowgate destinations` lists them");
}
