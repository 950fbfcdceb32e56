//! Handles a connection of a fake receiver byte by byte. No library would behave this badly.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::{Behavior, FLOOD_BYTES, RecordedRequest, Shared};
use crate::support::request::Request;

/// Pause between two bytes of a slow receiver.
const DRIP: Duration = Duration::from_millis(30);

/// Answers the requests of one connection with the current behavior of the receiver, until the
/// connection closes.
pub(super) fn talk(socket: &TcpStream, shared: &Shared) {
    let (mut from, mut to) = (BufReader::new(socket), socket);
    socket.set_nodelay(true).unwrap();
    while let Some(asked) = read(&mut from) {
        let act = Arc::clone(&shared.act.lock().unwrap());
        let act = act(&asked);
        let number = {
            let mut all = shared.asked.lock().unwrap();
            all.push(asked);
            all.len() - 1
        };
        // The status is recorded before it is sent, so that the record contains every answered
        // request.
        let is_logged = |status| shared.asked.lock().unwrap()[number].status = Some(status);
        // The client may be gone. A response that can't be sent is not an error here.
        match act {
            Behavior::Respond(status, headers, body) => {
                is_logged(status);
                let mut head =
                    format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n", body.len());
                head.extend(
                    headers
                        .iter()
                        .map(|(name, value)| format!("{name}: {value}\r\n")),
                );
                // A 204 response has no body, so a length would be wrong.
                if status == 204 {
                    head = head.replace("content-length: 0\r\n", "");
                }
                if to
                    .write_all(format!("{head}\r\n{body}").as_bytes())
                    .is_err()
                {
                    return;
                }
            }
            Behavior::Hang => read_until_closed(&mut from),
            Behavior::DripHead => drip(to, b"HTTP/1.1 200 So\r\n", b"x: y\r\n"),
            Behavior::DripBody => {
                is_logged(200);
                drip(
                    to,
                    b"HTTP/1.1 200 So\r\ncontent-length: 1000000\r\n\r\n",
                    b"x",
                );
            }
            Behavior::Flood => {
                is_logged(200);
                let poured = flood(to);
                let mut most = shared.poured.lock().unwrap();
                *most = poured.max(*most);
                return;
            }
            Behavior::Raw(text) => {
                let _ = to.write_all(text.as_bytes());
                return;
            }
            Behavior::RawAndStayOpen(text) => {
                let _ = to.write_all(text.as_bytes());
            }
            Behavior::Close => return,
            Behavior::Reset => {
                sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
                return;
            }
        }
    }
}

/// Reads until the client closes the connection.
fn read_until_closed(from: &mut impl BufRead) {
    while from.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
        let read = from.fill_buf().map_or(0, <[u8]>::len);
        from.consume(read);
    }
}

/// Sends `first`, then `next` repeatedly, until the client is gone.
fn drip(mut to: &TcpStream, first: &[u8], next: &[u8]) {
    let mut sent = to.write_all(first);
    while sent.is_ok() {
        // The read returns early if the client is gone.
        to.set_read_timeout(Some(DRIP)).unwrap();
        match to.read(&mut [0]) {
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => return,
        }
        sent = to.write_all(next);
    }
}

/// Sends up to [`FLOOD_BYTES`] and returns the number of sent bytes.
fn flood(mut to: &TcpStream) -> usize {
    let piece = vec![b'x'; 64 << 10];
    let mut poured = 0;
    if to
        .write_all(format!("HTTP/1.1 200 So\r\ncontent-length: {FLOOD_BYTES}\r\n\r\n").as_bytes())
        .is_ok()
    {
        while poured < FLOOD_BYTES && to.write_all(&piece).is_ok() {
            poured += piece.len();
        }
    }
    poured
}

/// Reads one request. Returns `None` if the connection is closed.
fn read(from: &mut impl BufRead) -> Option<RecordedRequest> {
    let request = Request::read(from)?;
    Some(RecordedRequest {
        request,
        at: jiff::Timestamp::now(),
        moment: Instant::now(),
        status: None,
    })
}
