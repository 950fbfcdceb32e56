//! Tests of a destination worker: no failure, pause or clock change stops the worker forever.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::support::{DeliveryHarness, closed_address, crm_table, resolve_targets};
use super::worker_harness::{MINUTE, SECOND, WorkerHarness};
use crate::clock::Clock;
use crate::domain::ids::JobId;
use crate::domain::job::JobState;
use crate::domain::time::Millis;
use crate::store::tests::corruptions::{RemoveJobRow, ScheduleMissingJob};

#[tokio::test]
async fn panicked_probe_releases_permit() {
    let mut harness = WorkerHarness::new(
        closed_address(),
        "breaker = { failure_threshold = 1, open_for = \"10s\" }\nretry = { initial_delay = \"1s\" }",
    );
    harness.accept("one");
    harness.run_attempt(Duration::ZERO).await;
    harness.assert_step(9 * SECOND, 0, "its breaker is open");

    harness.entropy.fail_once();
    harness.assert_step(2 * SECOND, 1, "the probe");
    harness.finish_one().await;
    harness.assert_step(MINUTE, 1, "its retry is the probe again");
    harness.finish_one().await;
    assert_eq!(harness.waiting(), 1);
    let (_, why) = harness.stats.snapshot()[&DeliveryHarness::crm()]
        .last_failure
        .clone()
        .unwrap();
    assert!(why.contains("Connection refused"), "{why}");
}

#[tokio::test]
async fn repeatedly_panicking_delivery_becomes_dead_letter() {
    let more = "breaker = { failure_threshold = 100 }\nretry = { initial_delay = \"1s\", max_delay = \"1s\", max_attempts = 3 }";
    let mut harness = WorkerHarness::new(closed_address(), more);
    harness.accept("one");
    for attempts in 1..=3 {
        harness.entropy.fail_once();
        harness.run_attempt(10 * SECOND).await;
        let job = harness.jobs().pop().unwrap();
        let in_flight = harness.stats.in_flight().len();
        assert_eq!((job.attempts, in_flight), (attempts, 0));
        assert!(job.last_error.unwrap().contains("panicked"));
    }
    assert_eq!(harness.jobs().pop().unwrap().state, JobState::Dead);
}

#[tokio::test]
async fn new_secret_or_resume_resets_breaker_and_pause() {
    let retry_later =
        b"HTTP/1.1 429 So\r\nretry-after: 3000\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for (requests_pause, is_resumed) in [(false, false), (false, true), (true, false), (true, true)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = if requests_pause {
            listener.local_addr().unwrap()
        } else {
            closed_address()
        };
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 4096]);
            socket.write_all(retry_later).unwrap();
        });
        let more = "breaker = { failure_threshold = 1, open_for = \"1h\" }\nretry = { initial_delay = \"1s\", max_delay = \"1s\" }";
        let mut harness = WorkerHarness::new(address, more);
        harness.accept("one");
        harness.run_attempt(Duration::ZERO).await;
        harness.accept("two");
        harness.assert_step(2 * SECOND, 0, "the destination is paused");
        harness.config_tx.send_modify(|config| {
            if is_resumed {
                config.resume_count += 1;
            } else {
                let secret = "secrets = [\"text:whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]";
                let table = crm_table(address, &format!("{more}\n{secret}"));
                let mut targets = resolve_targets(&table);
                config.target = targets.remove(&DeliveryHarness::crm()).unwrap();
            }
        });
        harness.worker.apply_config();
        assert!(
            harness.step_after(Duration::ZERO).0 > 0,
            "{requests_pause} {is_resumed}"
        );
    }
}

#[tokio::test]
async fn rate_limited_probe_keeps_breaker_permit_free() {
    let more = "rate = \"1/h\"\nbreaker = { failure_threshold = 1, open_for = \"1s\" }\nretry = { initial_delay = \"1s\" }";
    let mut harness = WorkerHarness::new(closed_address(), more);
    harness.accept("one");
    harness.run_attempt(Duration::ZERO).await;
    for _ in 0..10 {
        harness.assert_step(
            5 * MINUTE,
            0,
            "the breaker would let it go, the rate does not",
        );
    }
    assert_eq!(harness.step_after(10 * MINUTE).0, 1);
}

#[tokio::test]
async fn open_breaker_consumes_no_rate() {
    let more = "rate = \"1/h\"\nbreaker = { failure_threshold = 1, open_for = \"1h\" }\nretry = { initial_delay = \"1s\" }";
    let mut harness = WorkerHarness::new(closed_address(), more);
    harness.accept("one");
    assert_eq!(harness.step_after(Duration::ZERO).0, 1);
    // The pause starts when the failure is known.
    harness.clock.advance(Millis::from_secs(60));
    harness.finish_one().await;
    harness.assert_step(
        59 * MINUTE,
        0,
        "the rate would let it go, the breaker does not",
    );
    harness.assert_step(
        2 * MINUTE,
        1,
        "its breaker lets it go, and its rate had let nothing pass",
    );
}

/// Asserts that the worker has nothing to send and looks again within a second.
#[track_caller]
fn assert_idle(harness: &mut WorkerHarness) {
    let (in_flight, pause) = harness.step_after(Duration::ZERO);
    assert!(
        in_flight == 0 && pause <= SECOND && !pause.is_zero(),
        "{pause:?}"
    );
}

#[tokio::test]
async fn idle_worker_polls_every_second() {
    let mut harness = WorkerHarness::new(
        closed_address(),
        "retry = { initial_delay = \"1h\", max_delay = \"1h\" }",
    );
    assert_idle(&mut harness);
    harness.accept("one");
    harness.run_attempt(Duration::ZERO).await;
    assert_idle(&mut harness);
}

#[tokio::test]
async fn deliveries_from_future_clock_are_due_after_set_back() {
    for attempts_before in [false, true] {
        // The second worker starts after the clock was set back, as after a restart.
        for is_new in [false, true] {
            let mut harness =
                WorkerHarness::new(closed_address(), "retry = { initial_delay = \"1s\" }");
            let right = harness.clock.now();
            let ahead = right.plus(Millis::from_secs(30 * 24 * 60 * 60));
            harness.clock.jump_to(ahead);
            harness.accept("one");
            if attempts_before {
                harness.run_attempt(Duration::ZERO).await;
            }
            harness.step_after(Duration::ZERO);
            harness.clock.jump_to(right);
            if is_new {
                harness.replace_worker();
            }
            let case = format!("tried before: {attempts_before}, a new worker: {is_new}");
            harness.assert_step(SECOND, 1, &case);
        }
    }
}

#[tokio::test]
async fn pending_retry_is_not_due_after_set_back() {
    let mut harness = WorkerHarness::new(
        closed_address(),
        "retry = { initial_delay = \"1h\", max_delay = \"1h\" }",
    );
    harness.accept("one");
    harness.run_attempt(Duration::ZERO).await;
    let now = harness.clock.now();
    harness.clock.jump_to(now.minus(Millis::from_secs(60)));
    assert_eq!(harness.step_after(SECOND).0, 0);
    harness.replace_worker();
    assert_eq!(harness.step_after(SECOND).0, 0);
}

#[tokio::test]
async fn stray_schedule_row_is_quarantined() {
    let mut harness = WorkerHarness::new(closed_address(), "");
    let stray = ScheduleMissingJob {
        destination: DeliveryHarness::crm(),
        job: JobId::new(999),
    };
    harness.execute(stray);
    harness.assert_step(Duration::ZERO, 1, "it looks due");
    harness.finish_one().await;
    let (in_flight, pause) = harness.step_after(Duration::ZERO);
    assert!(
        in_flight == 0 && pause > SECOND / 2,
        "the destination is paused for {pause:?}"
    );
    harness.accept("one");
    harness.assert_step(Duration::ZERO, 1, "and holds up nobody");
}

#[tokio::test]
async fn sent_but_unrecorded_delivery_is_not_resent() {
    let mut harness = WorkerHarness::new(
        closed_address(),
        "retry = { initial_delay = \"1s\" }\nbreaker = { failure_threshold = 99 }",
    );
    harness.accept("one");
    let delivery = harness.job_ids()[1];
    assert_eq!(harness.step_after(Duration::ZERO).0, 1);
    // The attempt may read the delivery before or after its loss. The result is never recorded.
    tokio::task::yield_now().await;
    harness.execute(RemoveJobRow(delivery));
    harness.finish_one().await;
    for _ in 0..3 {
        assert_eq!(harness.step_after(2 * MINUTE).0, 0);
    }
}
