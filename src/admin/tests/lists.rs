//! Lists: newest first, filtered, and read in pages that nobody notices.

use serde_json::{Value, json};

use super::support::{Office, START, agent, flow};
use crate::admin::{ErrorCode, Filter, Question, Selection};
use crate::domain::ids::{FlowName, JobId, LeadId, SubmissionId};
use crate::domain::time::Millis;
use crate::store::tests::stray::{SpoilAttempt, SpoilRow};

fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

fn newest(office: &Office, filter: Filter) -> Vec<u64> {
    ids(&office.rows(Question::Submissions(filter)).unwrap())
}

#[test]
fn a_list_is_newest_first_and_ends_at_its_limit() {
    let office = Office::new();
    office.accept_many(0..3);
    assert_eq!(newest(&office, Filter::default()), [3, 2, 1], "0 is no limit");
    assert_eq!(newest(&office, Filter { limit: 2, ..Filter::default() }), [3, 2]);
}

#[test]
fn a_list_longer_than_a_page_has_every_row_once() {
    let office = Office::new();
    let count = u64::try_from(crate::admin::lists::PAGE).unwrap() + 1;
    office.accept_many(0..count);
    let expected: Vec<u64> = (1..=count).rev().collect();
    assert_eq!(newest(&office, Filter::default()), expected);
    assert_eq!(ids(&office.rows(Question::Jobs(Filter::default())).unwrap()), expected);
}

#[test]
fn rows_that_come_while_a_list_is_read_do_not_disturb_it() {
    let office = Office::new();
    office.accept_many(0..510);
    let mut rows = Vec::new();
    let mut extra = 0;
    office
        .desk
        .answer(Question::Submissions(Filter::default()), &mut |row| {
            if rows.len() % 100 == 0 {
                office.accept(&format!("meanwhile {extra}"));
                extra += 1;
            }
            rows.push(row);
            true
        })
        .unwrap();
    assert_eq!(ids(&rows), (1..=510).rev().collect::<Vec<u64>>());
}

#[test]
fn a_list_is_cut_at_a_time() {
    let office = Office::new();
    office.accept("old");
    office.clock.advance(Millis::from_secs(3600));
    office.accept("new");
    let since = Some(START.plus(Millis::from_secs(1800)));
    assert_eq!(newest(&office, Filter { since, ..Filter::default() }), [2]);
    let jobs = office.rows(Question::Jobs(Filter { since, ..Filter::default() })).unwrap();
    assert_eq!(ids(&jobs), [2]);
}

#[test]
fn a_list_is_filtered_by_state_flow_and_agent() {
    let office = Office::new();
    office.add_agent("Ann", None);
    let first = office.accept("a");
    office.finish(first);
    office.accept("b");
    let third = office.accept("c");
    office.bury(third, "it can't be");
    let of_state = |state: &str| newest(&office, Filter { state: Some(state.to_owned()), ..Filter::default() });
    assert_eq!((of_state("done"), of_state("accepted"), of_state("dead")), (vec![1], vec![2], vec![3]));
    let ann = Filter { agent: Some(agent("Ann")), ..Filter::default() };
    assert_eq!(newest(&office, ann.clone()), [1]);
    assert_eq!(ids(&office.rows(Question::Leads(ann)).unwrap()), [1]);
    let nobody = Filter { agent: Some(agent("Bob")), ..Filter::default() };
    assert_eq!(newest(&office, nobody), Vec::<u64>::new());

    let of_flow = |name: &str| Filter { flow: Some(FlowName::new(name).unwrap()), ..Filter::default() };
    assert_eq!(newest(&office, of_flow(flow().as_str())), [3, 2, 1]);
    assert_eq!(newest(&office, of_flow("other")), Vec::<u64>::new());
    assert_eq!(ids(&office.rows(Question::Jobs(of_flow("visit"))).unwrap()), [3, 2, 1]);
    assert_eq!(ids(&office.rows(Question::DeadLetters(of_flow("visit"))).unwrap()), [3]);
    assert_eq!(office.rows(Question::DeadLetters(of_flow("other"))).unwrap(), Vec::<Value>::new());
}

#[test]
fn a_state_that_is_none_is_refused_with_those_that_are() {
    let office = Office::new();
    let wrong = || Filter { state: Some("finished".to_owned()), ..Filter::default() };
    for (question, known) in [
        (Question::Submissions(wrong()), "accepted, done, conflict, dead"),
        (Question::Jobs(wrong()), "scheduled, running, done, dead, discarded, expired"),
        (Question::Leads(wrong()), "open, closed"),
        (Question::Bookings(wrong()), "confirmed, cancelled"),
    ] {
        let refusal = office.refusal(question);
        assert_eq!(refusal.code, ErrorCode::Invalid);
        assert!(refusal.message.ends_with(&format!("use one of {known}")), "{}", refusal.message);
    }
}

#[test]
fn a_job_that_a_worker_has_is_shown_as_running() {
    let office = Office::running(vec![JobId::new(2)]);
    office.accept("a");
    office.accept("b");
    let in_state = |state: &str| {
        ids(&office.rows(Question::Jobs(Filter { state: Some(state.to_owned()), ..Filter::default() })).unwrap())
    };
    assert_eq!((in_state("running"), in_state("scheduled")), (vec![2], vec![1]));
    let status = office.row(Question::Status);
    assert_eq!(status["jobs"], json!({"scheduled": 1, "running": 1, "done": 0, "dead": 0}));
    assert_eq!(status["hints"][0], "this is a rehearsal");
}

#[test]
fn a_lead_tells_why_its_agent_has_it() {
    let office = Office::new();
    office.add_agent("Ann", Some(1));
    office.add_agent("Bob", None);
    for token in ["a", "b", "c"] {
        let job = office.accept(token);
        office.finish(job);
    }
    let lead = office.row(Question::Lead { id: LeadId::new(3) });
    assert_eq!(lead["agent"], "Bob", "Ann has all she can take: {lead}");
    let considered = lead["considered"].as_array().unwrap();
    let verdict = |name: &str| considered.iter().find(|one| one["agent"] == name).unwrap()["verdict"].clone();
    assert_eq!((verdict("Ann"), verdict("Bob")), (json!("full"), json!("chosen")), "{lead}");
}

#[test]
fn slots_are_shown_with_what_is_taken() {
    let office = Office::new();
    office.book("a", "2026-11-24", "10:00");
    let slots = |limit| office.rows(Question::Slots { calendar: None, from: None, to: None, limit }).unwrap();
    let shown: Vec<(Value, Value, Value)> =
        slots(4).iter().map(|slot| (slot["date"].clone(), slot["time"].clone(), slot["taken"].clone())).collect();
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
fn what_is_not_there_is_said_with_where_to_look() {
    let office = Office::new();
    for (question, look) in [
        (Question::Submission { id: SubmissionId::new(7) }, "`flowgate submissions` lists them"),
        (Question::Job { id: JobId::new(7) }, "`flowgate jobs` lists them"),
        (Question::DeadLetter { id: JobId::new(7) }, "`flowgate dead list` lists them"),
        (Question::Lead { id: LeadId::new(7) }, "`flowgate leads` lists them"),
        (Question::Retry(Selection::One { id: JobId::new(7), payload: None }), "`flowgate dead list` lists them"),
    ] {
        let refusal = office.refusal(question);
        assert_eq!(refusal.code, ErrorCode::NotFound);
        assert!(refusal.message.ends_with(look), "{}", refusal.message);
    }
}

#[test]
fn a_row_that_can_not_be_read_is_shown_as_that_and_hides_no_other() {
    let office = Office::new();
    office.add_agent("Ann", Some(2));
    office.add_agent("Bob", None);
    for token in ["a", "b", "c", "d"] {
        let job = office.accept(token);
        office.finish(job);
    }
    for (table, key) in [("submissions", 2), ("jobs", 3), ("leads", 4), ("agents", 1), ("health_events", 1)] {
        office.store.ask(SpoilRow { table, key }).unwrap();
    }
    let shown = |question| -> Vec<(Value, bool)> {
        let rows = office.rows(question).unwrap();
        rows.iter().map(|row| (row["id"].clone(), row["state"] == "unreadable")).collect()
    };
    let (well, ill) = (|id: u64| (json!(id), false), |id: u64| (json!(id), true));
    let all = Filter::default;
    // The agent of the fourth is known by its lead alone, and the job of the third by its row.
    assert_eq!(shown(Question::Submissions(all())), [ill(4), ill(3), ill(2), well(1)]);
    assert_eq!(shown(Question::Jobs(all())), [well(4), ill(3), well(2), well(1)]);
    assert_eq!(shown(Question::Leads(all())), [ill(4), well(3), well(2), well(1)]);
    assert_eq!(shown(Question::Agents(all())), [ill(1), well(2)]);
    let leads = office.rows(Question::Leads(all())).unwrap();
    assert_eq!((&leads[3]["agent"], &leads[2]["agent"]), (&json!("agent 1, unreadable"), &json!("Bob")));
    assert!(leads[0]["error"].as_str().unwrap().contains("leads"), "{}", leads[0]);

    let hints = office.row(Question::Status)["hints"].to_string();
    assert!(hints.contains("health_events"), "{hints}");
}

#[test]
fn an_attempt_that_can_not_be_read_hides_neither_its_job_nor_another_attempt() {
    let office = Office::new();
    let job = office.accept("a");
    office.fail(job, "first");
    office.bury(job, "second");
    office.store.ask(SpoilAttempt { table: "attempts", job, number: 1 }).unwrap();
    for question in [Question::Job { id: job }, Question::DeadLetter { id: job }] {
        let whole = office.row(question);
        let [first, second] = [&whole["history"][0], &whole["history"][1]];
        assert_eq!((&first["number"], &first["state"]), (&json!(1), &json!("unreadable")), "{whole}");
        assert!(first["error"].as_str().unwrap().contains("table attempts"), "{first}");
        assert_eq!((&second["number"], &second["error"]), (&json!(2), &json!("second")));
    }
}
