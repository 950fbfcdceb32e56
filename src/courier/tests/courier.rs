//! Lanes come and go with the config, and don't wait for the disk.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use super::support::Bench;
use crate::clock::{Clock, Entropy};
use crate::courier::lane::NOTING;
use crate::courier::{Courier, Recipients};
use crate::outgoing::Clients;
use crate::store::{Batch, StoreError, Transaction};

fn start(bench: &Bench) -> Courier {
    let clock: Arc<dyn Clock> = bench.clock.clone();
    let entropy: Arc<dyn Entropy> = bench.chance.clone();
    let clients = Clients::load().unwrap();
    Courier::start(Handle::current(), &bench.recipients(), clients, &bench.store, &clock, &entropy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_when_its_destination_goes_is_noted_and_the_board_does_not_show_it_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new(listener.local_addr().unwrap(), "");
    let (came, comes) = mpsc::channel();
    let (answer, may_answer) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.is_empty())), "the end of the head");
        came.send(()).unwrap();
        may_answer.recv().unwrap();
        socket.write_all(b"HTTP/1.1 204 So\r\n\r\n").unwrap();
    });
    let courier = start(&bench);
    bench.accept("one");
    let patience = Duration::from_mins(1);
    tokio::task::spawn_blocking(move || comes.recv_timeout(patience)).await.unwrap().unwrap();
    assert_eq!(courier.board().out().len(), 1);

    courier.renew(&Recipients::new());
    assert!(courier.board().read().is_empty());
    answer.send(()).unwrap();
    tokio::time::timeout(patience, async {
        while bench.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it is noted as delivered");
    // The lane ends after its last attempt: until then it could still write.
    let lane_is_gone = || Arc::strong_count(&bench.chance) <= 2;
    tokio::time::timeout(patience, async {
        while !lane_is_gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("its lane ends");
    assert!(courier.board().read().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_while_it_stops_begins_nothing() {
    let (address, comes, answer) = slow_receiver();
    let bench = Bench::new(address, "");
    let courier = start(&bench);
    bench.accept("one");
    let patience = Duration::from_mins(1);
    tokio::task::spawn_blocking(move || comes.recv_timeout(patience)).await.unwrap().unwrap();
    courier.stop(Duration::ZERO).await;
    courier.renew(&bench.recipients());
    assert!(courier.recipient(&Bench::crm()).is_none(), "what is under way would be sent once more");
    drop(answer);
}

/// A change that the writer is at until the test says so: nothing is noted meanwhile.
struct Standing(Receiver<()>);

impl Transaction for Standing {
    type Outcome = ();

    fn apply(&self, _: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let _ = self.0.recv();
        Ok(())
    }
}

/// Answers 204 to all that comes to `listener`, and tells of each.
fn take_all(listener: TcpListener, came: Sender<()>) {
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let came = came.clone();
            std::thread::spawn(move || {
                let mut from = BufReader::new(socket.try_clone().unwrap());
                while let Some(length) = length_of_body(&mut from) {
                    from.read_exact(&mut vec![0; length]).unwrap();
                    came.send(()).unwrap();
                    socket.write_all(b"HTTP/1.1 204 So\r\n\r\n").unwrap();
                }
            });
        }
    });
}

/// Reads a head; `None`: the connection has ended.
fn length_of_body(from: &mut impl BufRead) -> Option<usize> {
    let lines = from.lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).last()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_makes_room_before_it_is_noted_up_to_a_bound_and_is_not_begun_again() {
    const FORMS: usize = 2 * NOTING;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new(listener.local_addr().unwrap(), "concurrency = 1");
    let (came, comes) = mpsc::channel();
    take_all(listener, came);
    for form in 0..FORMS {
        bench.accept(&form.to_string());
    }
    let (go_on, standing) = mpsc::channel();
    bench.store.send(Standing(standing), |_, _| {});

    let courier = start(&bench);
    let patience = Duration::from_mins(1);
    let comes = tokio::task::spawn_blocking(move || {
        for _ in 0..NOTING {
            comes.recv_timeout(patience).unwrap();
        }
        comes
    });
    let comes = comes.await.unwrap();
    assert_eq!(bench.waiting(), u64::try_from(FORMS).unwrap(), "none is noted");
    assert_eq!(courier.board().out().len(), NOTING);
    assert!(comes.try_recv().is_err(), "no more than may be sent again after a crash");

    go_on.send(()).unwrap();
    tokio::time::timeout(patience, async {
        while bench.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("all are noted");
    assert_eq!(comes.try_iter().count(), FORMS - NOTING, "each was sent once");
}

/// A receiver that answers each request when it is let, and tells of each as it comes.
fn slow_receiver() -> (std::net::SocketAddr, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (came, comes) = mpsc::channel();
    let (answer, may_answer) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let may_answer = Arc::new(Mutex::new(may_answer));
        for socket in listener.incoming().map_while(Result::ok) {
            let (came, may_answer) = (came.clone(), Arc::clone(&may_answer));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
                while lines.any(|line| line.is_ok_and(|line| line.is_empty())) {
                    came.send(()).unwrap();
                    may_answer.lock().unwrap().recv().unwrap();
                    (&socket).write_all(b"HTTP/1.1 204 So\r\n\r\n").unwrap();
                }
            });
        }
    });
    (address, comes, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_goes_and_comes_back_is_told_by_one_lane_at_a_time() {
    let (address, comes, answer) = slow_receiver();
    let bench = Bench::new(address, "");
    let courier = start(&bench);
    bench.accept("one");
    let patience = Duration::from_mins(1);
    let comes =
        tokio::task::spawn_blocking(move || comes.recv_timeout(patience).map(|()| comes)).await.unwrap().unwrap();

    courier.renew(&Recipients::new());
    courier.renew(&bench.recipients());
    bench.accept("two");
    // A second lane would send both within moments; the first is waited for.
    answer.send(()).unwrap();
    answer.send(()).unwrap();
    tokio::time::timeout(patience, async {
        while bench.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("both are delivered");
    comes.recv_timeout(patience).unwrap();
    assert!(comes.try_recv().is_err(), "and each was sent once");
    courier.stop(patience).await;
}
