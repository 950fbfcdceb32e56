//! Tests that an address that never responds blocks no other address of its host.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::time::timeout;

use super::support::unresponsive_address;
use crate::net::happy_eyeballs::{ATTEMPT_DELAY, connect_first};

fn refusing_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn unresponsive_address_blocks_no_other() {
    let (unresponsive, _listener) = unresponsive_address();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    for addresses in [
        &[open][..],
        &[unresponsive, open],
        &[unresponsive, refusing_address(), open],
        &[
            refusing_address(),
            unresponsive,
            unresponsive,
            open,
            unresponsive,
        ],
    ] {
        let connected = timeout(Duration::from_secs(15), connect_first(addresses)).await;
        assert_eq!(
            connected
                .expect("within the deadline")
                .unwrap()
                .peer_addr()
                .unwrap(),
            open,
            "{addresses:?}"
        );
    }
}

#[tokio::test]
async fn all_refused_returns_last_error() {
    let error = connect_first(&[refusing_address(), refusing_address()])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(
        connect_first(&[]).await.unwrap_err().to_string(),
        "the name resolves to no address"
    );
    // The call does not end while one address may still respond.
    let (unresponsive, _listener) = unresponsive_address();
    assert!(
        timeout(
            2 * ATTEMPT_DELAY,
            connect_first(&[unresponsive, refusing_address()])
        )
        .await
        .is_err()
    );
}
