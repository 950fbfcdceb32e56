//! Restarts behind a listening socket that stays open, as with a service manager. No sender notices
//! them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::form::Form;
use crate::support::http::{Connection, signed_post};
use crate::support::{Server, assert_each_once, eventually};

const FLOW: &str = "[flows.form]\npath = \"/form\"\nencryption = \"none\"\n";

/// Results of the senders.
#[derive(Default)]
struct SenderResults {
    acknowledged: Mutex<Vec<String>>,
    /// Everything except a success: refused connections, broken requests, other responses.
    trouble: Mutex<Vec<String>>,
}

/// Sends one form after another on a connection that stays open until the server closes it.
fn send_until(enough: &AtomicBool, to: SocketAddr, sender: usize, met: &SenderResults) {
    let trouble = |what: String| met.trouble.lock().unwrap().push(what);
    let mut idle: Option<Connection> = None;
    for number in 0.. {
        if enough.load(Ordering::SeqCst) {
            return;
        }
        let is_used = idle.is_some();
        let mut connection = match idle.take().map_or_else(|| Connection::open(to), Ok) {
            Ok(connection) => connection,
            Err(why) => {
                trouble(format!("refused: {why}"));
                continue;
            }
        };
        let token = format!("{sender}-{number}");
        match connection.exchange(&signed_post("/form", &Form::new(&token).body())) {
            Ok(answer) if answer.is_accepted() => {
                met.acknowledged.lock().unwrap().push(token);
                idle = Some(connection).filter(|_| answer.header("connection") != Some("close"));
            }
            Ok(answer) => trouble(format!("answered {}: {}", answer.status, answer.text())),
            Err(why) => trouble(format!(
                "broken off, on a connection that was used before: {is_used}: {why}"
            )),
        }
    }
}

#[test]
fn ten_restarts_under_load_lose_no_request() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = Server::stopped(FLOW);
    server.start_behind(&socket);
    assert_eq!(server.address(), address, "it says where it really listens");

    let (met, enough) = (SenderResults::default(), AtomicBool::new(false));
    let acknowledged = || met.acknowledged.lock().unwrap().len();
    std::thread::scope(|scope| {
        for sender in 0..64 {
            let (met, enough) = (&met, &enough);
            scope.spawn(move || send_until(enough, address, sender, met));
        }
        for restart in 0..=10 {
            let before = acknowledged();
            eventually("the senders are busy", || {
                let is_over = !met.trouble.lock().unwrap().is_empty();
                (is_over || acknowledged() >= before + 200).then_some(())
            });
            if restart < 10 && met.trouble.lock().unwrap().is_empty() {
                server.stop();
                server.start_behind(&socket);
            }
        }
        enough.store(true, Ordering::SeqCst);
    });
    let trouble = met.trouble.into_inner().unwrap();
    assert!(
        trouble.is_empty(),
        "{} times: {:?}",
        trouble.len(),
        trouble.iter().take(5).collect::<Vec<_>>()
    );
    assert_each_once(
        &server.submissions(),
        met.acknowledged.into_inner().unwrap(),
    );
}

#[test]
fn connection_between_servers_is_answered_by_next() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server::stopped(FLOW);
    server.start_behind(&socket);
    server.stop();
    let mut waiting = Connection::open(socket.local_addr().unwrap()).unwrap();
    waiting
        .send(&signed_post("/form", &Form::new("early").body()))
        .unwrap();
    server.start_behind(&socket);
    assert!(waiting.receive().unwrap().is_accepted());
    server.stop();
}
