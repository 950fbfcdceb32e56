//! How connections begin, go on and end: health, versions, half-closed senders, pipelines, the drain.

use std::time::Duration;

use super::support::{Running, STRICT, form, signed};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn health_is_told_with_and_without_a_body() {
    let server = Running::start(STRICT);
    for path in ["/healthz", "/readyz"] {
        let get = server.ask(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
        assert_eq!(get.status, 200);
        let mut wire = server.connect();
        wire.send(format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
        assert_eq!(wire.receive_head().unwrap().status, 200);
        wire.send(GET);
        assert_eq!(wire.receive().unwrap().status, 200, "nothing of the first answer is left");
    }
    server.store.close().unwrap();
    server.ask(b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").must_be(503, "not_ready");
    server.ask(&signed("/form", &form("t"))).must_be(503, "not_ready");
    assert_eq!(server.ask(GET).status, 200, "the process lives");
}

#[test]
fn an_old_sender_is_answered_and_the_connection_closed() {
    let server = Running::start(STRICT);
    let request = String::from_utf8(signed("/form", &form("old"))).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut wire = server.connect();
    wire.send(request.as_bytes());
    assert_eq!(wire.receive().unwrap().json()["screen"], "SUCCESS_SCREEN");
    wire.must_end();
}

#[test]
fn a_sender_that_has_said_all_is_still_answered() {
    let server = Running::start(STRICT);
    let mut wire = server.connect();
    wire.send(&signed("/form", &form("half")));
    wire.finish_sending();
    assert_eq!(wire.receive().unwrap().json()["screen"], "SUCCESS_SCREEN");
    wire.must_end();
}

#[test]
fn a_sender_that_hangs_up_loses_no_form() {
    let server = Running::start(STRICT);
    let mut wire = server.connect();
    wire.send(&signed("/form", &form("gone")));
    drop(wire);
    let answer = loop {
        let answer = server.ask(&signed("/form", &form("gone")));
        if answer.status == 200 {
            break answer;
        }
    };
    assert!(answer.json()["screen"] == "SUCCESS_SCREEN" || answer.json()["status"] == "already_processed");
    assert_eq!(server.submissions(), 1);
}

#[test]
fn who_never_reads_answers_can_not_send_for_ever() {
    let server = Running::start(STRICT);
    let mut wire = server.connect();
    let many = GET.repeat(1000);
    let most = 64 << 20;
    let sent = wire.send_until_stuck(&many, most, Duration::from_millis(500));
    assert!(sent < most, "{sent} bytes of requests were taken, and none of their answers");
    assert_eq!(server.ask(GET).status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order_however_slowly_they_are_read() {
    let server = Running::start(STRICT);
    let mut wire = server.connect();
    let requests: Vec<u8> =
        ["a", "b", "a"].iter().flat_map(|token| [signed("/form", &form(token)), GET.to_vec()].concat()).collect();
    wire.send(&requests);
    let said: Vec<_> = (0..6).map(|_| wire.receive().unwrap().json()).collect();
    assert_eq!((&said[0]["screen"], &said[2]["screen"]), (&"SUCCESS_SCREEN".into(), &"SUCCESS_SCREEN".into()));
    assert_eq!(said[4]["status"], "already_processed");
    assert!([1, 3, 5].iter().all(|at| said[*at]["status"] == "alive"));
}

#[test]
fn at_the_end_idle_connections_close_at_once_and_requests_are_finished() {
    let mut server = Running::start(STRICT);
    let mut idle = server.connect();
    idle.send(GET);
    assert_eq!(idle.receive().unwrap().status, 200);
    let mut silent = server.connect();
    let mut busy = server.connect();
    let request = signed("/form", &form("busy"));
    busy.send(&request[..request.len() - 1]);
    // All three have been accepted once a later one is answered.
    assert_eq!(server.ask(GET).status, 200);

    server.stop();
    idle.must_end();
    silent.must_end();
    busy.send(&request[request.len() - 1..]);
    let answer = busy.receive().unwrap();
    assert_eq!(answer.json()["screen"], "SUCCESS_SCREEN");
    assert!(answer.closes(), "{answer:?}");
    busy.must_end();
    server.wait();
}

#[test]
fn at_the_end_open_connections_may_send_one_more_request_each() {
    let config = STRICT.replace("drain_timeout = \"0s\"", "drain_timeout = \"2s\"").replace("\"200ms\"", "\"10s\"");
    let mut server = Running::start(&config);
    let mut used = server.connect();
    used.send(GET);
    assert!(!used.receive().unwrap().closes());
    let mut fresh = server.connect();
    let (mut silent, mut half) = (server.connect(), server.connect());
    let (first, second) = GET.split_at(10);
    half.send(first);
    // All have been accepted once a later one is answered.
    assert_eq!(server.ask(GET).status, 200);

    server.stop();
    server.wait_refused();
    // Let in by the system at the same moment, and read by nobody yet, is as good.
    for wire in [&mut used, &mut fresh] {
        wire.send(GET);
        let answer = wire.receive().unwrap();
        assert!(answer.status == 200 && answer.closes(), "{answer:?}");
        wire.must_end();
    }
    silent.must_end();
    half.send(second);
    let answer = half.receive().unwrap();
    assert!(answer.status == 200 && answer.closes(), "a request that was begun is no silence: {answer:?}");
    half.must_end();
    server.wait();
}

#[test]
fn operators_get_the_figures_and_errors_with_a_body() {
    let server = Running::start(STRICT);
    let figures = server.ask_admin(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((figures.status, figures.body.as_slice()), (200, b"flowgate_up 1\n".as_slice()));
    assert!(figures.head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{figures:?}");
    assert_eq!(server.ask_admin(GET).status, 200);
    server.ask_admin(b"GET /else HTTP/1.1\r\nhost: a\r\n\r\n").must_be(404, "not_found");
    server.ask_admin(b"DELETE /metrics HTTP/1.1\r\nhost: a\r\n\r\n").must_be(405, "method_not_allowed");
    server.ask_admin(b"NONSENSE\r\n\r\n").must_be(400, "bad_request");
}
