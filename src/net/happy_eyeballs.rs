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
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that responds. The next address is tried after a delay, or
/// as soon as an address refuses.
///
/// # Errors
/// Returns the error of the last address that refused, after all have refused.
pub(super) async fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
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
