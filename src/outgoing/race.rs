//! A connection to whichever address of a host answers (RFC 8305, 5). A host may have addresses that nobody answers at, as where
//! IPv6 leads nowhere: one after the other, the first of those would take all the time that there is.
//!
//! Requests and mails connect like this. Which addresses may be connected to is `super::reach`'s, how long all of it may take
//! the caller's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long an address is waited for before the next is asked as well (RFC 8305, 8: *Connection Attempt Delay*).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that answers. Each has a head start on those behind it, unless it refuses.
///
/// # Errors
/// That of the last one that refused, once all have.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    // Those that are too late end with it.
    let mut asked = JoinSet::new();
    let mut waiting = addresses.iter();
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "its name leads to no address");
    loop {
        if let Some(address) = waiting.next() {
            asked.spawn(TcpStream::connect(*address));
        }
        tokio::select! {
            ended = asked.join_next() => match ended {
                Some(Ok(Ok(connection))) => return Ok(connection),
                Some(Ok(Err(error))) => refused = error,
                Some(Err(error)) => refused = error.into(),
                None => return Err(refused),
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{TcpListener, TcpStream};

    use tokio::net::TcpSocket;
    use tokio::time::timeout;

    use super::*;

    /// An address that answers nobody: the queue of its listener is full. Both are to be kept.
    pub(in crate::outgoing) fn mute() -> (SocketAddr, impl Sized) {
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

    fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn an_address_that_never_answers_does_not_keep_from_those_behind_it() {
        let (mute, _kept) = mute();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        for addresses in [&[open][..], &[mute, open], &[mute, refusing(), open], &[refusing(), mute, mute, open, mute]]
        {
            let connected = timeout(Duration::from_secs(15), connect(addresses)).await;
            assert_eq!(connected.expect("within the deadline").unwrap().peer_addr().unwrap(), open, "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn where_all_refuse_it_is_said_why() {
        let error = connect(&[refusing(), refusing()]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(&[]).await.unwrap_err().to_string(), "its name leads to no address");
        // As long as one may still answer, the others' no is not the end.
        let (mute, _kept) = mute();
        assert!(timeout(2 * HEAD_START, connect(&[mute, refusing()])).await.is_err());
    }
}
