//! Customers who change their number or id: what is kept of them goes with them, and with nobody else.

use std::collections::{BTreeMap, BTreeSet};

use redb::{Database, ReadableTableMetadata};

use crate::domain::arrival::Form;
use crate::domain::customer_change::CustomerChange;
use crate::domain::draft::Draft;
use crate::domain::event::EventKind;
use crate::domain::ids::{Customer, MessageId, SubmissionId};
use crate::domain::job::JobState;
use crate::domain::routes::{Route, Routes};
use crate::domain::submission::{IdempotencyKey, Submission};
use crate::domain::time::{Millis, Timestamp};
use crate::store::tables::{DRAFTS, RENAMED};
use crate::store::{Accepted, Finish, Finished, KeepDraft, LeadOrder, Receive};

use super::support::{Bench, START, attempt, destination, flow, form, team};

const OLD: &str = "16505551234";
const NEW: &str = "12195555358";
const MINUTE: Millis = Millis::from_secs(60);

fn known(id: Option<&str>, phone: Option<&str>) -> Customer {
    Customer { id: id.map(Box::from), phone: phone.map(Box::from) }
}

/// A form of this customer, by webhook or not, sent now.
fn form_of(bench: &Bench, token: &str, customer: &Customer) -> Form {
    use crate::clock::Clock;
    let form = form(token, "{}");
    let submission =
        Submission { customer: customer.clone(), sent_at: Some(bench.clock.now()), ..form.submission.clone() };
    Form { submission, ..form }
}

fn sends(bench: &Bench, token: &str, customer: &Customer) -> SubmissionId {
    let Accepted::New { submission, .. } = bench.accept(form_of(bench, token, customer)) else { panic!("a new one") };
    submission
}

/// Sends a form, whose lead goes to an agent: who that is.
fn agent_of(bench: &Bench, token: &str, customer: &Customer) -> Option<String> {
    let Accepted::New { job, .. } = bench.accept(form_of(bench, token, customer)) else { panic!("a new one") };
    let order = LeadOrder { flow: flow(), team: team(), sticky: true, customer: customer.clone(), chosen: None };
    match bench.store.ask(Finish { job, attempt: attempt(None), lead: Some(order) }).unwrap() {
        Finished::Done { agent, .. } => agent.map(|agent| agent.to_string()),
        other => panic!("{other:?}"),
    }
}

/// Meta tells that `old` is `new` from now on.
fn changes(bench: &Bench, message: &str, old: Customer, new: Customer) {
    use crate::clock::Clock;
    let mut change = CustomerChange::new(old, new).unwrap();
    change.message_key = Some(IdempotencyKey::of_message(&MessageId::new(message).unwrap()));
    change.at = Some(bench.clock.now());
    bench.store.ask(Receive { changes: vec![change], flows: vec![flow()], ..Receive::default() }).unwrap();
}

fn told_now(bench: &Bench, submission: SubmissionId) -> Option<Customer> {
    bench.store.read().unwrap().renamed_customer(submission).unwrap()
}

#[test]
fn a_customer_with_a_new_number_keeps_their_agent() {
    let bench = Bench::new();
    let (old, new) = (known(None, Some(OLD)), known(None, Some(NEW)));
    bench.add_agent("Ann", None);
    let ann = agent_of(&bench, "1", &old);
    bench.add_agent("Bob", None);
    changes(&bench, "wamid.1", old.clone(), new.clone());
    let bench = bench.reopen();
    assert_eq!(agent_of(&bench, "2", &new), ann);
    bench.clock.advance(MINUTE);
    assert_ne!(agent_of(&bench, "3", &old), ann, "whoever has the number now is somebody else");
    bench.check();
}

#[test]
fn a_number_written_in_two_ways_has_one_agent_and_one_new_number() {
    let bench = Bench::new();
    let (long, short) = (known(None, Some("5215512345678")), known(None, Some("525512345678")));
    bench.add_agent("Ann", None);
    let ann = agent_of(&bench, "1", &short);
    bench.add_agent("Bob", None);
    assert_eq!(agent_of(&bench, "2", &long), ann);
    changes(&bench, "wamid.1", long, known(None, Some(NEW)));
    assert_eq!(told_now(&bench, SubmissionId::new(1)), Some(known(None, Some(NEW))));
    assert_eq!(agent_of(&bench, "3", &known(None, Some(NEW))), ann);
}

#[test]
fn a_number_that_is_only_written_in_another_way_leaves_its_draft_as_it_is() {
    let bench = Bench::telling();
    let (long, short) = (known(None, Some("5215512345678")), known(None, Some("525512345678")));
    let key = keep(&bench, &long, r#"{"a":1}"#);
    let sweep = || bench.sweep(100, Millis::from_secs(86_400), Millis::from_secs(86_400), MINUTE);
    sweep();
    assert_eq!(bench.told(), ["draft.abandoned"]);
    changes(&bench, "wamid.1", long, short.clone());
    bench.clock.advance(MINUTE);
    sweep();
    assert_eq!(bench.told(), ["draft.abandoned"], "told once");
    let draft = bench.store.read().unwrap().draft_of(key, &short).unwrap().unwrap();
    assert_eq!(&*draft.data, r#"{"a":1}"#);
}

#[test]
fn an_id_takes_the_place_of_a_number_that_is_not_told() {
    let bench = Bench::new();
    bench.add_agent("Ann", None);
    let ann = agent_of(&bench, "1", &known(Some("US.1"), Some(OLD)));
    bench.add_agent("Bob", None);
    changes(&bench, "wamid.1", known(Some("US.1"), Some(OLD)), known(Some("US.2"), None));
    assert_eq!(agent_of(&bench, "2", &known(Some("US.2"), Some(NEW))), ann);
    let first = SubmissionId::new(1);
    assert_eq!(told_now(&bench, first), Some(known(Some("US.2"), None)), "the old number may be a stranger's");
}

#[test]
fn what_was_sent_before_is_the_new_numbers_and_what_comes_later_from_the_old_one_is_not() {
    let bench = Bench::new();
    let (old, new) = (known(None, Some(OLD)), known(None, Some(NEW)));
    let before = sends(&bench, "1", &old);
    bench.clock.advance(MINUTE);
    changes(&bench, "wamid.1", old.clone(), new.clone());
    bench.clock.advance(MINUTE);
    let after = sends(&bench, "2", &old);
    assert_eq!(told_now(&bench, before), Some(new.clone()));
    assert_eq!(told_now(&bench, after), Some(old.clone()), "a stranger who got the number");
    // Meta sends a message again for days.
    bench.clock.advance(MINUTE);
    changes(&bench, "wamid.1", old.clone(), new);
    assert_eq!(told_now(&bench, after), Some(old));
    let bench = bench.reopen();
    assert_eq!(told_now(&bench, before).unwrap().phone.as_deref(), Some(NEW));
    bench.check();
}

#[test]
fn a_change_of_somebody_unknown_changes_nothing() {
    let bench = Bench::telling();
    let submission = sends(&bench, "1", &known(None, Some("1")));
    changes(&bench, "wamid.1", known(Some("US.1"), Some(OLD)), known(Some("US.2"), Some(NEW)));
    assert_eq!(told_now(&bench, submission), Some(known(None, Some("1"))));
    bench.check();
}

#[test]
fn a_text_that_waits_goes_to_the_new_number_and_an_event_told_later_names_it() {
    let bench = Bench::telling();
    let (old, new) = (known(None, Some(OLD)), known(None, Some(NEW)));
    sends(&bench, "1", &old);
    changes(&bench, "wamid.1", old, new.clone());
    for (id, job, _) in bench.deliveries() {
        assert_eq!(job.state, JobState::Scheduled);
        let outgoing = bench.store.read().unwrap().outgoing_with_customer(id).unwrap().unwrap();
        assert_eq!(outgoing.customer, Some(new.clone()));
    }
    bench.add_agent("Ann", None);
    bench.finish(crate::domain::ids::JobId::new(1));
    let assigned = bench.events().into_iter().find(|event| event.kind == EventKind::LeadAssigned).unwrap();
    assert!(assigned.body.contains(NEW) && !assigned.body.contains(OLD), "{}", assigned.body);
    bench.check();
}

/// What is due for the destination that is told in order.
fn due(bench: &Bench) -> usize {
    bench.store.read().unwrap().lane(&destination("crm"), Timestamp::MAX, 100).unwrap().len()
}

#[test]
fn what_waits_for_its_turn_still_waits_under_the_new_number() {
    let bench = Bench::new();
    let route = Route { to: destination("crm"), events: [EventKind::SubmissionAccepted].into() };
    let ordered = BTreeSet::from([destination("crm")]);
    bench.routes.set(Routes { flows: BTreeMap::from([(flow(), vec![route])]), ordered, ..Routes::default() });
    let (old, new) = (known(None, Some(OLD)), known(None, Some(NEW)));
    sends(&bench, "1", &old);
    sends(&bench, "2", &old);
    changes(&bench, "wamid.1", old, new.clone());
    sends(&bench, "3", &new);
    bench.check();
    let ids: Vec<_> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    for (told, id) in ids.iter().enumerate() {
        assert_eq!(due(&bench), 1, "{told} of three were told");
        bench.note(*id, None, None);
        bench.check();
    }
    assert_eq!(due(&bench), 0);
}

/// The answers so far of this customer, in a form without a token of its own.
fn keep(bench: &Bench, customer: &Customer, data: &str) -> IdempotencyKey {
    let key = IdempotencyKey::of_draft(&flow(), None, customer).unwrap();
    let draft = Draft {
        flow: flow(),
        flow_token: None,
        customer: customer.clone(),
        screen: "FIRST".into(),
        data: data.into(),
        updated_at: START,
    };
    bench.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap();
    bench.clock.advance(MINUTE);
    key
}

#[test]
fn a_draft_goes_with_its_customer_and_joins_one_that_is_there() {
    let bench = Bench::new();
    let (old, new) = (known(None, Some(OLD)), known(None, Some(NEW)));
    let from = keep(&bench, &old, r#"{"a":1,"b":1}"#);
    let to = keep(&bench, &new, r#"{"b":2}"#);
    changes(&bench, "wamid.1", old.clone(), new.clone());
    let read = bench.store.read().unwrap();
    assert_eq!(read.draft(from).unwrap(), None);
    let draft = read.draft(to).unwrap().unwrap();
    assert_eq!((draft.customer, &*draft.data), (new, r#"{"a":1,"b":2}"#));
}

#[test]
fn a_row_that_cannot_be_read_stays_and_the_rest_of_the_body_goes_through() {
    let bench = Bench::new();
    let (old, new) = (known(None, Some(OLD)), known(None, Some(NEW)));
    bench.add_agent("Ann", None);
    let ann = agent_of(&bench, "1", &old);
    bench.add_agent("Bob", None);
    let key = keep(&bench, &old, "{}");
    bench.store.close().unwrap();
    let database = Database::open(bench.path()).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(DRAFTS).unwrap().insert(key.as_bytes(), b"damaged".as_slice()).unwrap();
    let name = IdempotencyKey::of_former_name("1");
    txn.open_table(RENAMED).unwrap().insert((name.as_bytes(), u64::MAX), b"damaged".as_slice()).unwrap();
    txn.commit().unwrap();
    drop(database);

    let store = super::support::open(bench.path(), &bench.clock, |_| {});
    let bench = Bench { store, ..bench };
    changes(&bench, "wamid.1", old, new.clone());
    assert_eq!(agent_of(&bench, "2", &new), ann);
    sends(&bench, "3", &known(None, Some("1")));
}

#[test]
fn changes_that_no_submission_is_older_than_are_forgotten() {
    let day = Millis::from_secs(24 * 60 * 60);
    for has_submission in [true, false] {
        let bench = Bench::new();
        if has_submission {
            sends(&bench, "1", &known(None, Some(OLD)));
        }
        for number in 0..200 {
            let name = format!("US.{number}");
            changes(&bench, &name, known(Some(&name), None), known(Some("US.new"), None));
        }
        for _ in 0..9 {
            bench.clock.advance(day);
        }
        for _ in 0..100 {
            bench.clock.advance(MINUTE);
            bench.sweep(1000, Millis::from_secs(365 * 24 * 60 * 60), day, day);
        }
        let read = bench.store.read().unwrap();
        let kept = read.reading(|txn| Ok(txn.open_table(RENAMED)?.len()?)).unwrap();
        assert_eq!(kept, if has_submission { 200 } else { 0 });
    }
}
