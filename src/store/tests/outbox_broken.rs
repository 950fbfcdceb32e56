//! A file in which one thing of the outbox is not as it should be: the check says what.

use redb::{Database, ReadableTable, WriteTransaction};

use crate::domain::retry::Verdict;
use crate::domain::time::Millis;
use crate::store::codec;
use crate::store::tables::{ABANDONED, DELIVERIES, EVENTS, EXCHANGES, JOBS, LANES, Rows, STANDSTILLS};

use super::support::Bench;

/// What the check finds after `harm` was done to a file with an event that two destinations are told: the first delivery
/// has failed once, the second is done.
fn found(harm: impl FnOnce(&WriteTransaction)) -> Vec<&'static str> {
    let bench = Bench::telling();
    bench.accept_new("a");
    let ids: Vec<_> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    let at = super::support::START.plus(Millis::from_secs(60));
    bench.note(ids[0], Some(Verdict::Again { at }), None);
    bench.note(ids[1], None, None);
    bench.check();
    bench.store.close().unwrap();
    let database = Database::open(bench.path()).unwrap();
    let txn = database.begin_write().unwrap();
    harm(&txn);
    txn.commit().unwrap();
    drop(database);
    let store = super::support::open_to_look(bench.path(), &bench.clock);
    crate::store::check(&store).unwrap().findings.into_iter().map(|finding| finding.invariant).collect()
}

fn remove(txn: &WriteTransaction, table: Rows, key: u64) {
    assert!(txn.open_table(table).unwrap().remove(key).unwrap().is_some());
}

/// The numbers of the two deliveries.
const WAITS: u64 = 2;
const DONE: u64 = 3;

#[test]
fn a_whole_file_has_nothing_to_be_found() {
    assert_eq!(found(|_| {}), [""; 0]);
}

#[test]
fn a_delivery_that_waits_outside_of_its_lane_is_found() {
    let in_lane = "a delivery is in its destination's lane exactly while it waits, unless it waits for its turn";
    let lanes = "lanes and queues hold waiting deliveries only";
    let sums = "what figures show is what the rows say";
    let lost = found(|txn| txn.open_table(LANES).unwrap().retain(|_, ()| false).unwrap());
    assert_eq!(lost, [in_lane, sums]);
    let left = found(|txn| {
        txn.open_table(LANES).unwrap().insert(("crm", 5, 99), ()).unwrap();
    });
    assert_eq!(left, [lanes, sums]);
    let elsewhere = found(|txn| {
        let mut table = txn.open_table(LANES).unwrap();
        let (due, id) = {
            let row = table.first().unwrap().unwrap();
            let (_, due, id) = row.0.value();
            (due, id)
        };
        table.remove(("crm", due, id)).unwrap();
        table.insert(("sheet", due, id), ()).unwrap();
    });
    assert_eq!(elsewhere, [in_lane, lanes, sums]);
}

#[test]
fn a_delivery_without_its_job_or_its_event_is_found() {
    assert_eq!(
        found(|txn| remove(txn, DELIVERIES, DONE)),
        ["a job that delivers knows what and to whom", "every answer is that of an attempt to deliver",]
    );
    assert_eq!(
        found(|txn| remove(txn, JOBS, DONE)),
        ["every delivery has its job, and that delivers", "every answer is that of an attempt to deliver",]
    );
    assert_eq!(found(|txn| remove(txn, EVENTS, WAITS)), ["every delivery tells of an event that has it"; 2]);
}

#[test]
fn an_event_that_nobody_is_told_any_more_is_found() {
    let left = found(|txn| {
        let row = txn.open_table(EVENTS).unwrap().get(WAITS).unwrap().unwrap().value().to_vec();
        txn.open_table(EVENTS).unwrap().insert(77, row.as_slice()).unwrap();
    });
    assert_eq!(left, ["an event is kept as long as one of its deliveries"]);
}

#[test]
fn an_answer_to_nothing_is_found() {
    for key in [(WAITS, 2), (WAITS, 0), (1, 1)] {
        let left = found(|txn| {
            let mut table = txn.open_table(EXCHANGES).unwrap();
            let row = table.get((WAITS, 1)).unwrap().unwrap().value().to_vec();
            table.insert(key, row.as_slice()).unwrap();
        });
        assert_eq!(left, ["every answer is that of an attempt to deliver"], "{key:?}");
    }
}

#[test]
fn what_is_kept_of_nothing_is_found() {
    let standstill = found(|txn| {
        let over = codec::encode(&crate::domain::delivery::Standstill::default()).unwrap();
        txn.open_table(STANDSTILLS).unwrap().insert("crm", over.as_slice()).unwrap();
    });
    assert_eq!(standstill, ["what stands against a destination stands against one"]);
    let draft = found(|txn| {
        txn.open_table(ABANDONED).unwrap().insert(&[7; 16], 5).unwrap();
    });
    assert_eq!(draft, ["only of a draft that is there it is noted that it was left"]);
}

#[test]
fn a_row_that_was_altered_is_found() {
    for table in [DELIVERIES, EVENTS] {
        let altered = found(|txn| {
            txn.open_table(table).unwrap().insert(WAITS, [1, 2, 3].as_slice()).unwrap();
        });
        assert!(altered.contains(&"every row can be read"), "{altered:?}");
    }
}
