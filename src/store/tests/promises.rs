//! What the store promises when nothing fails.

use std::sync::{Arc, mpsc};

use crate::clock::Clock;
use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::draft::Patience;
use crate::domain::ids::{AgentName, Customer, LeadId, SubmissionId};
use crate::domain::job::JobState;
use crate::domain::lead::{Absence, Lead};
use crate::domain::retry::Verdict;
use crate::domain::time::Millis;
use crate::store::{
    Accept, Accepted, AgentChange, ChangeAgent, Distribute, Fail, Finished, JobChanged, MarkSuspect, Place, Revive,
    StoreError, Suspect, Sweep,
};

use super::support::{Bench, START, attempt, by_webhook, form, open, rows};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);
/// As long as messages are remembered, and with them the forms that they may follow.
const WEEK: Millis = Millis::from_secs(8 * 24 * 60 * 60);

#[test]
fn fifty_copies_of_a_token_in_one_batch_and_in_many_make_one_submission() {
    let bench = Bench::new();
    let (sender, answers) = mpsc::channel();
    for _ in 0..50 {
        let sender = sender.clone();
        let arrivals = vec![Arrival::Form(Box::new(form("t", "{}")))];
        bench
            .store
            .offer(Accept { arrivals }, move |result, _| sender.send(result.unwrap().remove(0)).unwrap())
            .unwrap();
    }
    drop(sender);
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(answers.len(), 50);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Accepted::New { .. })).count(), 1);
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 1);
    bench.check();
}

#[test]
fn a_token_is_remembered_across_a_restart_and_for_a_day() {
    let mut bench = Bench::new();
    bench.accept_new("t");
    bench = bench.reopen();
    bench.clock.advance(Millis::new(DAY.get() - 1));
    assert_eq!(bench.accept(form("t", "{}")), Accepted::Duplicate { of: Some(SubmissionId::new(1)) });
    bench.clock.advance(Millis::new(1));
    assert!(matches!(bench.accept(form("t", "{}")), Accepted::New { .. }));
}

#[test]
fn whoever_has_the_lead_of_a_form_has_its_customer_once_a_message_tells_who_that_is() {
    for message_first in [false, true] {
        let bench = Bench::new();
        for name in ["ann", "bob", "cyd"] {
            bench.add_agent(name, None);
        }
        let nobody = |token: &str| {
            let mut form = form(token, "{}");
            form.submission.customer = Customer::default();
            form
        };
        let finish = |accepted: &Accepted| {
            let Accepted::New { job, .. } = accepted else { panic!("{accepted:?}") };
            match bench.finish(*job) {
                Finished::Done { agent, .. } => agent.unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let first = bench.accept(nobody("one"));
        let told = || bench.accept(by_webhook("one", "wamid.1", "{}"));
        let agent = if message_first {
            told();
            finish(&first)
        } else {
            let agent = finish(&first);
            told();
            agent
        };
        finish(&bench.accept(nobody("two")));
        // The same customer again, known from the beginning or from what follows.
        let again = bench.accept(nobody("three"));
        bench.accept(by_webhook("three", "wamid.3", "{}"));
        assert_eq!(finish(&again), agent, "message first: {message_first}");
        bench.check();
    }
}

#[test]
fn a_lead_stays_with_the_agent_who_has_worked_on_it_for_a_while_and_one_that_waited_is_remembered() {
    let bench = Bench::new();
    let nobody = |token: &str| {
        let mut form = form(token, "{}");
        form.submission.customer = Customer::default();
        form
    };
    let finish = |accepted: &Accepted| {
        let Accepted::New { job, .. } = accepted else { panic!("{accepted:?}") };
        match bench.finish(*job) {
            Finished::Done { agent, .. } => agent,
            other => panic!("{other:?}"),
        }
    };
    // Nobody is there yet: the lead waits, its customer is named meanwhile, and Ann gets it.
    assert_eq!(finish(&bench.accept(nobody("one"))), None);
    bench.accept(by_webhook("one", "wamid.1", "{}"));
    bench.add_agent("ann", None);
    bench.add_agent("bob", None);
    let agent_of = |lead| {
        let read = bench.store.read().unwrap();
        read.lead(LeadId::new(lead)).unwrap().unwrap().agent
    };
    let ann = agent_of(1);
    finish(&bench.accept(nobody("two")));
    finish(&bench.accept(nobody("three")));
    assert_ne!(agent_of(2), ann);
    bench.clock.advance(Millis::from_secs(9 * 60));
    bench.accept(by_webhook("two", "wamid.2", "{}"));
    assert_eq!(agent_of(2), ann, "she knows this customer");
    finish(&bench.accept(nobody("four")));
    let (before, lead) = (agent_of(4), 4);
    assert_ne!(before, ann);
    bench.clock.advance(Millis::from_secs(11 * 60));
    bench.accept(by_webhook("four", "wamid.4", "{}"));
    assert_eq!(agent_of(lead), before, "too late to take it away");
    bench.check();
}

#[test]
fn a_wall_clock_that_jumps_a_year_ahead_forgets_no_token() {
    let bench = Bench::new();
    bench.accept_new("t");
    bench.clock.jump_to(START.plus(Millis::new(DAY.get() * 365)));
    assert!(matches!(bench.accept(form("t", "{}")), Accepted::Duplicate { .. }));
    bench.clock.jump_to(START.minus(DAY));
    assert!(matches!(bench.accept(form("t", "{}")), Accepted::Duplicate { .. }));
}

#[test]
fn expired_tokens_are_swept_in_slices_and_only_those() {
    let bench = Bench::new();
    for token in 0..10 {
        bench.accept_new(&format!("old-{token}"));
    }
    bench.clock.advance(WEEK);
    bench.accept_new("new");
    let sweep = |from| Sweep {
        from,
        most: 4,
        submissions: Millis::new(DAY.get() * 90),
        attempts: DAY,
        patience: Patience::default(),
    };
    let mut removed = Vec::new();
    let mut place = Place::Keys;
    while place == Place::Keys {
        let swept = bench.store.ask(sweep(place)).unwrap();
        removed.push(swept.removed);
        place = swept.next.unwrap();
    }
    assert_eq!(removed, [4, 4, 2]);
    assert_eq!(bench.store.figures().keys, 1);
    assert!(matches!(bench.accept(form("new", "{}")), Accepted::Duplicate { .. }));
}

#[test]
fn keys_past_the_bound_of_memory_are_still_duplicates_and_still_expire() {
    let bench = Bench::with(|options| options.keys_max = 3);
    for token in 0..20 {
        bench.accept_new(&format!("t{token}"));
    }
    assert!(bench.store.figures().keys <= 4, "{:?}", bench.store.figures());
    for token in 0..20 {
        assert!(matches!(bench.accept(form(&format!("t{token}"), "{}")), Accepted::Duplicate { .. }), "t{token}");
    }
    let path = bench.path();
    bench.store.close().unwrap();
    let store = open(path, &bench.clock, |options| options.keys_max = 3);
    let bench = Bench { store, ..bench };
    assert!(matches!(bench.accept(form("t0", "{}")), Accepted::Duplicate { .. }));
    bench.clock.advance(DAY);
    assert!(matches!(bench.accept(form("t0", "{}")), Accepted::New { .. }));
}

#[test]
fn the_same_token_through_both_doors_is_one_submission_that_learns_the_message() {
    let bench = Bench::new();
    bench.accept_new("t");
    let one = Accepted::Duplicate { of: Some(SubmissionId::new(1)) };
    assert_eq!(bench.accept(by_webhook("t", "wamid.1", r#"{"slot":"9"}"#)), one);
    assert_eq!(bench.accept(by_webhook("t", "wamid.1", r#"{"slot":"9"}"#)), one, "Meta sends it again");
    let joins = bench.store.read().unwrap().joins(SubmissionId::new(1)).unwrap();
    assert_eq!(joins.len(), 1);
    assert_eq!(joins[0].message_id.as_ref().unwrap().as_str(), "wamid.1");
    assert_eq!(joins[0].differing.as_deref(), Some(r#"{"slot":"9"}"#));
}

#[test]
fn the_same_token_with_other_answers_is_a_duplicate_whose_difference_is_kept_once() {
    let bench = Bench::new();
    bench.accept(form("t", r#"{"a":1,"b":2}"#));
    for data in [r#"{"b":2,"a":1}"#, r#"{"a":2}"#, r#"{"a":2}"#] {
        assert!(matches!(bench.accept(form("t", data)), Accepted::Duplicate { .. }));
    }
    let joins = bench.store.read().unwrap().joins(SubmissionId::new(1)).unwrap();
    assert_eq!(joins.iter().map(|join| join.differing.as_deref()).collect::<Vec<_>>(), [Some(r#"{"a":2}"#)]);
}

#[test]
fn a_message_that_cannot_be_read_is_a_dead_letter_once_and_becomes_a_submission_when_it_can() {
    let bench = Bench::new();
    let readable = by_webhook("t", "wamid.1", "{}");
    let broken = Arrival::Unreadable(Box::new(Unreadable {
        message_key: readable.message_key,
        elsewhere: Vec::new(),
        join: None,
        reason: "response_json is no JSON".to_owned(),
        payload: "{broken".to_owned(),
    }));
    let accept = || bench.store.ask(Accept { arrivals: vec![broken.clone()] }).unwrap().remove(0);
    let Accepted::DeadLetter { job } = accept() else { panic!("no dead letter") };
    assert_eq!(accept(), Accepted::Duplicate { of: None });
    bench.check();

    let revive = Revive { job, payload: Some("mended".to_owned()) };
    assert_eq!(bench.store.ask(revive).unwrap(), JobChanged::Now(JobState::Scheduled));
    assert_eq!(bench.store.read().unwrap().message(job).unwrap().as_deref(), Some("mended"));
    bench.check();
    let finish = crate::store::FinishMessage { job, attempt: attempt(None), form: Box::new(readable.clone()) };
    let finished = bench.store.ask(finish).unwrap();
    assert_eq!(finished, Finished::Done { submission: Some(SubmissionId::new(1)), lead: None, agent: None });
    assert!(matches!(bench.accept(readable), Accepted::Duplicate { of: Some(_) }));
    bench.check();
}

#[test]
fn a_message_that_can_be_read_is_no_copy_of_its_dead_letter_and_the_letter_is_a_copy_of_it() {
    let bench = Bench::new();
    // No token tells the form from others: its message alone does.
    let form = Form { form_key: None, ..by_webhook("unused", "wamid.1", "{}") };
    let Accepted::DeadLetter { job } = bench.accept_unreadable("wamid.1") else { panic!("no dead letter") };
    let bench = bench.reopen();
    assert_eq!(bench.accept_unreadable("wamid.1"), Accepted::Duplicate { of: None });
    assert!(matches!(bench.accept(form.clone()), Accepted::New { .. }));
    let copy = Accepted::Duplicate { of: Some(SubmissionId::new(1)) };
    assert_eq!(bench.accept(form.clone()), copy);
    assert_eq!(bench.accept_unreadable("wamid.1"), copy);

    bench.store.ask(Revive { job, payload: None }).unwrap();
    let finish = crate::store::FinishMessage { job, attempt: attempt(None), form: Box::new(form) };
    let submission = Some(SubmissionId::new(1));
    assert_eq!(bench.store.ask(finish).unwrap(), Finished::Done { submission, lead: None, agent: None });
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 1);
    bench.check();
}

#[test]
fn a_job_that_fails_is_due_later_then_a_dead_letter_then_runs_again() {
    let bench = Bench::new();
    let job = bench.accept_new("t");
    let at = START.plus(Millis::from_secs(5));
    bench.store.ask(Fail { job, attempt: attempt(Some("no")), verdict: Verdict::Again { at } }).unwrap();
    let read = bench.store.read().unwrap();
    assert_eq!(read.due(None, START, 10).unwrap(), []);
    assert_eq!(read.due(None, at, 10).unwrap(), [(at, job)]);
    bench.store.ask(Fail { job, attempt: attempt(Some("still no")), verdict: Verdict::Dead }).unwrap();
    bench.check();
    let read = bench.store.read().unwrap();
    assert_eq!(read.dead(job).unwrap().unwrap().reason, "still no");
    assert_eq!(read.first_due().unwrap(), None);
    assert_eq!(bench.store.ask(Revive { job, payload: None }).unwrap(), JobChanged::Now(JobState::Scheduled));
    assert!(matches!(bench.finish(job), Finished::Done { .. }));
    assert_eq!(bench.finish(job), Finished::AlreadyOver);
    let attempts = bench.store.read().unwrap().attempts(job).unwrap();
    assert_eq!(
        attempts.iter().map(|(number, a)| (*number, a.as_ref().unwrap().error.is_none())).collect::<Vec<_>>(),
        [(1, false), (2, false), (3, true)]
    );
    bench.check();
}

#[test]
fn a_job_that_takes_the_process_down_three_times_is_buried() {
    let bench = Bench::new();
    let job = bench.accept_new("t");
    for _ in 0..3 {
        assert_eq!(bench.store.ask(MarkSuspect { job }).unwrap(), Suspect::Run);
    }
    assert_eq!(bench.store.ask(MarkSuspect { job }).unwrap(), Suspect::Buried);
    assert_eq!(bench.store.ask(MarkSuspect { job }).unwrap(), Suspect::Over);
    bench.check();
}

#[test]
fn leads_that_nobody_can_take_wait_and_go_to_the_first_who_can_oldest_first() {
    let bench = Bench::new();
    let jobs: Vec<_> = (0..3).map(|n| bench.accept_new(&format!("t{n}"))).collect();
    for job in jobs {
        bench.finish(job);
    }
    assert_eq!(bench.store.read().unwrap().counts().unwrap().leads_unassigned, 3);
    bench.add_agent("ann", Some(2));
    bench.check();
    let leads = rows::<Lead>(&bench.store.read().unwrap());
    let with_agent: Vec<_> = leads.iter().rev().map(|(_, lead)| lead.agent.is_some()).collect();
    assert_eq!(with_agent, [true, true, false]);
}

#[test]
fn a_lead_that_waits_goes_to_an_agent_whose_absence_has_ended() {
    let bench = Bench::new();
    bench.add_agent("ann", None);
    let from = bench.clock.now();
    let to = from.plus(Millis::from_secs(3600));
    let away = AgentChange::Absent(Absence { from, to });
    bench.store.ask(ChangeAgent { name: AgentName::new("ann").unwrap(), change: away }).unwrap();
    let job = bench.accept_new("a");
    bench.finish(job);

    assert_eq!(bench.store.ask(Distribute).unwrap(), 0);
    bench.clock.advance(Millis::from_secs(3600));
    assert_eq!(bench.store.ask(Distribute).unwrap(), 1);
    assert_eq!(bench.store.read().unwrap().counts().unwrap().leads_unassigned, 0);
    bench.check();
}

#[test]
fn a_second_process_on_the_same_file_is_refused_with_a_hint() {
    let bench = Bench::new();
    let options = crate::store::StoreOptions::new(bench.path());
    let second = crate::store::Store::start(options, bench.clock.clone()).unwrap();
    let error = second.wait_open().unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    assert!(error.to_string().starts_with("another flowgate command or server has"), "{error}");
}

#[test]
fn ids_go_on_after_a_restart() {
    let mut bench = Bench::new();
    let first = bench.accept_new("a");
    bench = bench.reopen();
    assert!(bench.accept_new("b") > first);
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_as_it_is() {
    for content in [&b""[..], b"hello", &[0; 8192]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, content).unwrap();
        let clock = Arc::new(crate::clock::ManualClock::at(START));
        let store = crate::store::Store::start(crate::store::StoreOptions::new(path.clone()), clock).unwrap();
        let error = store.wait_open().unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}
