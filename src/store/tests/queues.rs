//! Deliveries that are told of each customer in order: one at a time, and nobody else waits for them.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Clock;
use crate::current::Current;
use crate::domain::arrival::Form;
use crate::domain::delivery::Exchange;
use crate::domain::event::EventKind;
use crate::domain::ids::{Customer, DestinationName, JobId};
use crate::domain::job::JobState;
use crate::domain::retry::Verdict;
use crate::domain::routes::{Route, Routes};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Accepted, GiveUpDeliveries, JobChanged, NoteDelivery, Revive, StoreOptions};

use super::stray::LoseJob;
use super::support::{Bench, attempt, flow, form, open};

const CRM: &str = "crm";

fn crm() -> DestinationName {
    DestinationName::new(CRM).unwrap()
}

/// Submissions are told to one destination, in order.
fn in_order(options: &mut StoreOptions) {
    let routes = Routes {
        flows: BTreeMap::from([(flow(), vec![Route { to: crm(), events: EventKind::ALL.into() }])]),
        alerts: Vec::new(),
        ordered: BTreeSet::from([crm()]),
    };
    options.routes = Current::new(routes);
}

/// A form of this customer. Returns the delivery that tells of it.
fn sends(bench: &Bench, token: &str, customer: &str) -> JobId {
    let form = form(token, "{}");
    let submission =
        crate::domain::submission::Submission { customer: Customer::from_text(customer), ..form.submission };
    let Accepted::New { job, .. } = bench.accept(Form { submission, ..form }) else { panic!("a new one") };
    JobId::new(job.get() + 1)
}

fn due(bench: &Bench) -> Vec<u64> {
    let lane = bench.store.read().unwrap().lane(&crm(), Timestamp::MAX, 100).unwrap();
    let mut ids: Vec<u64> = lane.into_iter().map(JobId::get).collect();
    ids.sort_unstable();
    ids
}

fn note(bench: &Bench, job: JobId, failed: Option<Verdict>) {
    let attempt = attempt(failed.map(|_| "no"));
    let note = NoteDelivery { job, attempt, exchange: Exchange::default(), failed, disable: None, trace: None };
    bench.store.ask(note).unwrap();
}

#[test]
fn the_next_one_of_a_customer_waits_until_the_one_before_is_over_and_other_customers_do_not() {
    let mut bench = Bench::with(in_order);
    let [ann, more, last] = ["a1", "a2", "a3"].map(|token| sends(&bench, token, "491511111111"));
    let bob = sends(&bench, "b1", "491522222222");
    assert_eq!(due(&bench), [ann.get(), bob.get()]);
    assert_eq!(bench.store.read().unwrap().counts().unwrap().jobs_scheduled, 8, "four forms, four deliveries");

    let later = bench.clock.now().plus(Millis::from_secs(60));
    note(&bench, ann, Some(Verdict::Again { at: later }));
    assert_eq!(due(&bench), [ann.get(), bob.get()], "its retry is still the first");
    bench.store.close().unwrap();
    bench.store = open(bench.path(), &bench.clock, in_order);
    note(&bench, ann, None);
    assert_eq!(due(&bench), [more.get(), bob.get()]);
    note(&bench, more, Some(Verdict::Dead));
    assert_eq!(due(&bench), [last.get(), bob.get()], "a dead letter keeps nobody waiting");

    let revived = bench.store.ask(Revive { job: more, payload: None }).unwrap();
    assert!(matches!(revived, JobChanged::Now(_)));
    assert_eq!(due(&bench), [more.get(), last.get(), bob.get()], "and waits for nobody when it is run again");
    for job in [more, last, bob] {
        note(&bench, job, None);
    }
    assert_eq!(due(&bench), [0; 0]);
    let next = sends(&bench, "a4", "491511111111");
    assert_eq!(due(&bench), [next.get()]);
    bench.check();
}

#[test]
fn those_that_are_given_up_leave_their_queue_and_the_next_one_has_its_turn() {
    let bench = Bench::with(in_order);
    let [first, second, third, last] = ["a1", "a2", "a3", "a4"].map(|token| sends(&bench, token, "491511111111"));
    let bob = sends(&bench, "b1", "491522222222");
    let waiting = || bench.store.read().unwrap().waiting_for(&crm()).unwrap();
    assert_eq!(waiting(), [bob, last, third, second, first]);
    let give_up = |jobs: &[JobId]| bench.store.ask(GiveUpDeliveries { jobs: jobs.to_vec() }).unwrap();
    give_up(&[second]);
    assert_eq!(due(&bench), [first.get(), bob.get()]);
    bench.check();
    give_up(&[first]);
    assert_eq!(due(&bench), [third.get(), bob.get()]);
    bench.check();
    give_up(&waiting());
    assert!(waiting().is_empty() && due(&bench).is_empty());
    bench.check();
    let next = sends(&bench, "a5", "491511111111");
    assert_eq!(due(&bench), [next.get()], "nobody is waited for");
}

#[test]
fn one_that_can_not_be_given_up_holds_up_no_other() {
    let bench = Bench::with(in_order);
    let [lost, other] = [("a1", "491511111111"), ("b1", "491522222222")].map(|(token, to)| sends(&bench, token, to));
    bench.store.ask(LoseJob(lost)).unwrap();
    let given_up = bench.store.ask(GiveUpDeliveries { jobs: vec![lost, other] }).unwrap();
    assert_eq!(given_up, [JobChanged::Unknown, JobChanged::Now(JobState::Discarded)]);
}

#[test]
fn one_that_can_not_be_read_when_its_turn_comes_holds_up_neither_the_one_before_nor_those_behind() {
    let bench = Bench::with(in_order);
    let [first, lost, behind] = ["a1", "a2", "a3"].map(|token| sends(&bench, token, "491511111111"));
    bench.store.ask(LoseJob(lost)).unwrap();
    note(&bench, first, None);
    assert_eq!(due(&bench), [behind.get()]);
}
