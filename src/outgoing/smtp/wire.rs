//! The socket that an e-mail goes over, as `lettre` reads and writes it: plain or under TLS, and no more is read than any
//! exchange needs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Bytes that a server may say in one exchange: its replies are a few hundred.
const BYTES_MAX: usize = 256 << 10;

/// The way to a server, which has an end.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    /// What is read before the socket is.
    again: Bytes,
    /// Bytes that may yet be read.
    left: usize,
}

impl Wire {
    /// `socket`, behind what it has said `again`.
    pub(super) const fn new(socket: Socket, again: Bytes) -> Self {
        Self { socket, again, left: BYTES_MAX }
    }
}

#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let some = self.again.len().min(to.remaining());
            to.put_slice(self.again.get(..some).unwrap_or_default());
            self.again.advance(some);
            return Poll::Ready(Ok(()));
        }
        let before = to.filled().len();
        let read = match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_read(context, to),
            Socket::Tls(tls) => Pin::new(tls).poll_read(context, to),
        };
        let some = to.filled().len().saturating_sub(before);
        match self.left.checked_sub(some) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other(format!("it says more than {BYTES_MAX} bytes")))),
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Socket::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Socket::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Socket::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Plain(tcp) => tcp.peer_addr(),
            Socket::Tls(tls) => tls.get_ref().0.peer_addr(),
        }
    }
}
