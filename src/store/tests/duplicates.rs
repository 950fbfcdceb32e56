//! Tests of idempotency keys: a copy is a duplicate until its key expires.

use std::sync::mpsc;

use crate::domain::time::Millis;
use crate::store::{AcceptInbound, AcceptOutcome, PurgeCursor};

use super::purge_rounds::{DAY, days, just_under, purge_slice};
use super::support::{START, StoreBench, form, inbound, webhook_form};

/// Default of `retention.message_id_ttl`. Forms that a message may follow are found for the same
/// time.
const MESSAGE_ID_TTL: Millis = days(8);

#[test]
fn concurrent_copies_make_one_submission() {
    let bench = StoreBench::new();
    let (outcome_tx, outcomes) = mpsc::channel();
    for _ in 0..50 {
        let outcome_tx = outcome_tx.clone();
        let inbound = vec![inbound(form("t", "{}"))];
        bench
            .store
            .try_submit(AcceptInbound { inbound }, move |result, _| {
                outcome_tx.send(result.unwrap().remove(0)).unwrap();
            })
            .unwrap();
    }
    drop(outcome_tx);
    let outcomes: Vec<_> = outcomes.iter().collect();
    assert_eq!(outcomes.len(), 50);
    let new = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, AcceptOutcome::New { .. }));
    assert_eq!(new.count(), 1);
    assert_eq!(bench.counts().submissions, 1);
    bench.assert_invariants();
}

#[test]
fn token_is_remembered_across_restart_for_the_idempotency_ttl() {
    let mut bench = StoreBench::new();
    bench.accept_new("t");
    bench = bench.reopen();
    bench.clock.advance(just_under(DAY));
    bench.assert_copy(form("t", "{}"), 1);
    bench.clock.advance(Millis::new(1));
    assert!(bench.is_new(form("t", "{}")));
}

#[test]
fn wall_clock_jump_expires_no_token() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    bench.clock.jump_to(START.plus(days(365)));
    assert!(bench.is_duplicate(form("t", "{}")));
    bench.clock.jump_to(START.minus(DAY));
    assert!(bench.is_duplicate(form("t", "{}")));
}

#[test]
fn only_expired_keys_are_purged_in_slices() {
    let bench = StoreBench::new();
    for token in 0..10 {
        bench.accept_new(&format!("old-{token}"));
    }
    bench.clock.advance(MESSAGE_ID_TTL);
    bench.accept_new("new");
    let mut removed = Vec::new();
    let mut cursor = PurgeCursor::Keys;
    while cursor == PurgeCursor::Keys {
        let purged = bench.execute(purge_slice(cursor, 4));
        removed.push(purged.rows_removed);
        cursor = purged.next.unwrap();
    }
    assert_eq!(removed, [4, 4, 2]);
    assert_eq!(bench.store.writer_stats().keys, 1);
    assert!(bench.is_duplicate(form("new", "{}")));
}

#[test]
fn evicted_keys_are_duplicates_until_they_expire() {
    let bench = StoreBench::with_options(|options| options.max_idempotency_keys = 3);
    for token in 0..20 {
        bench.accept_new(&format!("t{token}"));
    }
    bench.assert_keys_in_memory(..=4);
    for token in 0..20 {
        let token = format!("t{token}");
        assert!(bench.is_duplicate(form(&token, "{}")), "{token}");
    }
    let bench = bench.reopen_with(|options| options.max_idempotency_keys = 3);
    assert!(bench.is_duplicate(form("t0", "{}")));
    bench.clock.advance(DAY);
    assert!(bench.is_new(form("t0", "{}")));
}

#[test]
fn message_of_endpoint_submission_is_late_arrival() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    let message = || webhook_form("t", "wamid.1", r#"{"slot":"9"}"#);
    bench.assert_copy(message(), 1);
    // Meta sends it again.
    bench.assert_copy(message(), 1);
    let late_arrivals = bench.late_arrivals(1);
    let [message] = &late_arrivals[..] else {
        panic!("{late_arrivals:?}")
    };
    assert_eq!(message.message_id.as_ref().unwrap().as_str(), "wamid.1");
    assert_eq!(message.differing_data.as_deref(), Some(r#"{"slot":"9"}"#));
}

#[test]
fn differing_duplicate_is_stored_once() {
    let bench = StoreBench::new();
    bench.accept(form("t", r#"{"a":1,"b":2}"#));
    for data in [r#"{"b":2,"a":1}"#, r#"{"a":2}"#, r#"{"a":2}"#] {
        assert!(bench.is_duplicate(form("t", data)));
    }
    let late_arrivals = bench.late_arrivals(1).into_iter();
    let data: Vec<_> = late_arrivals
        .map(|late_arrival| late_arrival.differing_data)
        .collect();
    assert_eq!(data, [Some(r#"{"a":2}"#.into())]);
}
