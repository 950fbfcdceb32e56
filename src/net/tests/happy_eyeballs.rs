//! Tests that an address that never responds blocks no other address of its host.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use tokio::time::timeout;

use super::support::{refusing_address, unresponsive_address};
use crate::net::happy_eyeballs::{ATTEMPT_DELAY, connect_first};

#[tokio::test]
async fn unresponsive_address_blocks_no_other() {
    let (unresponsive, _listener) = unresponsive_address();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (open, refusing) = (listener.local_addr().unwrap(), refusing_address());
    for addresses in [
        &[open][..],
        &[unresponsive, open],
        &[unresponsive, refusing, open],
        &[refusing, unresponsive, unresponsive, open, unresponsive],
    ] {
        let connected = timeout(Duration::from_secs(15), connect_first(addresses)).await;
        let socket = connected.expect("within the deadline").unwrap();
        assert_eq!(socket.peer_addr().unwrap(), open, "{addresses:?}");
    }
}

#[tokio::test]
async fn all_refused_returns_last_error() {
    let addresses = [refusing_address(), refusing_address()];
    let error = connect_first(&addresses).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let error = connect_first(&[]).await.unwrap_err();
    assert_eq!(error.to_string(), "the name resolves to no address");
    // The call does not end while one address may still respond.
    let (unresponsive, _listener) = unresponsive_address();
    let addresses = [unresponsive, refusing_address()];
    let connected = timeout(2 * ATTEMPT_DELAY, connect_first(&addresses)).await;
    assert!(connected.is_err());
}
