//! Tests the limits of responses: size, memory, and the time for a body after its status.

use std::time::Duration;

use super::support::{DEADLINE, client, fetch, post, request, responding_server};
use crate::clock::timer_now;
use crate::net::client::HEAD_BYTES_MAX;
use crate::net::response::BODY_GRACE;
use crate::net::{AddressPolicy, DecidedBy, HttpClient, NetError, PoolLimits};

#[tokio::test]
async fn endless_response_is_bounded() {
    let declared = b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for head in [&declared[..], endless] {
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(2);
        let response = [head, chunk.as_bytes()].concat();
        let (address, _) = responding_server(response.leak(), true);
        let fetched = fetch(client(), format!("http://{address}/")).await;
        let error = fetched.unwrap_err();
        let is_1000 =
            matches!(error, NetError::ResponseTooLarge { bytes_max, .. } if bytes_max == 1000);
        assert!(is_1000, "{error}");
    }
    let head = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(2 * HEAD_BYTES_MAX));
    let (address, _) = responding_server(head.leak().as_bytes(), true);
    let fetched = fetch(client(), format!("http://{address}/")).await;
    let error = fetched.unwrap_err();
    assert!(matches!(error, NetError::Disconnected { .. }), "{error}");
}

#[tokio::test]
async fn deciding_body_is_read_until_deadline() {
    for (decided_by, min, max) in [
        (DecidedBy::Status, Duration::ZERO, 2 * BODY_GRACE),
        (DecidedBy::Body, 10 * BODY_GRACE, DEADLINE + BODY_GRACE),
    ] {
        let (address, answered) =
            responding_server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", true);
        let request = request(&format!("http://{address}/"));
        let pending =
            tokio::spawn(async move { client().post(request, DEADLINE, 8, decided_by).await });
        answered.await.unwrap();
        // From here on, the paused time advances when the runtime is idle.
        tokio::time::pause();
        let began = timer_now();
        let response = pending.await.unwrap().unwrap();
        let waited = began.elapsed();
        tokio::time::resume();
        assert!(waited >= min && waited <= max, "{decided_by:?}: {waited:?}");
        assert!(
            !response.is_complete && response.status == 200 && &*response.body_prefix == b"hal",
            "{response:?}"
        );
    }
}

#[tokio::test]
async fn status_decides_despite_incomplete_body() {
    let chunk = format!("3e8\r\n{}", "x".repeat(1000));
    // Head and body of the response, with the expected prefix.
    for (head, body, stays_open, prefix, is_whole) in [
        ("204 No Content", "", true, "", true),
        ("200 OK\r\ncontent-length: 4", "body", true, "body", true),
        (
            "200 OK\r\ncontent-length: 100000000",
            "123456789",
            true,
            "12345678",
            false,
        ),
        ("200 OK\r\ncontent-length: 9", "hal", false, "hal", false),
        ("200 OK\r\ncontent-length: 9", "hal", true, "hal", false),
        (
            "200 OK\r\ntransfer-encoding: chunked",
            &chunk,
            true,
            "xxxxxxxx",
            false,
        ),
    ] {
        let response = format!("HTTP/1.1 {head}\r\n\r\n{body}");
        let (address, _) = responding_server(response.leak().as_bytes(), stays_open);
        let received = post(client(), format!("http://{address}/")).await.unwrap();
        assert!(received.status.is_success());
        assert_eq!(
            (&*received.body_prefix, received.is_complete),
            (prefix.as_bytes(), is_whole)
        );
    }
}

#[tokio::test]
async fn response_memory_is_bounded_and_released() {
    let limits = PoolLimits {
        response_memory: 5,
        ..PoolLimits::default()
    };
    let client = HttpClient::plaintext(AddressPolicy::LoopbackOnly, limits);
    for (body, expects_full) in [("whole", false), ("larger", true), ("again", false)] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let (address, _) = responding_server((head + body).leak().as_bytes(), false);
        let result = fetch(client.clone(), format!("http://{address}/")).await;
        let is_full = matches!(result, Err(NetError::ResponseMemoryFull { .. }));
        assert_eq!(is_full, expects_full, "{result:?}");
    }
}
