//! Tests of the end of deliveries: rows that retention removes, and deliveries that are discarded.

use crate::domain::ids::JobId;
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{IllegalTransition, JobEvent, JobState};
use crate::domain::time::Millis;
use crate::store::engine::Rows;
use crate::store::rows::schema::LAST_ENDS;
use crate::store::{DeadLetterOutcome, DeferOrExpire, DiscardDeadLetter, DiscardDeliveries};

use super::purge_rounds::{DAY, days};
use super::support::{StoreBench, destination};

const MONTH: Millis = days(30);
/// Purges one whole round in slices of one row.
fn purge(bench: &StoreBench) {
    bench.purge(1, MONTH, DAY, DAY);
}

#[test]
fn purge_removes_finished_deliveries_then_their_event() {
    let bench = StoreBench::with_subscribers();
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    let [done, dead, discarded, waits] = bench.delivery_ids().try_into().unwrap();
    bench.record_attempt(done, None, None);
    bench.record_attempt(dead, Some(RetryDecision::GiveUp), None);
    bench.record_attempt(discarded, Some(RetryDecision::GiveUp), None);
    assert_eq!(
        bench.execute(DiscardDeadLetter { job_id: discarded }),
        DeadLetterOutcome::Updated(JobState::Discarded)
    );
    // From here on, no destination is subscribed to dead letters. The two earlier alerts get
    // delivered.
    bench.subscribe(&[], &[]);
    for job in bench.delivery_ids().into_iter().skip(4) {
        bench.record_attempt(job, None, None);
    }
    bench.clock.advance(MONTH);
    purge(&bench);
    assert_eq!(bench.delivery_ids().len(), 6, "not a moment earlier");
    bench.clock.advance(Millis::new(1));
    purge(&bench);
    assert_eq!(
        bench.delivery_ids(),
        [dead, waits],
        "a dead letter stays, and so does what waits"
    );
    assert_eq!(
        bench.event_kinds(),
        ["submission.accepted", "submission.accepted"]
    );
    bench.assert_invariants();
    bench.record_attempt(waits, None, None);
    bench.clock.advance(MONTH);
    bench.clock.advance(DAY);
    purge(&bench);
    assert_eq!(
        bench.event_kinds(),
        ["submission.accepted"],
        "the other delivery of the event completes"
    );
    assert!(bench.read().event(discarded).unwrap().is_none());
    bench.assert_invariants();
}

#[test]
fn only_scheduled_deliveries_can_be_discarded() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &[]);
    for token in ["a", "b", "c"] {
        bench.accept_new(token);
    }
    let [waits, done, dead] = bench.delivery_ids().try_into().unwrap();
    bench.record_attempt(done, None, None);
    bench.record_attempt(dead, Some(RetryDecision::GiveUp), None);
    let processes = JobId::new(waits.get() - 1);
    let discarded = bench.execute(DiscardDeliveries {
        job_ids: vec![waits, done, dead, processes, JobId::new(999)],
    });
    let refused = |state| {
        DeadLetterOutcome::Refused(IllegalTransition {
            state,
            event: JobEvent::DiscardScheduled,
        })
    };
    assert_eq!(
        discarded,
        [
            DeadLetterOutcome::Updated(JobState::Discarded),
            refused(JobState::Done),
            refused(JobState::Dead),
            DeadLetterOutcome::NotFound,
            DeadLetterOutcome::NotFound,
        ]
    );
    assert!(
        bench
            .read()
            .waiting_deliveries(&destination("crm"))
            .unwrap()
            .is_empty()
    );
    bench.assert_invariants();
    // The attempt was in flight when the delivery was discarded. Its result comes too late.
    bench.record_attempt(waits, None, None);
    assert_eq!(bench.job(waits).state, JobState::Discarded);
    bench.clock.advance(MONTH);
    bench.clock.advance(Millis::new(1));
    purge(&bench);
    assert!(
        bench.read().event(waits).unwrap().is_none(),
        "the body is gone"
    );
    assert!(bench.read().event(dead).unwrap().is_some());
    bench.assert_invariants();
}

#[test]
fn failed_responses_are_purged_before_their_delivery() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &[]);
    bench.accept_new("a");
    let job = bench.delivery_ids()[0];
    let stored_numbers = |bench: &StoreBench| {
        let exchanges = bench.read().delivery_responses(job).unwrap();
        exchanges
            .into_iter()
            .map(|(number, _)| number)
            .collect::<Vec<_>>()
    };
    bench.record_attempt(job, Some(bench.retry_in_a_minute()), None);
    bench.record_attempt(job, Some(RetryDecision::GiveUp), None);
    bench.clock.advance(DAY);
    bench.clock.advance(DAY);
    purge(&bench);
    assert_eq!(
        stored_numbers(&bench),
        [1, 2],
        "a dead letter shows why it died"
    );
    bench.retry_dead_letter(job);
    bench.record_attempt(job, None, None);
    bench.clock.advance(DAY);
    purge(&bench);
    assert_eq!(stored_numbers(&bench), [1, 2, 3], "not a moment earlier");
    bench.clock.advance(Millis::new(1));
    purge(&bench);
    assert_eq!(
        stored_numbers(&bench),
        [3],
        "the answer that ended it stays as long as the delivery"
    );
    bench.assert_invariants();
    bench.clock.advance(MONTH);
    purge(&bench);
    assert_eq!(stored_numbers(&bench), [0; 0]);
    bench.assert_invariants();
}

#[test]
fn retention_of_rerun_delivery_counts_from_last_end() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &[]);
    bench.accept_new("a");
    let job = bench.delivery_ids()[0];
    let expired = vec![(job, "too late".to_owned())];
    bench.execute(DeferOrExpire {
        expired,
        ..DeferOrExpire::default()
    });
    bench.clock.advance(days(20));
    bench.retry_dead_letter(job);
    bench.record_attempt(job, None, None);
    let attempts = |bench: &StoreBench| bench.read().attempts(job).unwrap().len();
    let before = attempts(&bench);
    bench.clock.advance(DAY);
    purge(&bench);
    assert_eq!(attempts(&bench), before, "not a moment earlier");
    bench.clock.advance(Millis::new(MONTH.get() - DAY.get()));
    purge(&bench);
    assert!(attempts(&bench) < before);
    assert_eq!(
        bench.deliveries().len(),
        1,
        "the first end was 50 days ago, the last one 30"
    );
    bench.assert_invariants();
    bench.clock.advance(Millis::new(1));
    purge(&bench);
    assert_eq!(bench.deliveries().len(), 0);
    let read = bench.read();
    let last_ends = read.with_read_txn(|txn| txn.open(LAST_ENDS)).unwrap();
    assert_eq!(last_ends.len().unwrap(), 0);
    bench.assert_invariants();
}
