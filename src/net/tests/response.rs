//! Tests the limits of responses: size, memory, and the time for a body after its status.

use std::time::Duration;

use tokio::time::Instant;

use super::support::{DEADLINE, client, fetch, post, request, responding_server};
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
        let error = fetch(client(), format!("http://{address}/"))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                NetError::ResponseTooLarge {
                    bytes_max: 1000,
                    ..
                }
            ),
            "{error}"
        );
    }
    let head = [
        &b"HTTP/1.1 200 OK\r\nx: "[..],
        &vec![b'x'; 2 * HEAD_BYTES_MAX],
    ]
    .concat();
    let (address, _) = responding_server(head.leak(), true);
    let error = fetch(client(), format!("http://{address}/"))
        .await
        .unwrap_err();
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
        let began = Instant::now();
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
    let endless = [
        &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n"[..],
        &[b'x'; 1000],
    ]
    .concat();
    for (response, stays_open, prefix, is_whole) in [
        (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], true, "", true),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
            true,
            "body",
            true,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n123456789",
            true,
            "12345678",
            false,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal",
            false,
            "hal",
            false,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal",
            true,
            "hal",
            false,
        ),
        (endless.leak(), true, "xxxxxxxx", false),
    ] {
        let (address, _) = responding_server(response, stays_open);
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
    for (response, is_full) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole"[..],
            false,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nlarger", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain", false),
    ] {
        let (address, _) = responding_server(response, false);
        let result = fetch(client.clone(), format!("http://{address}/")).await;
        assert_eq!(
            matches!(result, Err(NetError::ResponseMemoryFull { .. })),
            is_full,
            "{result:?}"
        );
    }
}
