//! What is said of flows: kept once, in order, within bounds, and no longer than it may.

use crate::domain::complaint::Complaint;
use crate::domain::draft::Patience;
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::MessageId;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{KeepComplaint, Place, Receive, Sweep};

use super::support::{Bench, START, flow, rows};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn complain(bench: &Bench, error: &str) {
    let complaint = Complaint::new(flow(), None, None, error, "");
    let request = IdempotencyKey::of_message(&MessageId::new(error).unwrap());
    bench.store.ask(KeepComplaint { complaint, request }).unwrap();
}

fn errors(bench: &Bench) -> Vec<String> {
    let complaints = rows::<Complaint>(&bench.store.read().unwrap());
    complaints.into_iter().map(|(_, complaint)| complaint.error.into()).collect()
}

fn event(sent: Option<u64>, value: &str) -> HealthEvent {
    HealthEvent::new(sent.map(Timestamp::from_millis), "ENDPOINT_LATENCY", "17", value)
}

/// Those of the events that were new.
fn receive(bench: &Bench, events: &[HealthEvent]) -> Vec<String> {
    let receive = Receive { events: events.to_vec(), ..Receive::default() };
    bench.store.ask(receive).unwrap().events.into_iter().map(|event| event.value.into()).collect()
}

fn values(bench: &Bench) -> Vec<String> {
    let events = bench.store.read().unwrap().health_events().unwrap();
    events.into_iter().map(|(_, event)| event.unwrap().value.into()).collect()
}

/// Sweeps a whole round.
fn sweep(bench: &Bench, submissions: u64, attempts: u64) {
    let mut from = Some(Place::Keys);
    while let Some(place) = from {
        let (submissions, attempts) = (Millis::new(submissions), Millis::new(attempts));
        from = bench
            .store
            .ask(Sweep { from: place, most: 2, submissions, attempts, patience: Patience::default() })
            .unwrap()
            .next;
    }
}

#[test]
fn complaints_are_kept_in_order_with_their_time_over_a_restart() {
    let bench = Bench::new();
    complain(&bench, "first");
    bench.clock.advance(Millis::new(5));
    complain(&bench, "second");
    let bench = bench.reopen();
    assert_eq!(errors(&bench), ["second", "first"]);
    let read = bench.store.read().unwrap();
    assert_eq!(read.list::<Complaint>(Some(2), 9).unwrap()[0].1.as_ref().unwrap().at, START);
    assert_eq!(read.complaints_since(START.plus(Millis::new(1)), 9).unwrap().len(), 1);
    drop(read);
    bench.check();
}

#[test]
fn an_event_that_comes_again_is_kept_once_with_its_batch_or_alone() {
    let bench = Bench::new();
    assert_eq!(receive(&bench, &[event(Some(1), "1"), event(Some(1), "1"), event(Some(1), "2")]), ["1", "2"]);
    let bench = bench.reopen();
    assert_eq!(receive(&bench, &[event(Some(1), "2"), event(Some(2), "2")]), ["2"], "one at another time is another");
    assert_eq!(values(&bench), ["2", "2", "1"]);
    bench.check();
}

#[test]
fn an_event_without_a_time_may_happen_again_once_meta_no_longer_repeats_it() {
    let bench = Bench::new();
    for (day, expected) in [(0, 1), (7, 0), (8, 1)] {
        bench.clock.jump_to(START.plus(Millis::new(day * DAY)));
        assert_eq!(receive(&bench, &[event(None, "{}")]).len(), expected, "on day {day}");
        assert_eq!(
            receive(&bench, &[event(Some(1), "{}")]).len(),
            usize::from(day == 0),
            "with its time, on day {day}"
        );
    }
}

#[test]
fn the_oldest_make_room_when_there_are_too_many() {
    let bench = Bench::new();
    let many: Vec<HealthEvent> = (0..10_003).map(|number| event(Some(number), &number.to_string())).collect();
    assert_eq!(receive(&bench, &many).len(), 10_003);
    bench.check();
    assert_eq!(receive(&bench, &many[9_003..]).len(), 0);
    assert_eq!(values(&bench)[..2], ["10002", "10001"]);
}

#[test]
fn a_sweep_takes_both_when_their_time_has_come() {
    let bench = Bench::new();
    for number in 0..5 {
        complain(&bench, &number.to_string());
        receive(&bench, &[event(Some(number), &number.to_string())]);
        bench.clock.advance(Millis::new(DAY));
    }
    sweep(&bench, 90 * DAY, 2 * DAY);
    assert_eq!((errors(&bench).len(), values(&bench).len()), (2, 5));
    sweep(&bench, 3 * DAY, 2 * DAY);
    assert_eq!((errors(&bench).len(), values(&bench).len()), (2, 3));
    bench.check();
}
