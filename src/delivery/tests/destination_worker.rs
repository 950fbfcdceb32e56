//! Tests of a destination worker: no failure, pause or clock change stops the worker forever.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use tokio::task::JoinSet;

use super::support::{DeliveryHarness, closed_address, crm_table, resolve_targets};
use super::worker_harness::{MINUTE, SECOND, WorkerHarness, new_worker_with_config};
use crate::clock::Clock;
use crate::delivery::DeliveryStats;
use crate::domain::ids::JobId;
use crate::domain::job::JobState;
use crate::domain::time::Millis;
use crate::store::tests::corruptions::{RemoveJobRow, ScheduleMissingJob};

#[tokio::test]
async fn panicked_probe_releases_permit() {
    let mut worker_harness = WorkerHarness::new(
        closed_address(),
        "breaker = { failure_threshold = 1, open_for = \"10s\" }\nretry = { initial_delay = \"1s\" }",
    );
    worker_harness.harness.accept("one");
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
    worker_harness.finish_one().await;
    assert_eq!(
        worker_harness.step_after(9 * SECOND).0,
        0,
        "its breaker is open"
    );

    worker_harness.harness.entropy.fail_once();
    assert_eq!(worker_harness.step_after(2 * SECOND).0, 1, "the probe");
    worker_harness.finish_one().await;
    assert_eq!(
        worker_harness.step_after(MINUTE).0,
        1,
        "its retry is the probe again"
    );
    worker_harness.finish_one().await;
    assert_eq!(worker_harness.harness.waiting(), 1);
    let (_, why) = worker_harness.stats.snapshot()[&DeliveryHarness::crm()]
        .last_failure
        .clone()
        .unwrap();
    assert!(why.contains("Connection refused"), "{why}");
}

#[tokio::test]
async fn repeatedly_panicking_delivery_becomes_dead_letter() {
    let more = "breaker = { failure_threshold = 100 }\nretry = { initial_delay = \"1s\", max_delay = \"1s\", max_attempts = 3 }";
    let mut worker_harness = WorkerHarness::new(closed_address(), more);
    worker_harness.harness.accept("one");
    for attempts in 1..=3 {
        worker_harness.harness.entropy.fail_once();
        assert_eq!(worker_harness.step_after(10 * SECOND).0, 1, "{attempts}");
        worker_harness.finish_one().await;
        let job = worker_harness.harness.jobs().pop().unwrap();
        assert_eq!(
            (job.attempts, worker_harness.stats.in_flight().len()),
            (attempts, 0)
        );
        assert!(job.last_error.unwrap().contains("panicked"));
    }
    assert_eq!(
        worker_harness.harness.jobs().pop().unwrap().state,
        JobState::Dead
    );
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
        let harness = DeliveryHarness::new(address, more);
        let stats = DeliveryStats::default();
        let (config_tx, worker) = new_worker_with_config(&harness, &stats);
        let mut worker_harness = WorkerHarness {
            harness,
            stats,
            worker,
            attempts: JoinSet::new(),
        };
        worker_harness.harness.accept("one");
        assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
        worker_harness.finish_one().await;
        worker_harness.harness.accept("two");
        assert_eq!(
            worker_harness.step_after(2 * SECOND).0,
            0,
            "the destination is paused"
        );
        config_tx.send_modify(|config| {
            if is_resumed {
                config.resume_count += 1;
            } else {
                let secret = "secrets = [\"text:whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]";
                let table = crm_table(address, &format!("{more}\n{secret}"));
                let mut targets = resolve_targets(&table);
                config.target = targets.remove(&DeliveryHarness::crm()).unwrap();
            }
        });
        worker_harness.worker.apply_config();
        assert!(
            worker_harness.step_after(Duration::ZERO).0 > 0,
            "{requests_pause} {is_resumed}"
        );
    }
}

#[tokio::test]
async fn rate_limited_probe_keeps_breaker_permit_free() {
    let more = "rate = \"1/h\"\nbreaker = { failure_threshold = 1, open_for = \"1s\" }\nretry = { initial_delay = \"1s\" }";
    let mut worker_harness = WorkerHarness::new(closed_address(), more);
    worker_harness.harness.accept("one");
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
    worker_harness.finish_one().await;
    for _ in 0..10 {
        assert_eq!(
            worker_harness.step_after(5 * MINUTE).0,
            0,
            "the breaker would let it go, the rate does not"
        );
    }
    assert_eq!(worker_harness.step_after(10 * MINUTE).0, 1);
}

#[tokio::test]
async fn open_breaker_consumes_no_rate() {
    let more = "rate = \"1/h\"\nbreaker = { failure_threshold = 1, open_for = \"1h\" }\nretry = { initial_delay = \"1s\" }";
    let mut worker_harness = WorkerHarness::new(closed_address(), more);
    worker_harness.harness.accept("one");
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
    // The pause starts when the failure is known.
    worker_harness.harness.clock.advance(Millis::from_secs(60));
    worker_harness.finish_one().await;
    assert_eq!(
        worker_harness.step_after(59 * MINUTE).0,
        0,
        "the rate would let it go, the breaker does not"
    );
    assert_eq!(
        worker_harness.step_after(2 * MINUTE).0,
        1,
        "its breaker lets it go, and its rate had let nothing pass"
    );
}

#[tokio::test]
async fn idle_worker_polls_every_second() {
    let mut worker_harness = WorkerHarness::new(
        closed_address(),
        "retry = { initial_delay = \"1h\", max_delay = \"1h\" }",
    );
    let (in_flight, pause) = worker_harness.step_after(Duration::ZERO);
    assert!(
        in_flight == 0 && pause <= SECOND && !pause.is_zero(),
        "{pause:?}"
    );
    worker_harness.harness.accept("one");
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
    worker_harness.finish_one().await;
    let (in_flight, pause) = worker_harness.step_after(Duration::ZERO);
    assert!(
        in_flight == 0 && pause <= SECOND && !pause.is_zero(),
        "{pause:?}"
    );
}

#[tokio::test]
async fn deliveries_from_future_clock_are_due_after_set_back() {
    for attempts_before in [false, true] {
        // The second worker starts after the clock was set back, as after a restart.
        for is_new in [false, true] {
            let mut worker_harness =
                WorkerHarness::new(closed_address(), "retry = { initial_delay = \"1s\" }");
            let right = worker_harness.harness.clock.now();
            worker_harness
                .harness
                .clock
                .jump_to(right.plus(Millis::from_secs(30 * 24 * 60 * 60)));
            worker_harness.harness.accept("one");
            if attempts_before {
                assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
                worker_harness.finish_one().await;
            }
            worker_harness.step_after(Duration::ZERO);
            worker_harness.harness.clock.jump_to(right);
            if is_new {
                worker_harness.replace_worker();
            }
            assert_eq!(
                worker_harness.step_after(SECOND).0,
                1,
                "tried before: {attempts_before}, a new lane: {is_new}"
            );
        }
    }
}

#[tokio::test]
async fn pending_retry_is_not_due_after_set_back() {
    let mut worker_harness = WorkerHarness::new(
        closed_address(),
        "retry = { initial_delay = \"1h\", max_delay = \"1h\" }",
    );
    worker_harness.harness.accept("one");
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
    worker_harness.finish_one().await;
    let now = worker_harness.harness.clock.now();
    worker_harness
        .harness
        .clock
        .jump_to(now.minus(Millis::from_secs(60)));
    assert_eq!(worker_harness.step_after(SECOND).0, 0);
    worker_harness.replace_worker();
    assert_eq!(worker_harness.step_after(SECOND).0, 0);
}

#[tokio::test]
async fn stray_schedule_row_is_quarantined() {
    let mut worker_harness = WorkerHarness::new(closed_address(), "");
    let stray = ScheduleMissingJob {
        destination: DeliveryHarness::crm(),
        job: JobId::new(999),
    };
    worker_harness
        .harness
        .store
        .execute_blocking(stray)
        .unwrap();
    assert_eq!(
        worker_harness.step_after(Duration::ZERO).0,
        1,
        "it looks due"
    );
    worker_harness.finish_one().await;
    let (in_flight, pause) = worker_harness.step_after(Duration::ZERO);
    assert!(
        in_flight == 0 && pause > SECOND / 2,
        "the destination is paused for {pause:?}"
    );
    worker_harness.harness.accept("one");
    assert_eq!(
        worker_harness.step_after(Duration::ZERO).0,
        1,
        "and holds up nobody"
    );
}

#[tokio::test]
async fn sent_but_unrecorded_delivery_is_not_resent() {
    let mut worker_harness = WorkerHarness::new(
        closed_address(),
        "retry = { initial_delay = \"1s\" }\nbreaker = { failure_threshold = 99 }",
    );
    worker_harness.harness.accept("one");
    let delivery = worker_harness.harness.job_ids()[1];
    assert_eq!(worker_harness.step_after(Duration::ZERO).0, 1);
    // The attempt may read the delivery before or after its loss. The result is never recorded.
    tokio::task::yield_now().await;
    worker_harness
        .harness
        .store
        .execute_blocking(RemoveJobRow(delivery))
        .unwrap();
    worker_harness.finish_one().await;
    for _ in 0..3 {
        assert_eq!(worker_harness.step_after(2 * MINUTE).0, 0);
    }
}
