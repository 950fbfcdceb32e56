//! Tests of the end of deliveries: rows that retention removes, and deliveries that are discarded.

use crate::domain::ids::JobId;
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{IllegalTransition, JobEvent, JobState};
use crate::domain::time::Millis;
use crate::store::rows::schema::LAST_ENDS;
use crate::store::{DeadLetterOutcome, DeferOrExpire, DiscardDeadLetter, DiscardDeliveries};

use super::purge_rounds::{DAY, days};
use super::support::{StoreBench, destination, row_count};

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
    let outcome = bench.execute(DiscardDeadLetter { job_id: discarded });
    assert_eq!(outcome, DeadLetterOutcome::Updated(JobState::Discarded));
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
    assert_eq!(bench.delivery_ids(), [dead, waits]);
    assert_eq!(bench.event_kinds(), ["submission.accepted"; 2]);
    bench.assert_invariants();
    bench.record_attempt(waits, None, None);
    bench.clock.advance(MONTH);
    bench.clock.advance(DAY);
    purge(&bench);
    // The other event has no delivery left.
    assert_eq!(bench.event_kinds(), ["submission.accepted"]);
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
    let waiting = bench.read().waiting_deliveries(&destination("crm"));
    assert_eq!(waiting.unwrap(), []);
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
    let stored_numbers = || -> Vec<u32> {
        let responses = bench.read().delivery_responses(job).unwrap();
        responses.into_iter().map(|(number, _)| number).collect()
    };
    bench.record_attempt(job, Some(bench.retry_in_a_minute()), None);
    bench.record_attempt(job, Some(RetryDecision::GiveUp), None);
    bench.clock.advance(DAY);
    bench.clock.advance(DAY);
    purge(&bench);
    assert_eq!(stored_numbers(), [1, 2], "a dead letter shows why it died");
    bench.retry_dead_letter(job);
    bench.record_attempt(job, None, None);
    bench.clock.advance(DAY);
    purge(&bench);
    assert_eq!(stored_numbers(), [1, 2, 3], "not a moment earlier");
    bench.clock.advance(Millis::new(1));
    purge(&bench);
    // The last response stays as long as the delivery.
    assert_eq!(stored_numbers(), [3]);
    bench.assert_invariants();
    bench.clock.advance(MONTH);
    purge(&bench);
    assert_eq!(stored_numbers(), [0; 0]);
    bench.assert_invariants();
}

#[test]
fn retention_of_rerun_delivery_counts_from_last_end() {
    let bench = StoreBench::new();
    bench.subscribe(&["crm"], &[]);
    bench.accept_new("a");
    let job = bench.delivery_ids()[0];
    bench.execute(DeferOrExpire {
        expired: vec![(job, "too late".to_owned())],
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
    // The first end was 50 days ago, the last one 30.
    assert_eq!(bench.deliveries().len(), 1);
    bench.assert_invariants();
    bench.clock.advance(Millis::new(1));
    purge(&bench);
    assert_eq!(bench.deliveries().len(), 0);
    assert_eq!(row_count(&bench.read(), LAST_ENDS), 0);
    bench.assert_invariants();
}
