//! What a receiver of the outside world does with a connection, byte by byte: no library would lie like this.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::{Act, Asked, FLOOD_BYTES, Shared};
use crate::support::request::Request;

/// Between two bytes of somebody slow.
const DRIP: Duration = Duration::from_millis(30);

/// Answers what comes over one connection, as its receiver does at the moment, until it ends.
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
        // Recorded before it is said: who was answered is never missing in the record.
        let is_told = |status| shared.asked.lock().unwrap()[number].status = Some(status);
        // Whoever asked may have gone: no answer that can't be sent is an error here.
        match act {
            Act::Say(status, headers, body) => {
                is_told(status);
                let mut head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n", body.len());
                head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
                // These have no body, and a length would be another lie.
                if status == 204 {
                    head = head.replace("content-length: 0\r\n", "");
                }
                if to.write_all(format!("{head}\r\n{body}").as_bytes()).is_err() {
                    return;
                }
            }
            Act::Hang => until_gone(&mut from),
            Act::DripHead => drip(to, b"HTTP/1.1 200 So\r\n", b"x: y\r\n"),
            Act::DripBody => {
                is_told(200);
                drip(to, b"HTTP/1.1 200 So\r\ncontent-length: 1000000\r\n\r\n", b"x");
            }
            Act::Flood => {
                is_told(200);
                let poured = flood(to);
                let mut most = shared.poured.lock().unwrap();
                *most = poured.max(*most);
                return;
            }
            Act::Raw(text) => {
                let _ = to.write_all(text.as_bytes());
                return;
            }
            Act::RawAndStay(text) => {
                let _ = to.write_all(text.as_bytes());
            }
            Act::Close => return,
            Act::Reset => {
                sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
                return;
            }
        }
    }
}

/// Ends when the other side does.
fn until_gone(from: &mut impl BufRead) {
    while from.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
        let read = from.fill_buf().map_or(0, <[u8]>::len);
        from.consume(read);
    }
}

/// Sends `first`, then `next` again and again, until the other side is gone.
fn drip(mut to: &TcpStream, first: &[u8], next: &[u8]) {
    let mut sent = to.write_all(first);
    while sent.is_ok() {
        // Wakes up early where the other side has gone.
        to.set_read_timeout(Some(DRIP)).unwrap();
        match to.read(&mut [0]) {
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => return,
        }
        sent = to.write_all(next);
    }
}

/// Sends [`FLOOD_BYTES`], as far as they are taken. Gives how many were.
fn flood(mut to: &TcpStream) -> usize {
    let piece = vec![b'x'; 64 << 10];
    let mut poured = 0;
    if to.write_all(format!("HTTP/1.1 200 So\r\ncontent-length: {FLOOD_BYTES}\r\n\r\n").as_bytes()).is_ok() {
        while poured < FLOOD_BYTES && to.write_all(&piece).is_ok() {
            poured += piece.len();
        }
    }
    poured
}

/// One request; `None` where the connection ends.
fn read(from: &mut impl BufRead) -> Option<Asked> {
    let request = Request::read(from)?;
    Some(Asked { request, at: jiff::Timestamp::now(), moment: Instant::now(), status: None })
}
