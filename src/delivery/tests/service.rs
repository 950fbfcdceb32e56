//! Tests that workers start and stop with the config, and do not wait for the disk.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_delivery_of_removed_destination_is_recorded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let harness = DeliveryHarness::new(listener.local_addr().unwrap(), "");
    let (arrived_tx, arrived_rx) = mpsc::channel();
    let (respond_tx, respond_rx) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
        assert!(
            lines.any(|line| line.is_ok_and(|line| line.is_empty())),
            "the end of the head"
        );
        arrived_tx.send(()).unwrap();
        respond_rx.recv().unwrap();
        socket.write_all(b"HTTP/1.1 204 So\r\n\r\n").unwrap();
    });
    let service = start(&harness);
    harness.accept("one");
    let time_limit = Duration::from_mins(1);
    tokio::task::spawn_blocking(move || arrived_rx.recv_timeout(time_limit))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(service.stats().in_flight().len(), 1);

    service.reconcile(&DeliveryTargets::new());
    assert!(service.stats().snapshot().is_empty());
    respond_tx.send(()).unwrap();
    tokio::time::timeout(time_limit, async {
        while harness.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it is noted as delivered");
    // The worker stops after its last attempt. Until then it could still write.
    let worker_has_ended = || Arc::strong_count(&harness.entropy) <= 2;
    tokio::time::timeout(time_limit, async {
        while !worker_has_ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("its lane ends");
    assert!(service.stats().snapshot().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconcile_after_stop_starts_no_worker() {
    let (address, arrived_rx, respond_tx) = slow_receiver();
    let harness = DeliveryHarness::new(address, "");
    let service = start(&harness);
    harness.accept("one");
    let time_limit = Duration::from_mins(1);
    tokio::task::spawn_blocking(move || arrived_rx.recv_timeout(time_limit))
        .await
        .unwrap()
        .unwrap();
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

/// Responds 204 to every request at `listener`, and reports each request.
fn accept_all(listener: TcpListener, arrived_tx: Sender<()>) {
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let arrived_tx = arrived_tx.clone();
            std::thread::spawn(move || {
                let mut from = BufReader::new(socket.try_clone().unwrap());
                while let Some(length) = read_content_length(&mut from) {
                    from.read_exact(&mut vec![0; length]).unwrap();
                    arrived_tx.send(()).unwrap();
                    socket.write_all(b"HTTP/1.1 204 So\r\n\r\n").unwrap();
                }
            });
        }
    });
}

/// Reads a head and returns the content length. Returns `None` if the connection has closed.
fn read_content_length(from: &mut impl BufRead) -> Option<usize> {
    let lines = from
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .last()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_delivery_frees_slot_before_commit() {
    const FORMS: usize = 2 * COMMITTING_MAX;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let harness = DeliveryHarness::new(listener.local_addr().unwrap(), "concurrency = 1");
    let (arrived_tx, arrived_rx) = mpsc::channel();
    accept_all(listener, arrived_tx);
    for form in 0..FORMS {
        harness.accept(&form.to_string());
    }
    let (release_tx, release_rx) = mpsc::channel();
    harness
        .store
        .submit(BlockedTransaction(release_rx), |_, _| {});

    let service = start(&harness);
    let time_limit = Duration::from_mins(1);
    let arrived_rx = tokio::task::spawn_blocking(move || {
        for _ in 0..COMMITTING_MAX {
            arrived_rx.recv_timeout(time_limit).unwrap();
        }
        arrived_rx
    });
    let arrived_rx = arrived_rx.await.unwrap();
    assert_eq!(
        harness.waiting(),
        u64::try_from(FORMS).unwrap(),
        "none is noted"
    );
    assert_eq!(service.stats().in_flight().len(), COMMITTING_MAX);
    assert!(
        arrived_rx.try_recv().is_err(),
        "no more than may be sent again after a crash"
    );

    release_tx.send(()).unwrap();
    tokio::time::timeout(time_limit, async {
        while harness.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("all are noted");
    assert_eq!(
        arrived_rx.try_iter().count(),
        FORMS - COMMITTING_MAX,
        "each was sent once"
    );
}

/// Starts a receiver that responds to each request when the test allows it, and reports each
/// request.
fn slow_receiver() -> (std::net::SocketAddr, mpsc::Receiver<()>, mpsc::Sender<()>) {
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
async fn readded_destination_has_one_worker_at_a_time() {
    let (address, arrived_rx, respond_tx) = slow_receiver();
    let harness = DeliveryHarness::new(address, "");
    let service = start(&harness);
    harness.accept("one");
    let time_limit = Duration::from_mins(1);
    let arrived_rx = tokio::task::spawn_blocking(move || {
        arrived_rx.recv_timeout(time_limit).map(|()| arrived_rx)
    })
    .await
    .unwrap()
    .unwrap();

    service.reconcile(&DeliveryTargets::new());
    service.reconcile(&harness.targets());
    harness.accept("two");
    // A second worker would send both at once. It must wait for the first worker.
    respond_tx.send(()).unwrap();
    respond_tx.send(()).unwrap();
    tokio::time::timeout(time_limit, async {
        while harness.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("both are delivered");
    arrived_rx.recv_timeout(time_limit).unwrap();
    assert!(arrived_rx.try_recv().is_err(), "and each was sent once");
    service.stop(time_limit).await;
}
