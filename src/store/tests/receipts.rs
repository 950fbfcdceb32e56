//! Deliveries whose messages are heard of later: by statuses, by their customer, or not at all.

use std::collections::BTreeSet;

use super::stray::SpoilRow;
use super::support::{Bench, START, attempt, by_webhook, flow, form};
use crate::domain::arrival::Form;
use crate::domain::cloud_error::CloudError;
use crate::domain::delivery::Exchange;
use crate::domain::draft::Patience;
use crate::domain::event::EventKind;
use crate::domain::ids::{Customer, DestinationName, JobId};
use crate::domain::job::{Job, JobState};
use crate::domain::receipt::{Callback, Open, Reached, Receipt, Said, StatusUpdate};
use crate::domain::retry::Verdict;
use crate::domain::routes::{Route, Routes};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{
    BeginDelivery, Finished, HoldDelivery, NoteDelivery, PauseDestination, Place, Queue, Receive, Sweep, Trace, Until,
};

const LOST: CloudError = CloudError { code: 131_026, is_transient: false };
const TROUBLE: CloudError = CloudError { code: 131_016, is_transient: false };
const UNPAID: CloudError = CloudError { code: 131_042, is_transient: false };

fn name(text: &str) -> DestinationName {
    DestinationName::new(text).unwrap()
}

/// A store that tells `wa` of each form, and `ops` of alerts.
fn bench() -> Bench {
    let bench = Bench::with(|options| {
        let route = |to: &str, events: BTreeSet<EventKind>| Route { to: name(to), events };
        let of_flow = route("wa", BTreeSet::from([EventKind::SubmissionAccepted]));
        let alerts = vec![route("ops", EventKind::ALL.into_iter().filter(|kind| kind.is_alert()).collect())];
        options.routes.set(Routes { flows: [(flow(), vec![of_flow])].into(), alerts, ..Routes::default() });
    });
    bench.accept(nobodys("a"));
    bench
}

/// A form that does not say who filled it in.
fn nobodys(token: &str) -> Form {
    let mut form = form(token, "{}");
    form.submission.customer = Customer::default();
    form
}

fn at(seconds: u64) -> Timestamp {
    START.plus(Millis::from_secs(seconds))
}

impl Bench {
    fn lane(&self, to: &str) -> Vec<JobId> {
        self.store.read().unwrap().lane(&name(to), Timestamp::MAX, 100).unwrap()
    }

    fn only(&self) -> JobId {
        let lane = self.lane("wa");
        assert_eq!(lane.len(), 1);
        lane[0]
    }

    fn job(&self, id: JobId) -> Job {
        self.store.read().unwrap().job(id).unwrap().unwrap()
    }

    fn receipt(&self, id: JobId) -> Receipt {
        self.store.read().unwrap().delivery_status(id).unwrap().unwrap_or_default()
    }

    fn begin(&self, id: JobId) {
        let open = Open { attempt: self.job(id).attempts + 1, since: START, until: at(300) };
        assert!(self.store.ask(BeginDelivery { job: id, open }).unwrap());
    }

    fn notes(&self, id: JobId, failed: Option<Verdict>, trace: Trace) -> Finished {
        let (attempt, exchange) = (attempt(failed.map(|_| "no")), Exchange::default());
        let note = NoteDelivery { job: id, attempt, exchange, failed, disable: None, trace: Some(trace) };
        self.store.ask(note).unwrap()
    }

    /// Sent, and taken as `wamid`.
    fn taken(&self, id: JobId, wamid: &str) {
        self.begin(id);
        self.notes(id, None, Trace::Taken(wamid.into()));
    }

    fn hears(&self, wamid: &str, callback: Option<Callback>, said: Said) {
        let statuses = vec![StatusUpdate { wamid: wamid.into(), callback, said, at: Some(START) }];
        self.store.ask(Receive { statuses, ..Receive::default() }).unwrap();
    }

    /// What `check` finds wrong with the tables of messages.
    fn findings(&self) -> Vec<&'static str> {
        let report = crate::store::check(&self.store).unwrap();
        let found = report.findings.into_iter().map(|finding| finding.invariant);
        found
            .filter(|invariant| invariant.contains("message"))
            .filter(|invariant| !invariant.contains("read again"))
            .collect()
    }

    fn callback(&self, job: JobId) -> Callback {
        let delivery = self.store.read().unwrap().delivery(job).unwrap().unwrap();
        Callback { job, message_id: delivery.message_id }
    }
}

#[test]
fn a_status_is_found_by_the_message_or_by_what_it_was_sent_with() {
    let bench = bench();
    let id = bench.only();
    bench.taken(id, "wamid.1");
    assert_eq!(bench.job(id).state, JobState::Done);
    bench.hears("wamid.1", None, Said::Reached(Reached::Sent));
    assert_eq!(bench.receipt(id).reached, Some(Reached::Sent));
    bench.hears("wamid.1", Some(bench.callback(id)), Said::Reached(Reached::Read));
    bench.hears("wamid.1", None, Said::Reached(Reached::Delivered));
    assert_eq!(bench.receipt(id).reached, Some(Reached::Read), "it never goes back");
}

#[test]
fn a_status_of_somebody_elses_message_changes_nothing() {
    let bench = bench();
    let id = bench.only();
    bench.begin(id);
    bench.hears("wamid.9", None, Said::Failed(LOST));
    let other = Callback { message_id: "msg_other".into(), ..bench.callback(id) };
    bench.hears("wamid.9", Some(other), Said::Failed(LOST));
    let gone = Callback { job: JobId::new(999), ..bench.callback(id) };
    bench.hears("wamid.9", Some(gone), Said::Failed(LOST));
    assert_eq!((bench.job(id).state, bench.receipt(id).failed), (JobState::Scheduled, None));
}

#[test]
fn a_status_settles_an_attempt_that_broke_off() {
    let bench = bench();
    let id = bench.only();
    bench.begin(id);
    bench.notes(id, Some(Verdict::Again { at: at(300) }), Trace::Unknown);
    assert_eq!((bench.job(id).due_at, bench.receipt(id).open.map(|open| open.until)), (at(300), Some(at(300))));
    bench.hears("wamid.1", Some(bench.callback(id)), Said::Reached(Reached::Sent));
    let job = bench.job(id);
    assert_eq!((job.state, job.attempts, job.last_error.as_deref()), (JobState::Done, 1, None));
    assert_eq!(job.success.unwrap().number, 1);
    let attempts = bench.store.read().unwrap().attempts(id).unwrap();
    assert!(attempts.into_iter().all(|(_, attempt)| attempt.unwrap().error.is_none()));
    assert!(bench.lane("wa").is_empty());
    assert_eq!((bench.receipt(id).wamid.as_deref(), bench.receipt(id).open), (Some("wamid.1"), None));
}

#[test]
fn a_status_that_is_faster_than_the_answer_counts_the_attempt_once() {
    let bench = bench();
    let id = bench.only();
    bench.begin(id);
    bench.hears("wamid.1", Some(bench.callback(id)), Said::Reached(Reached::Sent));
    assert_eq!((bench.job(id).state, bench.job(id).attempts), (JobState::Done, 1));
    assert_eq!(bench.notes(id, None, Trace::Taken("wamid.1".into())), Finished::AlreadyOver);
    assert_eq!(bench.job(id).attempts, 1);
}

#[test]
fn a_failure_that_is_faster_than_the_answer_stands() {
    let bench = bench();
    let id = bench.only();
    bench.begin(id);
    bench.hears("wamid.1", Some(bench.callback(id)), Said::Failed(TROUBLE));
    assert_eq!((bench.job(id).state, bench.job(id).attempts), (JobState::Scheduled, 1));
    assert_eq!(bench.notes(id, None, Trace::Taken("wamid.1".into())), Finished::AlreadyOver);
    assert_eq!((bench.job(id).state, bench.job(id).attempts), (JobState::Scheduled, 1));
}

#[test]
fn a_message_that_was_lost_is_a_dead_letter_or_is_sent_again_by_its_code() {
    let bench = bench();
    let id = bench.only();
    bench.taken(id, "wamid.1");
    bench.hears("wamid.1", None, Said::Failed(TROUBLE));
    let job = bench.job(id);
    assert_eq!((job.state, job.due_at, job.success), (JobState::Scheduled, at(1), None));
    assert!(job.last_error.unwrap().contains("131016"));
    assert_eq!(bench.lane("wa"), [id]);

    bench.taken(id, "wamid.2");
    bench.hears("wamid.1", Some(bench.callback(id)), Said::Failed(LOST));
    assert_eq!(bench.job(id).state, JobState::Done, "that was the message before");
    bench.hears("wamid.2", None, Said::Failed(LOST));
    assert_eq!(bench.job(id).state, JobState::Dead);
    let letter = bench.store.read().unwrap().dead(id).unwrap().unwrap();
    assert!(letter.reason.contains("131026") && letter.payload.contains("submission.accepted"), "{letter:?}");
    bench.hears("wamid.2", None, Said::Failed(LOST));
    assert_eq!(bench.lane("ops").len(), 1, "one alert");
    assert_eq!(bench.findings(), [""; 0], "the message before is forgotten");
}

#[test]
fn an_account_that_is_stopped_stops_the_destination_once_and_loses_nothing() {
    let bench = bench();
    let first = bench.only();
    bench.taken(first, "wamid.1");
    bench.accept_new("b");
    let second = bench.only();
    bench.taken(second, "wamid.2");
    for wamid in ["wamid.1", "wamid.2"] {
        bench.hears(wamid, None, Said::Failed(UNPAID));
    }
    assert_eq!(bench.lane("wa"), [first, second]);
    let standstill = bench.store.read().unwrap().standstill(&name("wa")).unwrap();
    assert!(standstill.disabled.unwrap().1.contains("131042"));
    let alerts = bench.lane("ops");
    assert_eq!(alerts.len(), 1, "and no dead letter");
    let read = bench.store.read().unwrap();
    let event = read.event(alerts[0]).unwrap().unwrap();
    assert_eq!(event.kind, EventKind::DestinationStopped);
    assert!(event.body.contains(r#""destination":{"name":"wa","reason":"error 131042"#), "{}", event.body);
    drop(read);
    bench.store.ask(PauseDestination { destination: name("wa"), paused: false }).unwrap();
    assert!(bench.store.read().unwrap().standstill(&name("wa")).unwrap().is_over());
}

#[test]
fn a_delivery_waits_for_its_customer_and_is_due_when_they_are_known() {
    let bench = bench();
    let id = bench.only();
    let until = Until::Customer(bench.job(id).submission.unwrap());
    let hold = || bench.store.ask(HoldDelivery { job: id, at: at(3600), until }).unwrap();
    hold();
    assert_eq!((bench.job(id).due_at, bench.job(id).attempts), (at(3600), 0), "no attempt");
    bench.clock.advance(Millis::from_secs(5));
    let mut message = by_webhook("a", "wamid.in", "{}");
    message.submission.customer = Customer::from_text("491511234567");
    bench.accept(message);
    assert_eq!(bench.job(id).due_at, at(5));
    let outgoing = bench.store.read().unwrap().outgoing_with_customer(id).unwrap().unwrap();
    assert_eq!(outgoing.customer.unwrap().phone.as_deref(), Some("491511234567"));
    hold();
    assert_eq!(bench.job(id).due_at, at(5), "one who is known is not waited for");
}

#[test]
fn a_delivery_read_without_its_customer_needs_no_row_of_the_submission() {
    let bench = bench();
    let id = bench.only();
    bench.store.ask(SpoilRow { table: "submissions", key: 1 }).unwrap();
    let read = bench.store.read().unwrap();
    assert!(read.outgoing(id).unwrap().is_some());
    assert!(read.outgoing_with_customer(id).is_err());
}

#[test]
fn what_waits_without_an_attempt_keeps_its_place_over_a_restart() {
    let bench = bench();
    let id = bench.only();
    bench.begin(id);
    bench.store.ask(HoldDelivery { job: id, at: at(300), until: Until::Status }).unwrap();
    let bench = bench.reopen();
    assert_eq!((bench.job(id).due_at, bench.receipt(id).open.map(|open| open.attempt)), (at(300), Some(1)));
}

#[test]
fn a_message_that_was_lost_and_is_sent_again_is_kept_from_its_last_end() {
    let bench = bench();
    let id = bench.only();
    bench.taken(id, "wamid.1");
    let days = |days: u64| Millis::from_secs(days * 24 * 60 * 60);
    bench.clock.advance(days(6));
    bench.hears("wamid.1", None, Said::Failed(TROUBLE));
    bench.taken(id, "wamid.2");
    bench.clock.advance(days(6));
    bench.sweep(100, days(10), days(10), days(1));
    assert_eq!(bench.job(id).state, JobState::Done, "the last end was six days ago");
    bench.clock.advance(days(5));
    bench.sweep(100, days(10), days(10), days(1));
    assert_eq!(bench.store.read().unwrap().job(id).unwrap(), None);
}

#[test]
fn what_is_known_of_a_message_goes_with_its_delivery() {
    let bench = bench();
    let id = bench.only();
    bench.taken(id, "wamid.1");
    let days = |days: u64| Millis::from_secs(days * 24 * 60 * 60);
    bench.clock.advance(days(100));
    bench
        .store
        .ask(Sweep {
            from: Place::Queue(Queue::Jobs),
            most: 100,
            submissions: days(90),
            attempts: days(30),
            patience: Patience::default(),
        })
        .unwrap();
    assert_eq!(bench.store.read().unwrap().delivery_status(id).unwrap(), None);
    bench.hears("wamid.1", None, Said::Failed(LOST));
    assert_eq!((bench.store.read().unwrap().job(id).unwrap(), bench.findings()), (None, Vec::new()));
}
