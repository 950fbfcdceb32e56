//! What stands between a socket and hyper: deadlines for silence, for heads and for deaf readers, and a body for hyper's own
//! errors.
//!
//! hyper closes a connection whose head is late without a word, and answers a head that it can't read with an empty
//! body. Here the first gets its 408, and the second the same JSON that all errors have. After a refusal whose body was
//! not read, what still comes is thrown away for a moment: closing at once would reset the connection, and the sender
//! would never see the answer.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::respond;

/// After a refusal: how long, and how much, is still read and thrown away.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What the service and the guard of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Phase {
    /// Between requests, in a head, or in the hands of the service.
    now: AtomicU8,
    /// A request was refused before its body was read.
    unread: AtomicBool,
}

impl Phase {
    /// Whether no request has begun, as far as anybody knows.
    pub(super) fn is_idle(&self) -> bool {
        self.now.load(Ordering::Acquire) == IDLE
    }

    /// A head is complete: from here on the service keeps the deadlines.
    pub(super) fn begin(&self) {
        self.now.store(BUSY, Ordering::Release);
    }

    /// The answer is on its way.
    pub(super) fn end(&self) {
        self.now.store(IDLE, Ordering::Release);
    }

    /// The body of the request was not read to its end.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Release);
    }
}

/// A socket with its deadlines.
pub(super) struct Guard<S> {
    socket: S,
    phase: Arc<Phase>,
    idle: Duration,
    head: Duration,
    /// No byte of a first request has come.
    is_new: bool,
    /// The deadline of the phase that it was set in.
    timer: Option<(u8, Pin<Box<Sleep>>)>,
    /// When whoever does not read what is written is let go.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What is to be written in place of what hyper wrote.
    instead: Vec<u8>,
    written: usize,
    /// The connection is over: a deadline has passed.
    over: bool,
    /// The sender has been told why the connection ends.
    told: bool,
    lingered: usize,
}

impl<S> Guard<S> {
    pub(super) fn new(socket: S, phase: Arc<Phase>, idle: Duration, head: Duration) -> Self {
        Self {
            socket,
            phase,
            idle,
            head,
            is_new: true,
            timer: None,
            stalled: None,
            instead: Vec::new(),
            written: 0,
            over: false,
            told: false,
            lingered: 0,
        }
    }

    /// Whether the deadline of the present phase has passed.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.phase.now.load(Ordering::Acquire);
        let length = match phase {
            // A client connects because it has a request: one that sends nothing must not hold a place for as long as a proxy
            // keeps a used connection.
            IDLE if self.is_new => self.idle.min(self.head),
            IDLE => self.idle,
            HEAD => self.head,
            _ => {
                self.timer = None;
                return false;
            }
        };
        if self.timer.as_ref().is_none_or(|(of, _)| *of != phase) {
            self.timer = Some((phase, Box::pin(tokio::time::sleep_until(Instant::now() + length))));
        }
        self.timer.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready())
    }
}

impl<S: AsyncWrite + Unpin> Guard<S> {
    /// The last words of a connection whose head will never be whole. That nobody reads them changes nothing.
    fn end_with(&mut self, status: u16, cx: &mut Context<'_>) -> Poll<()> {
        self.over = true;
        self.told = true;
        self.instead = whole_error(status).unwrap_or_default();
        self.write_instead(cx).map(drop)
    }

    /// Writes some of `bytes`, unless nobody has read any for as long as a connection may be silent.
    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let idle = self.idle;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes what stands in place of hyper's own words. What nobody reads is given up.
    fn write_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let instead = std::mem::take(&mut self.instead);
        while let Some(rest) = instead.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.write(cx, rest) {
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = instead;
                    return Poll::Pending;
                }
            }
        }
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Says why hyper lets the connection go, where nobody has said it yet: hyper drops a sender of HTTP/2 without an answer,
    /// and a head that was begun behind a request and never ended.
    pub(super) async fn explain(mut self, why: &hyper::Error) {
        let status = match () {
            () if self.told => return,
            () if why.is_parse() => 400,
            () if why.is_incomplete_message() && self.over => 408,
            () => return,
        };
        self.phase.leave_unread();
        poll_fn(|cx| self.end_with(status, cx)).await;
        let _ = self.shutdown().await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.over {
            let _ = ready!(this.write_instead(cx));
            return Poll::Ready(Ok(()));
        }
        let (before, room) = (out.filled().len(), out.remaining());
        if Pin::new(&mut this.socket).poll_read(cx, out)?.is_ready() {
            // The first bytes of a head, which ends this silence and begins a deadline of its own; in other phases nothing
            // changes.
            let exchange = |phase: &AtomicU8| phase.compare_exchange(IDLE, HEAD, Ordering::AcqRel, Ordering::Acquire);
            if out.filled().len() > before {
                this.is_new = false;
                if exchange(&this.phase.now).is_ok() {
                    this.timer = None;
                }
            } else if room > 0 && this.phase.now.load(Ordering::Acquire) == HEAD {
                // Cut off in the middle of a head: whoever still listens is told.
                ready!(this.end_with(400, cx));
            }
            return Poll::Ready(Ok(()));
        }
        if !this.is_late(cx) {
            return Poll::Pending;
        }
        this.over = true;
        if this.phase.now.load(Ordering::Acquire) == HEAD {
            ready!(this.end_with(408, cx));
        }
        // For hyper the connection ends here.
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(Ok(bytes.len()));
        }
        if this.instead.is_empty() {
            match empty_error(bytes).and_then(whole_error) {
                Some(error) => (this.instead, this.told) = (error, true),
                None => return this.write(cx, bytes),
            }
        }
        ready!(this.write_instead(cx))?;
        this.phase.leave_unread();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        const LINGERING: u8 = u8::MAX;
        let this = &mut *self;
        ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        if !this.phase.unread.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        if this.timer.as_ref().is_none_or(|(of, _)| *of != LINGERING) {
            this.timer = Some((LINGERING, Box::pin(tokio::time::sleep(LINGER))));
        }
        let mut waste = [0; 8 * 1024];
        while this.lingered < LINGER_BYTES {
            let mut waste = ReadBuf::new(&mut waste);
            match Pin::new(&mut this.socket).poll_read(cx, &mut waste) {
                Poll::Ready(Ok(())) if !waste.filled().is_empty() => this.lingered += waste.filled().len(),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let over = this.timer.as_mut().is_none_or(|(_, timer)| timer.as_mut().poll(cx).is_ready());
                    return if over { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The status of an answer that hyper made by itself: an error with no body. Ours always have one.
fn empty_error(bytes: &[u8]) -> Option<u16> {
    let head = std::str::from_utf8(bytes).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let is_bare = status.starts_with('4') && head.to_ascii_lowercase().contains("\r\ncontent-length: 0\r\n");
    if is_bare { status.parse().ok() } else { None }
}

/// The same error as a whole answer, after which the connection is closed.
fn whole_error(status: u16) -> Option<Vec<u8>> {
    let (reason, code, message) = respond::bare_error(status)?;
    let body = format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
    let length = body.len();
    Some(
        format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_is_not_taken_for_a_silent_one() {
        let (mut peer, socket) = tokio::io::duplex(64);
        let phase = Arc::new(Phase::default());
        let mut guard = Guard::new(socket, Arc::clone(&phase), MINUTE, MINUTE / 6);
        for request in 0..10 {
            let pause = if request == 0 { Duration::ZERO } else { MINUTE / 2 };
            let send = async {
                tokio::time::sleep(pause).await;
                peer.write_all(b"x").await.unwrap();
            };
            let (read, ()) = tokio::join!(guard.read_u8(), send);
            assert_eq!(read.ok(), Some(b'x'), "request {request}");
            phase.begin();
            phase.end();
        }
        assert!(guard.read_u8().await.is_err(), "a silent one is let go");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_first_request_is_closed_as_early_as_one_with_a_late_head() {
        for (idle, head, expected) in [(MINUTE, MINUTE / 6, MINUTE / 6), (MINUTE / 6, MINUTE, MINUTE / 6)] {
            let (_peer, socket) = tokio::io::duplex(64);
            let mut guard = Guard::new(socket, Arc::default(), idle, head);
            let begun = Instant::now();
            assert!(guard.read_u8().await.is_err());
            // Timers count whole milliseconds.
            let took = begun.elapsed();
            assert!(expected <= took && took < expected + Duration::from_secs(1), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_nothing_is_let_go() {
        let (mut peer, socket) = tokio::io::duplex(4);
        let mut guard = Guard::new(socket, Arc::default(), MINUTE, MINUTE);
        let slow = async {
            for _ in 0..8 {
                tokio::time::sleep(MINUTE / 2).await;
                peer.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(guard.write_all(b"twelve bytes"), slow);
        assert!(written.is_ok(), "slow is not deaf");
        assert_eq!(guard.write_all(b"more").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_an_error_is_let_go_too() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let (_peer, socket) = tokio::io::duplex(4);
        let mut guard = Guard::new(socket, Arc::default(), MINUTE, MINUTE);
        let written = tokio::time::timeout(MINUTE * 5, guard.write_all(bare)).await.expect("somebody waits for ever");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (mut peer, socket) = tokio::io::duplex(4);
        let mut guard = Guard::new(socket, Arc::default(), MINUTE, MINUTE);
        peer.write_all(b"POS").await.unwrap();
        let end = tokio::time::timeout(MINUTE * 5, guard.read_to_end(&mut Vec::new())).await;
        assert!(end.expect("somebody waits for ever").is_ok());
    }

    #[tokio::test]
    async fn a_head_that_is_cut_off_is_told_so() {
        let (mut peer, socket) = tokio::io::duplex(1024);
        let mut guard = Guard::new(socket, Arc::default(), MINUTE, MINUTE);
        peer.write_all(b"POST /f HT").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut head = Vec::new();
        guard.read_to_end(&mut head).await.unwrap();
        drop(guard);
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    }

    #[test]
    fn only_an_error_without_a_body_is_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(empty_error(bare), Some(431));
        let whole = whole_error(431).unwrap();
        assert_eq!(empty_error(&whole), None);
        assert!(String::from_utf8(whole).unwrap().ends_with("too long\"}}"));
        assert_eq!(empty_error(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), None);
        assert_eq!(empty_error(b"\xff"), None);
    }
}
