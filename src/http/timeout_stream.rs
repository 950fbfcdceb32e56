//! Wraps the socket of a connection for hyper: timeouts for idle connections, heads and stalled
//! readers, and bodies for hyper's own errors.
//!
//! hyper closes a connection with a late head without a response, and answers an invalid head with
//! an empty body. This stream sends a 408 for the first. For the second, it sends the same JSON
//! that all errors have.
//!
//! After an error response to a request whose body was not read, the stream discards further input
//! for a short time. Without this, closing would reset the connection, and the client would never
//! see the response.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use super::response;

/// Maximum time for which input is discarded after an error response. `LINGER_BYTES_MAX` limits its
/// size.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// State that the service and the stream of one connection share.
#[derive(Debug, Default)]
pub(crate) struct ConnectionPhase {
    /// Current phase: between requests, in a head, or in the service.
    current: AtomicU8,
    /// `true` if a request got its response before its body was read.
    has_unread_body: AtomicBool,
}

impl ConnectionPhase {
    /// Returns `true` if no byte of a request has been seen.
    pub(super) fn is_idle(&self) -> bool {
        self.current.load(Ordering::Acquire) == IDLE
    }

    /// Starts a request: the head is complete. From now on the service enforces the deadlines.
    pub(super) fn start_request(&self) {
        self.current.store(BUSY, Ordering::Release);
    }

    /// Finishes a request: hyper has its whole response.
    pub(super) fn finish_response(&self) {
        self.current.store(IDLE, Ordering::Release);
    }

    /// Records that the body of the request was not read completely.
    pub(crate) fn mark_body_unread(&self) {
        self.has_unread_body.store(true, Ordering::Release);
    }
}

/// Socket of a connection, with timeouts.
pub(super) struct TimeoutStream<S> {
    socket: S,
    phase: Arc<ConnectionPhase>,
    idle_timeout: Duration,
    head_timeout: Duration,
    /// `true` until the first byte of the first request.
    is_new: bool,
    /// Timer of a phase, with the phase that it was started in.
    timer: Option<(u8, Pin<Box<Sleep>>)>,
    /// Timer that closes the connection if the peer does not read what is written.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Bytes that are written instead of hyper's output.
    replacement: Vec<u8>,
    replacement_written: usize,
    /// `true` if a deadline has passed or an error has closed the connection.
    closed: bool,
    /// `true` if the client got an error response that explains the close.
    error_sent: bool,
    discarded_bytes: usize,
}

impl<S> TimeoutStream<S> {
    pub(super) fn new(
        socket: S,
        phase: Arc<ConnectionPhase>,
        idle_timeout: Duration,
        head_timeout: Duration,
    ) -> Self {
        Self {
            socket,
            phase,
            idle_timeout,
            head_timeout,
            is_new: true,
            timer: None,
            write_timer: None,
            replacement: Vec::new(),
            replacement_written: 0,
            closed: false,
            error_sent: false,
            discarded_bytes: 0,
        }
    }

    /// Returns `true` if the deadline of the current phase has passed.
    fn is_past_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.phase.current.load(Ordering::Acquire);
        let length = match phase {
            // A client connects because it has a request. A silent new connection must not use a
            // place for as long as a proxy leaves a used connection open.
            IDLE if self.is_new => self.idle_timeout.min(self.head_timeout),
            IDLE => self.idle_timeout,
            HEAD => self.head_timeout,
            _ => {
                self.timer = None;
                return false;
            }
        };
        self.poll_timer(phase, length, cx).is_ready()
    }

    /// Polls the timer of this phase. Starts the timer at the first poll of the phase.
    fn poll_timer(&mut self, phase: u8, length: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let new_timer = || (phase, Box::pin(tokio::time::sleep(length)));
        let timer = self.timer.take().filter(|(of, _)| *of == phase);
        let (_, timer) = self.timer.insert(timer.unwrap_or_else(new_timer));
        timer.as_mut().poll(cx)
    }
}

impl<S: AsyncWrite + Unpin> TimeoutStream<S> {
    /// Sends an error and closes a connection whose head can't be completed. A failed write is
    /// ignored.
    fn close_with_error(&mut self, status: u16, cx: &mut Context<'_>) -> Poll<()> {
        self.closed = true;
        self.error_sent = true;
        self.replacement = full_error_response(status).unwrap_or_default();
        self.write_replacement(cx).map(drop)
    }

    /// Writes some of `bytes`. Fails if the peer has read nothing for the idle timeout.
    fn write_with_timeout(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let idle = self.idle_timeout;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes the replacement of hyper's output. Fails if the peer does not read.
    fn write_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let replacement = std::mem::take(&mut self.replacement);
        while let Some(remaining) = replacement
            .get(self.replacement_written..)
            .filter(|remaining| !remaining.is_empty())
        {
            match self.write_with_timeout(cx, remaining) {
                Poll::Ready(Ok(written)) => self.replacement_written += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.replacement = replacement;
                    return Poll::Pending;
                }
            }
        }
        self.replacement_written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TimeoutStream<S> {
    /// Sends an error if hyper has closed the connection without one.
    ///
    /// hyper sends no response to an HTTP/2 client. The same holds for an incomplete head that
    /// arrived together with the request before it.
    pub(super) async fn send_error(mut self, why: &hyper::Error) {
        let status = match () {
            () if self.error_sent => return,
            () if why.is_parse() => 400,
            () if why.is_incomplete_message() && self.closed => 408,
            () => return,
        };
        self.phase.mark_body_unread();
        poll_fn(|cx| self.close_with_error(status, cx)).await;
        let _ = self.shutdown().await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closed {
            let _ = ready!(this.write_replacement(cx));
            return Poll::Ready(Ok(()));
        }
        let (before, capacity) = (buffer.filled().len(), buffer.remaining());
        if Pin::new(&mut this.socket).poll_read(cx, buffer)?.is_ready() {
            // The first bytes of a head stop the idle timeout and start the head timeout. Other
            // phases do not change.
            let enter_head = |phase: &AtomicU8| {
                phase.compare_exchange(IDLE, HEAD, Ordering::AcqRel, Ordering::Acquire)
            };
            if buffer.filled().len() > before {
                this.is_new = false;
                if enter_head(&this.phase.current).is_ok() {
                    this.timer = None;
                }
            } else if capacity > 0 && this.phase.current.load(Ordering::Acquire) == HEAD {
                // The peer closed its side within a head. The peer may still read the error.
                ready!(this.close_with_error(400, cx));
            }
            return Poll::Ready(Ok(()));
        }
        if !this.is_past_deadline(cx) {
            return Poll::Pending;
        }
        this.closed = true;
        if this.phase.current.load(Ordering::Acquire) == HEAD {
            ready!(this.close_with_error(408, cx));
        }
        // hyper sees the end of the stream.
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.closed {
            return Poll::Ready(Ok(bytes.len()));
        }
        if this.replacement.is_empty() {
            match bodyless_error_status(bytes).and_then(full_error_response) {
                Some(error) => (this.replacement, this.error_sent) = (error, true),
                None => return this.write_with_timeout(cx, bytes),
            }
        }
        ready!(this.write_replacement(cx))?;
        this.phase.mark_body_unread();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        const LINGERING: u8 = u8::MAX;
        let this = &mut *self;
        ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        if !this.phase.has_unread_body.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut discard_buffer = [0; 8 * 1024];
        while this.discarded_bytes < LINGER_BYTES_MAX {
            let mut discard_buffer = ReadBuf::new(&mut discard_buffer);
            match Pin::new(&mut this.socket).poll_read(cx, &mut discard_buffer) {
                Poll::Ready(Ok(())) if !discard_buffer.filled().is_empty() => {
                    this.discarded_bytes += discard_buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.poll_timer(LINGERING, LINGER_TIMEOUT, cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns the status of an error that hyper itself created, without a body. Errors of this program
/// always have a body.
fn bodyless_error_status(bytes: &[u8]) -> Option<u16> {
    let head = std::str::from_utf8(bytes).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let is_bare = status.starts_with('4')
        && head
            .to_ascii_lowercase()
            .contains("\r\ncontent-length: 0\r\n");
    if is_bare { status.parse().ok() } else { None }
}

/// Returns the complete response for an error. The connection is closed after it.
fn full_error_response(status: u16) -> Option<Vec<u8>> {
    let (reason, code, message) = response::protocol_error(status)?;
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
    use crate::clock::timer_now;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn active_connection_is_not_closed_as_idle() {
        let (mut peer, socket) = tokio::io::duplex(64);
        let phase = Arc::new(ConnectionPhase::default());
        let mut stream = TimeoutStream::new(socket, Arc::clone(&phase), MINUTE, MINUTE / 6);
        for request in 0..10 {
            let pause = MINUTE / 2 * u32::from(request != 0);
            let send = async {
                tokio::time::sleep(pause).await;
                peer.write_all(b"x").await.unwrap();
            };
            let (read, ()) = tokio::join!(stream.read_u8(), send);
            assert_eq!(read.ok(), Some(b'x'), "request {request}");
            phase.start_request();
            phase.finish_response();
        }
        assert!(stream.read_u8().await.is_err(), "a silent one is let go");
    }

    #[tokio::test(start_paused = true)]
    async fn new_connection_is_closed_at_head_timeout() {
        for (idle, head, expected) in [
            (MINUTE, MINUTE / 6, MINUTE / 6),
            (MINUTE / 6, MINUTE, MINUTE / 6),
        ] {
            let (_peer, socket) = tokio::io::duplex(64);
            let mut stream = TimeoutStream::new(socket, Arc::default(), idle, head);
            let started = timer_now();
            assert!(stream.read_u8().await.is_err());
            // Timers have a resolution of one millisecond.
            let late = started.elapsed().checked_sub(expected).unwrap();
            assert!(late < Duration::from_secs(1), "{late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_reader_is_disconnected() {
        let (mut peer, socket) = tokio::io::duplex(4);
        let mut stream = TimeoutStream::new(socket, Arc::default(), MINUTE, MINUTE);
        let slow = async {
            for _ in 0..8 {
                tokio::time::sleep(MINUTE / 2).await;
                peer.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(b"twelve bytes"), slow);
        assert!(written.is_ok(), "slow is not deaf");
        let error = stream.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_reader_of_error_is_disconnected() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let (_peer, socket) = tokio::io::duplex(4);
        let mut stream = TimeoutStream::new(socket, Arc::default(), MINUTE, MINUTE);
        let written = tokio::time::timeout(MINUTE * 5, stream.write_all(bare))
            .await
            .expect("somebody waits for ever");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (mut peer, socket) = tokio::io::duplex(4);
        let mut stream = TimeoutStream::new(socket, Arc::default(), MINUTE, MINUTE);
        peer.write_all(b"POS").await.unwrap();
        let read = tokio::time::timeout(MINUTE * 5, stream.read_to_end(&mut Vec::new())).await;
        assert!(read.expect("somebody waits for ever").is_ok());
    }

    #[tokio::test]
    async fn truncated_head_gets_400() {
        let (mut peer, socket) = tokio::io::duplex(1024);
        let mut stream = TimeoutStream::new(socket, Arc::default(), MINUTE, MINUTE);
        peer.write_all(b"POST /f HT").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut head = Vec::new();
        stream.read_to_end(&mut head).await.unwrap();
        drop(stream);
        let mut response = String::new();
        peer.read_to_string(&mut response).await.unwrap();
        let status = "HTTP/1.1 400 Bad Request";
        assert!(response.starts_with(status), "{response}");
    }

    #[test]
    fn only_bodyless_errors_are_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(bodyless_error_status(bare), Some(431));
        let full = full_error_response(431).unwrap();
        assert_eq!(bodyless_error_status(&full), None);
        assert!(String::from_utf8(full).unwrap().ends_with("too long\"}}"));
        let success = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(bodyless_error_status(success), None);
        assert_eq!(bodyless_error_status(b"\xff"), None);
    }
}
