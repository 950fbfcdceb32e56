//! Tests the life of connections: health checks, HTTP versions, half-closed clients, pipelining and
//! the drain.

use std::time::Duration;

use super::support::{RawConnection, STRICT, TestServer, form, get, signed};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn health_answers_get_and_head() {
    let server = TestServer::start(STRICT);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.send_request(&get(path)).status, 200);
        let mut connection = server.connect();
        connection.send(format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
        assert_eq!(connection.receive_head().unwrap().status, 200);
        // Nothing of the first response is left.
        connection.send(GET);
        connection.assert_ok();
    }
    server.store.close().unwrap();
    for request in [get("/readyz"), signed("/form", &form("t"))] {
        server.send_request(&request).assert_error(503, "not_ready");
    }
    assert_eq!(server.send_request(GET).status, 200, "the process lives");
}

#[test]
fn http10_request_closes_connection() {
    let server = TestServer::start(STRICT);
    let request = String::from_utf8(signed("/form", &form("old"))).unwrap();
    let mut connection = server.connect();
    connection.send(request.replace("HTTP/1.1", "HTTP/1.0").as_bytes());
    connection.assert_accepted();
    connection.assert_closed();
}

#[test]
fn half_closed_client_is_answered() {
    let server = TestServer::start(STRICT);
    let mut connection = server.connect();
    connection.send(&signed("/form", &form("half")));
    connection.finish_sending();
    connection.assert_accepted();
    connection.assert_closed();
}

#[test]
fn disconnected_client_loses_no_form() {
    let server = TestServer::start(STRICT);
    let mut connection = server.connect();
    connection.send(&signed("/form", &form("gone")));
    drop(connection);
    let response = loop {
        let response = server.send_request(&signed("/form", &form("gone")));
        if response.status == 200 {
            break response;
        }
    };
    assert!(
        response.json()["screen"] == "SUCCESS_SCREEN"
            || response.json()["status"] == "already_processed"
    );
    assert_eq!(server.submissions(), 1);
}

#[test]
fn client_that_never_reads_is_blocked() {
    let server = TestServer::start(STRICT);
    let mut connection = server.connect();
    let requests = GET.repeat(1000);
    let limit = 64 << 20;
    let sent = connection.send_until_stuck(&requests, limit, Duration::from_millis(500));
    assert!(
        sent < limit,
        "{sent} bytes of requests were taken, and none of their answers"
    );
    assert_eq!(server.send_request(GET).status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start(STRICT);
    let mut connection = server.connect();
    let requests: Vec<u8> = ["a", "b", "a"]
        .iter()
        .flat_map(|token| [signed("/form", &form(token)), GET.to_vec()].concat())
        .collect();
    connection.send(&requests);
    for (field, expected) in [
        ("screen", "SUCCESS_SCREEN"),
        ("status", "alive"),
        ("screen", "SUCCESS_SCREEN"),
        ("status", "alive"),
        ("status", "already_processed"),
        ("status", "alive"),
    ] {
        assert_eq!(connection.receive().unwrap().json()[field], expected);
    }
}

#[test]
fn drain_closes_idle_and_finishes_requests() {
    let mut server = TestServer::start(STRICT);
    let mut idle = server.connect();
    idle.send(GET);
    idle.assert_ok();
    let mut silent = server.connect();
    let mut busy = server.connect();
    let request = signed("/form", &form("busy"));
    busy.send(&request[..request.len() - 1]);
    // The server has accepted all three connections when it responds on a later one.
    assert_eq!(server.send_request(GET).status, 200);

    server.stop();
    idle.assert_closed();
    silent.assert_closed();
    busy.send(&request[request.len() - 1..]);
    let response = busy.receive().unwrap();
    assert_eq!(response.json()["screen"], "SUCCESS_SCREEN");
    assert!(response.is_connection_close(), "{response:?}");
    busy.assert_closed();
    server.wait();
}

#[test]
fn drain_accepts_one_more_request_per_connection() {
    let config = STRICT
        .replace("drain_timeout = \"0s\"", "drain_timeout = \"2s\"")
        .replace("\"200ms\"", "\"10s\"");
    let mut server = TestServer::start(&config);
    let mut used = server.connect();
    used.send(GET);
    assert!(!used.receive().unwrap().is_connection_close());
    let mut fresh = server.connect();
    let (mut silent, mut half) = (server.connect(), server.connect());
    let (first, second) = GET.split_at(10);
    half.send(first);
    // The server has accepted all connections when it responds on a later one.
    assert_eq!(server.send_request(GET).status, 200);

    server.stop();
    server.wait_refused();
    // A connection that the server has accepted but not yet read from gets a response, too.
    for connection in [&mut used, &mut fresh] {
        connection.send(GET);
        assert_last_response(connection);
    }
    silent.assert_closed();
    // A connection with the beginning of a request is not quiet.
    half.send(second);
    assert_last_response(&mut half);
    server.wait();
}

fn assert_last_response(connection: &mut RawConnection) {
    let response = connection.receive().unwrap();
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.is_connection_close(), "{response:?}");
    connection.assert_closed();
}
