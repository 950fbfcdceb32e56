//! Tests of the integrity check on files with a single error in the outbox: the check names the
//! error.

use crate::domain::delivery::Suspension;
use crate::domain::ids::JobId;
use crate::domain::time::Timestamp;
use crate::store::check_integrity;
use crate::store::engine::{Rows, TableDef, TableValue, WriteTxn};
use crate::store::rows::schema::{
    ABANDONED_DRAFTS, DELIVERIES, DELIVERIES_DUE, DELIVERY_RESPONSES, EVENTS, JOBS, SUSPENSIONS,
};

use super::support::{StoreBench, open_read_only};

/// Returns the violations that the check finds after `damage` was applied to the file.
///
/// The file has an event with two deliveries. The first delivery failed once, the second is done.
fn violations_after(damage: impl FnOnce(&WriteTxn)) -> Vec<&'static str> {
    let bench = StoreBench::with_subscribers();
    bench.accept_new("a");
    let ids = bench.delivery_ids();
    bench.record_attempt(ids[0], Some(bench.retry_in_a_minute()), None);
    bench.record_attempt(ids[1], None, None);
    bench.assert_invariants();
    bench.edit_file(damage);
    let store = open_read_only(bench.path(), &bench.clock);
    let violations = check_integrity(&store).unwrap().violations.into_iter();
    violations.map(|violation| violation.invariant).collect()
}

fn remove_row<V: TableValue>(txn: &WriteTxn, table: TableDef<JobId, V>, key: JobId) {
    assert!(txn.open(table).unwrap().remove(key).unwrap());
}

/// Job IDs of the two deliveries.
const SCHEDULED: JobId = JobId::new(2);
const DONE: JobId = JobId::new(3);

#[test]
fn intact_outbox_has_no_violation() {
    assert_eq!(violations_after(|_| {}), [""; 0]);
}

#[test]
fn delivery_missing_from_its_schedule_is_reported() {
    let due_while_waiting = "a delivery is in its destination's schedule exactly while it is \
                             scheduled and not in an ordered queue";
    let waiting_only = "delivery schedules and ordered queues hold scheduled deliveries only";
    let sums = "a tally equals the number of its rows";
    let missing = violations_after(|txn| {
        let mut due = txn.open(DELIVERIES_DUE).unwrap();
        due.remove_range(..).unwrap();
    });
    assert_eq!(missing, [due_while_waiting, sums]);
    let surplus = violations_after(|txn| {
        let mut due = txn.open(DELIVERIES_DUE).unwrap();
        due.add(("crm", Timestamp::from_millis(5), JobId::new(99)))
            .unwrap();
    });
    assert_eq!(surplus, [waiting_only, sums]);
    let misplaced = violations_after(|txn| {
        let mut table = txn.open(DELIVERIES_DUE).unwrap();
        let first = table.first().unwrap().map(|row| (row.key().1, row.key().2));
        let (due, id) = first.unwrap();
        table.remove(("crm", due, id)).unwrap();
        table.add(("sheet", due, id)).unwrap();
    });
    assert_eq!(misplaced, [due_while_waiting, waiting_only, sums]);
}

#[test]
fn delivery_without_job_or_event_is_reported() {
    let unattempted = "a delivery response belongs to an attempt of a delivery";
    let violations = violations_after(|txn| remove_row(txn, DELIVERIES, DONE));
    assert_eq!(violations, ["a delivery job has its delivery", unattempted]);
    let violations = violations_after(|txn| remove_row(txn, JOBS, DONE));
    assert_eq!(violations, ["a delivery has its delivery job", unattempted]);
    let violations = violations_after(|txn| remove_row(txn, EVENTS, SCHEDULED));
    assert_eq!(
        violations,
        ["a delivery belongs to the deliveries of its event"; 2]
    );
}

#[test]
fn event_without_delivery_is_reported() {
    let violations = violations_after(|txn| {
        let mut events = txn.open(EVENTS).unwrap();
        let event = events.require(SCHEDULED).unwrap();
        events.put(JobId::new(77), &event).unwrap();
    });
    assert_eq!(violations, ["an event has at least one delivery"]);
}

#[test]
fn response_without_attempt_is_reported() {
    for key in [(SCHEDULED, 2), (SCHEDULED, 0), (JobId::new(1), 1)] {
        let violations = violations_after(|txn| {
            let mut table = txn.open(DELIVERY_RESPONSES).unwrap();
            let response = table.require((SCHEDULED, 1)).unwrap();
            table.put(key, &response).unwrap();
        });
        let expected = ["a delivery response belongs to an attempt of a delivery"];
        assert_eq!(violations, expected, "{key:?}");
    }
}

#[test]
fn orphan_suspension_and_abandoned_mark_are_reported() {
    let suspension = violations_after(|txn| {
        let mut suspensions = txn.open(SUSPENSIONS).unwrap();
        suspensions.put("crm", &Suspension::default()).unwrap();
    });
    assert_eq!(
        suspension,
        ["a suspension is active and names a valid destination"]
    );
    let draft = violations_after(|txn| {
        let mut marks = txn.open(ABANDONED_DRAFTS).unwrap();
        marks.put(&[7; 16], &Timestamp::from_millis(5)).unwrap();
    });
    assert_eq!(draft, ["an abandoned mark has its draft"]);
}

#[test]
fn altered_outbox_row_is_reported() {
    for table in [DELIVERIES.rows_as_bytes(), EVENTS.rows_as_bytes()] {
        let altered = violations_after(|txn| {
            let mut rows = txn.open(table).unwrap();
            rows.put_bytes(SCHEDULED, &[1, 2, 3]).unwrap();
        });
        assert!(altered.contains(&"every row can be read"), "{altered:?}");
    }
}
