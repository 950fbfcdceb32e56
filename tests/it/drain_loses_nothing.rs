//! After SIGTERM, a server stops accepting, answers the requests in flight, and exits soon with
//! success.

use std::time::{Duration, Instant};

use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::load::Load;
use crate::support::{PLAIN_FLOW, Server, assert_each_once, eventually};

#[test]
fn sigterm_under_load_loses_nothing() {
    let mut server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    let load = Load::begin(server.address(), "/form", "drained", 8);
    eventually("the load is under way", || {
        (load.acknowledged() >= 100).then_some(())
    });

    let asked = Instant::now();
    server.stop();
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );

    let poured = load.end();
    server.start_again();
    server.settled();
    let submissions = server.submissions();
    let stored: Vec<&str> = submissions
        .iter()
        .filter_map(|row| row["flow_token"].as_str())
        .collect();
    for token in &poured.acknowledged {
        assert_eq!(
            stored.iter().filter(|stored| *stored == token).count(),
            1,
            "{token}"
        );
    }
    assert_eq!(
        server.rows(&["leads", "list", "--limit", "0"]).len(),
        stored.len()
    );
    assert!(
        !server.log().contains("\"store.unclean\":true"),
        "the end was a clean one:\n{}",
        server.log()
    );
}

#[test]
fn half_sent_request_is_answered_during_drain() {
    let mut server = Server::start(PLAIN_FLOW);
    let request = signed_post("/form", &Form::new("half").body());
    let (first, second) = request.split_at(request.len() - 10);
    let mut connection = server.connect();
    connection.send(first).unwrap();
    // The response on another connection shows that the server has read the earlier bytes.
    assert_eq!(server.get("/healthz").status, 200);

    server.send_sigterm();
    eventually("nobody is let in any more", || {
        crate::support::http::Connection::open(server.address())
            .is_err()
            .then_some(())
    });
    connection.send(second).unwrap();
    assert!(connection.receive().unwrap().is_accepted());
    assert!(connection.closes_silently());
    assert_eq!(server.wait().code(), Some(0));

    server.start_again();
    assert_each_once(&server.submissions(), ["half"]);
}

#[test]
fn stalled_sender_does_not_delay_exit() {
    let mut server = Server::start(&format!(
        "{PLAIN_FLOW}\n[limits]\nrequest_timeout = \"60s\"\nheader_timeout = \"60s\"\n"
    ));
    let mut connection = server.connect();
    connection
        .send(b"POST /form HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .unwrap();
    let asked = Instant::now();
    server.stop();
    assert!(
        asked.elapsed() < Duration::from_secs(11),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn second_signal_exits_at_once() {
    let mut server = Server::start(&format!(
        "{PLAIN_FLOW}\n[limits]\nrequest_timeout = \"60s\"\nheader_timeout = \"60s\"\n"
    ));
    let mut connection = server.connect();
    connection
        .send(b"POST /form HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    server.send_sigterm();
    eventually("it drains", || {
        crate::support::http::Connection::open(server.address())
            .is_err()
            .then_some(())
    });
    let asked_again = Instant::now();
    server.send_sigterm();
    assert_ne!(
        server.wait().code(),
        Some(0),
        "a hurried end is no good one"
    );
    assert!(asked_again.elapsed() < Duration::from_secs(3));
}
