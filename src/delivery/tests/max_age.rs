//! Tests of the maximum age of a delivery: a late delivery expires, and holds up no other delivery.

use std::time::Duration;

use super::support::closed_address;
use super::worker_harness::{MINUTE, WorkerHarness};
use crate::clock::Clock;
use crate::domain::job::JobState;
use crate::domain::time::Millis;
use crate::store::RetryDeadLetter;
use crate::store::tests::corruptions::RemoveJobRow;

#[tokio::test]
async fn expired_delivery_consumes_no_rate() {
    let mut worker_harness = WorkerHarness::new(
        closed_address(),
        "max_age = \"1m\"\nrate = \"1/h\"\nretry = { initial_delay = \"1s\" }",
    );
    for token in ["one", "two", "three"] {
        worker_harness.harness.accept(token);
    }
    worker_harness.harness.clock.advance(Millis::from_secs(60));
    worker_harness.harness.accept("four");
    assert_eq!(
        worker_harness.step_after(Duration::ZERO).0,
        1,
        "the one that is not late goes at once"
    );
    worker_harness.worker.commit_deferred().await;
    let expired = worker_harness
        .harness
        .jobs()
        .into_iter()
        .filter(|job| job.state == JobState::Expired);
    let why: Vec<_> = expired
        .map(|job| (job.attempts, job.last_error.unwrap()))
        .collect();
    assert_eq!(
        why,
        vec![(1, "not sent within the maximum age of 1m".to_owned()); 3]
    );
    assert_eq!(worker_harness.harness.waiting(), 1);
}

#[tokio::test]
async fn delivery_expiring_while_rate_limited_consumes_no_rate() {
    let mut worker_harness = WorkerHarness::new(
        closed_address(),
        "max_age = \"1m\"\nrate = \"1/m\"\nretry = { initial_delay = \"1h\", max_delay = \"1h\" }",
    );
    for token in ["one", "two", "three"] {
        worker_harness.harness.accept(token);
    }
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
    worker_harness.finish_one().await;
    worker_harness.harness.clock.advance(Millis::from_secs(60));
    worker_harness.harness.accept("four");
    assert_eq!(
        worker_harness.step_after(Duration::ZERO).0,
        1,
        "a minute later it is not spent on those that are late"
    );
    worker_harness.worker.commit_deferred().await;
    worker_harness.finish_one().await;
    let expired = worker_harness
        .harness
        .jobs()
        .iter()
        .filter(|job| job.state == JobState::Expired)
        .count();
    assert_eq!(
        (expired, worker_harness.harness.waiting()),
        (2, 2),
        "two that failed wait for their retry"
    );
}

#[tokio::test]
async fn clock_set_forward_expires_nothing() {
    let mut worker_harness = WorkerHarness::new(closed_address(), "max_age = \"1h\"");
    worker_harness.harness.accept("one");
    let later = worker_harness
        .harness
        .clock
        .now()
        .plus(Millis::from_secs(3 * 24 * 60 * 60));
    worker_harness.harness.clock.jump_to(later);
    assert_eq!(
        worker_harness.step_after(59 * MINUTE).0,
        1,
        "less than an hour has gone by, whatever the clock says"
    );
}

#[tokio::test]
async fn failed_expiry_blocks_no_other_delivery() {
    let mut worker_harness = WorkerHarness::new(closed_address(), "max_age = \"1m\"");
    for token in ["one", "two", "three"] {
        worker_harness.harness.accept(token);
    }
    worker_harness.harness.clock.advance(Millis::from_secs(60));
    assert_eq!(
        worker_harness.step_after(Duration::ZERO).0,
        0,
        "all are late"
    );
    let ids = worker_harness.harness.job_ids();
    worker_harness
        .harness
        .store
        .execute_blocking(RemoveJobRow(ids[1]))
        .unwrap();
    worker_harness.worker.commit_deferred().await;
    assert_eq!(
        worker_harness
            .harness
            .jobs()
            .iter()
            .filter(|job| job.state == JobState::Expired)
            .count(),
        2
    );
}

#[tokio::test]
async fn retried_dead_letter_ignores_max_age() {
    let mut worker_harness = WorkerHarness::new(
        closed_address(),
        "max_age = \"1m\"\nretry = { max_attempts = 1 }",
    );
    worker_harness.harness.accept("one");
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
    worker_harness.finish_one().await;
    let dead = worker_harness.harness.job_ids()[1];
    worker_harness
        .harness
        .clock
        .advance(Millis::from_secs(3600));
    worker_harness
        .harness
        .store
        .execute_blocking(RetryDeadLetter {
            job_id: dead,
            payload: None,
        })
        .unwrap();
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
}
