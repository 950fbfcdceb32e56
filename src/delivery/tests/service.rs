//! Tests that workers start and stop with the config, and do not wait for the disk.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use super::support::DeliveryHarness;
use crate::clock::{Clock, Entropy};
use crate::delivery::destination_worker::COMMITTING_MAX;
use crate::delivery::{DeliveryService, DeliveryTargets};
use crate::net::HttpClients;
use crate::store::{StoreError, Transaction, WriteContext};

const TIME_LIMIT: Duration = Duration::from_mins(1);

fn start(harness: &DeliveryHarness) -> DeliveryService {
    let clock: Arc<dyn Clock> = harness.clock.clone();
    let entropy: Arc<dyn Entropy> = harness.entropy.clone();
    let clients = HttpClients::load().unwrap();
    DeliveryService::start(
        Handle::current(),
        &harness.targets(),
        clients,
        &harness.store,
        &clock,
        &entropy,
    )
}

/// Waits until `is_so` returns `true`, at most [`TIME_LIMIT`].
async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIME_LIMIT, waiting).await.expect(what);
}

/// Waits for a number of requests at a receiver.
async fn wait_for_requests(arrived_rx: Receiver<()>, count: usize) -> Receiver<()> {
    let waiting = tokio::task::spawn_blocking(move || {
        for _ in 0..count {
            arrived_rx.recv_timeout(TIME_LIMIT).unwrap();
        }
        arrived_rx
    });
    waiting.await.unwrap()
}

/// Starts a receiver that responds to each request when the test allows it, and reports each
/// request.
fn slow_receiver() -> (SocketAddr, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived_tx, arrived_rx) = mpsc::channel();
    let (respond_tx, respond_rx) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let respond_rx = Arc::new(Mutex::new(respond_rx));
        for socket in listener.incoming().map_while(Result::ok) {
            let (arrived_tx, respond_rx) = (arrived_tx.clone(), Arc::clone(&respond_rx));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
                while lines.any(|line| line.is_ok_and(|line| line.is_empty())) {
                    arrived_tx.send(()).unwrap();
                    respond_rx.lock().unwrap().recv().unwrap();
                    (&socket).write_all(b"HTTP/1.1 204 So\r\n\r\n").unwrap();
                }
            });
        }
    });
    (address, arrived_rx, respond_tx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_delivery_of_removed_destination_is_recorded() {
    let (address, arrived_rx, respond_tx) = slow_receiver();
    let harness = DeliveryHarness::new(address, "");
    let service = start(&harness);
    harness.accept("one");
    let _arrived_rx = wait_for_requests(arrived_rx, 1).await;
    assert_eq!(service.stats().in_flight().len(), 1);

    service.reconcile(&DeliveryTargets::new());
    assert!(service.stats().snapshot().is_empty());
    respond_tx.send(()).unwrap();
    wait_until("it is noted as delivered", || harness.waiting() == 0).await;
    // The worker stops after its last attempt. Until then it could still write.
    let worker_has_ended = || Arc::strong_count(&harness.entropy) <= 2;
    wait_until("the worker ends", worker_has_ended).await;
    assert!(service.stats().snapshot().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconcile_after_stop_starts_no_worker() {
    let (address, arrived_rx, respond_tx) = slow_receiver();
    let harness = DeliveryHarness::new(address, "");
    let service = start(&harness);
    harness.accept("one");
    let _arrived_rx = wait_for_requests(arrived_rx, 1).await;
    service.stop(Duration::ZERO).await;
    service.reconcile(&harness.targets());
    assert!(
        service.target(&DeliveryHarness::crm()).is_none(),
        "what is under way would be sent once more"
    );
    drop(respond_tx);
}

/// Transaction that blocks the writer until the test releases it. Meanwhile the writer records no
/// result.
struct BlockedTransaction(Receiver<()>);

impl Transaction for BlockedTransaction {
    type Outcome = ();

    fn apply(&self, _: &mut WriteContext<'_>) -> Result<(), StoreError> {
        let _ = self.0.recv();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_delivery_frees_slot_before_commit() {
    const FORMS: usize = 2 * COMMITTING_MAX;
    let (address, arrived_rx, respond_tx) = slow_receiver();
    let harness = DeliveryHarness::new(address, "concurrency = 1");
    for form in 0..FORMS {
        harness.accept(&form.to_string());
        respond_tx.send(()).unwrap();
    }
    let (release_tx, release_rx) = mpsc::channel();
    let blocked = BlockedTransaction(release_rx);
    harness.store.submit(blocked, |_, _| {});

    let service = start(&harness);
    let arrived_rx = wait_for_requests(arrived_rx, COMMITTING_MAX).await;
    let waiting = usize::try_from(harness.waiting());
    assert_eq!(waiting, Ok(FORMS), "none is noted");
    assert_eq!(service.stats().in_flight().len(), COMMITTING_MAX);
    assert!(
        arrived_rx.try_recv().is_err(),
        "no more than may be sent again after a crash"
    );

    release_tx.send(()).unwrap();
    wait_until("all are noted", || harness.waiting() == 0).await;
    assert_eq!(
        arrived_rx.try_iter().count(),
        FORMS - COMMITTING_MAX,
        "each was sent once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readded_destination_has_one_worker_at_a_time() {
    let (address, arrived_rx, respond_tx) = slow_receiver();
    let harness = DeliveryHarness::new(address, "");
    let service = start(&harness);
    harness.accept("one");
    let arrived_rx = wait_for_requests(arrived_rx, 1).await;

    service.reconcile(&DeliveryTargets::new());
    service.reconcile(&harness.targets());
    harness.accept("two");
    // A second worker would send both at once. It must wait for the first worker.
    respond_tx.send(()).unwrap();
    respond_tx.send(()).unwrap();
    wait_until("both are delivered", || harness.waiting() == 0).await;
    arrived_rx.recv_timeout(TIME_LIMIT).unwrap();
    assert!(arrived_rx.try_recv().is_err(), "and each was sent once");
    service.stop(TIME_LIMIT).await;
}
