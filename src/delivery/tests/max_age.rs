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
    let mut harness = WorkerHarness::new(
        closed_address(),
        "max_age = \"1m\"\nrate = \"1/h\"\nretry = { initial_delay = \"1s\" }",
    );
    for token in ["one", "two", "three"] {
        harness.accept(token);
    }
    harness.clock.advance(Millis::from_secs(60));
    harness.accept("four");
    harness.assert_step(Duration::ZERO, 1, "the one that is not late goes at once");
    harness.worker.commit_deferred().await;
    let expired = harness
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
    assert_eq!(harness.waiting(), 1);
}

#[tokio::test]
async fn delivery_expiring_while_rate_limited_consumes_no_rate() {
    let mut harness = WorkerHarness::new(
        closed_address(),
        "max_age = \"1m\"\nrate = \"1/m\"\nretry = { initial_delay = \"1h\", max_delay = \"1h\" }",
    );
    for token in ["one", "two", "three"] {
        harness.accept(token);
    }
    harness.run_attempt(Duration::ZERO).await;
    harness.clock.advance(Millis::from_secs(60));
    harness.accept("four");
    harness.assert_step(
        Duration::ZERO,
        1,
        "a minute later it is not spent on those that are late",
    );
    harness.worker.commit_deferred().await;
    harness.finish_one().await;
    let expired = harness.expired();
    assert_eq!(
        (expired, harness.waiting()),
        (2, 2),
        "two that failed wait for their retry"
    );
}

#[tokio::test]
async fn clock_set_forward_expires_nothing() {
    let mut harness = WorkerHarness::new(closed_address(), "max_age = \"1h\"");
    harness.accept("one");
    let later = harness
        .clock
        .now()
        .plus(Millis::from_secs(3 * 24 * 60 * 60));
    harness.clock.jump_to(later);
    harness.assert_step(
        59 * MINUTE,
        1,
        "less than an hour has gone by, whatever the clock says",
    );
}

#[tokio::test]
async fn failed_expiry_blocks_no_other_delivery() {
    let mut harness = WorkerHarness::new(closed_address(), "max_age = \"1m\"");
    for token in ["one", "two", "three"] {
        harness.accept(token);
    }
    harness.clock.advance(Millis::from_secs(60));
    harness.assert_step(Duration::ZERO, 0, "all are late");
    let ids = harness.job_ids();
    harness.execute(RemoveJobRow(ids[1]));
    harness.worker.commit_deferred().await;
    assert_eq!(harness.expired(), 2);
}

#[tokio::test]
async fn retried_dead_letter_ignores_max_age() {
    let mut harness = WorkerHarness::new(
        closed_address(),
        "max_age = \"1m\"\nretry = { max_attempts = 1 }",
    );
    harness.accept("one");
    harness.run_attempt(Duration::ZERO).await;
    let dead = harness.job_ids()[1];
    harness.clock.advance(Millis::from_secs(3600));
    harness.execute(RetryDeadLetter {
        job_id: dead,
        payload: None,
    });
    assert_eq!(harness.step_after(Duration::ZERO).0, 1);
}
