//! Provides `lettre` with the socket of an e-mail connection, plain or under TLS. Limits the number
//! of received bytes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Maximum number of bytes that a server may send in one exchange. Normal replies have a few
/// hundred.
const BYTES_MAX: usize = 256 << 10;

/// Connection to a mail server with a limit of received bytes.
#[derive(Debug)]
pub(super) struct SmtpStream {
    socket: SmtpSocket,
    /// Bytes that the stream returns before it reads the socket.
    replay: Bytes,
    /// Number of bytes that may still be read.
    remaining_bytes: usize,
}

impl SmtpStream {
    /// Creates a stream that first returns the bytes of `replay`, then reads from `socket`.
    pub(super) const fn new(socket: SmtpSocket, replay: Bytes) -> Self {
        Self {
            socket,
            replay,
            remaining_bytes: BYTES_MAX,
        }
    }
}

#[derive(Debug)]
pub(super) enum SmtpSocket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for SmtpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.replay.is_empty() {
            let some = self.replay.len().min(to.remaining());
            to.put_slice(self.replay.get(..some).unwrap_or_default());
            self.replay.advance(some);
            return Poll::Ready(Ok(()));
        }
        let before = to.filled().len();
        let read = match &mut self.socket {
            SmtpSocket::Plain(tcp) => Pin::new(tcp).poll_read(context, to),
            SmtpSocket::Tls(tls) => Pin::new(tls).poll_read(context, to),
        };
        let some = to.filled().len().saturating_sub(before);
        match self.remaining_bytes.checked_sub(some) {
            Some(left) => self.remaining_bytes = left,
            None => {
                return Poll::Ready(Err(io::Error::other(format!(
                    "the server sent more than {BYTES_MAX} bytes"
                ))));
            }
        }
        read
    }
}

impl AsyncWrite for SmtpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            SmtpSocket::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            SmtpSocket::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            SmtpSocket::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            SmtpSocket::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            SmtpSocket::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            SmtpSocket::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

impl AsyncTokioStream for SmtpStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            SmtpSocket::Plain(tcp) => tcp.peer_addr(),
            SmtpSocket::Tls(tls) => tls.get_ref().0.peer_addr(),
        }
    }
}
