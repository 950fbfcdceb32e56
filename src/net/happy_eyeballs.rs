//! Connects to the first address of a host that responds (RFC 8305, 5).
//!
//! A host may have addresses that never respond, for example without an IPv6 route. If addresses
//! were tried one after the other, the first of these would use up the whole timeout. HTTP requests
//! and e-mails connect through this module. The caller sets the deadline.
//!
//! See [`super::address_policy`] for the allowed addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Delay before the next address is tried, too (RFC 8305, 8: *Connection Attempt Delay*).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that responds. The next address is tried after a delay, or
/// as soon as an address refuses.
///
/// # Errors
/// Returns the error of the last address that refused, after all have refused.
pub(crate) async fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    // Unfinished attempts are aborted when the set is dropped.
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.iter();
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address");
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(*address));
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(connection))) => return Ok(connection),
                Some(Ok(Err(error))) => refused = error,
                Some(Err(error)) => refused = error.into(),
                None => return Err(refused),
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{TcpListener, TcpStream};

    use tokio::net::TcpSocket;
    use tokio::time::timeout;

    use super::*;

    /// Returns an address that never responds, because the queue of its listener is full. The
    /// address stays unresponsive until the caller drops the second value.
    pub(crate) fn unresponsive_address() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(queued) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queue.push(queued);
        }
        (address, (listener, queue))
    }

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
}
