//! The accept loop: connections up to a bound, each with its deadlines, and a drain when it is time to end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::guard::{Guard, Phase};
use crate::current::Current;

use super::respond::Answer;
use super::service::{App, Limits};

/// Bytes of a head, and of the read buffer of each connection.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// Pauses after an accept that failed, most likely for want of file descriptors (accept(2), EMFILE).
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// Connections that the system keeps for us until they are accepted.
const BACKLOG: u32 = 1024;

/// An address that is ours, where nothing listens yet: connections are refused. A server that starts has the address from the
/// beginning, and listens once it can answer.
#[derive(Debug)]
pub struct Reserved {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Reserved {
    /// Binds `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Connections of an earlier server may still be closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address, with the port that the system chose.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Listens, on the tokio runtime that it is called in.
    ///
    /// # Errors
    /// Those of listen(2).
    pub fn listen(self) -> io::Result<Server> {
        Ok(Server { listener: self.socket.listen(BACKLOG)?, address: self.address })
    }
}

/// A listener that is not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) connections: usize,
    /// For a connection without a request.
    pub(super) idle: Duration,
    /// For a head, from its first byte.
    pub(super) head: Duration,
    /// For requests that are under way when the end is asked for.
    pub(super) grace: Duration,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is there. Then it accepts nothing more, closes what is idle, and gives requests that are under
    /// way `grace` to be answered. Each request is answered by the `app` that is there when it begins; the limits of
    /// connections are those of the first.
    pub async fn run(self, app: Current<App>, stop: impl Future<Output = ()>, grace: Duration) {
        let Limits { connections, idle, header_timeout, .. } = app.get().limits;
        let bounds = Bounds { connections, idle: idle.to_duration(), head: header_timeout.to_duration(), grace };
        let answer = move |phase: Arc<Phase>, request| {
            let app = app.get();
            async move { app.answer(&phase, request).await }
        };
        self.answer_with(answer, bounds, stop).await;
    }

    /// The same for anything that answers.
    pub(super) async fn answer_with<F>(
        self,
        answer: impl Fn(Arc<Phase>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        bounds: Bounds,
        stop: impl Future<Output = ()>,
    ) where
        F: Future<Output = Answer> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(bounds.connections));
        let all = u32::try_from(bounds.connections).unwrap_or(u32::MAX);
        let (draining, drain) = watch::channel(());
        let mut stop = pin!(stop);
        let [shortest, longest] = PAUSES;
        let mut pause = shortest;
        loop {
            // At the bound nothing is accepted: who comes waits in the system's queue until there is a place.
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut stop => break,
                accepted = accepted => accepted,
            };
            match (place, accepted) {
                (Ok(place), Ok((stream, _))) => {
                    pause = shortest;
                    let connection = converse(stream, bounds, answer.clone(), drain.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                (_, Err(error)) => {
                    tracing::warn!(error = %error, pause_ms = pause.as_millis(), "can't accept connections");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(longest);
                }
                // The semaphore is never closed.
                (Err(_), Ok(_)) => break,
            }
        }
        drop(self.listener);
        drop(draining);
        if timeout(bounds.grace, places.acquire_many(all)).await.is_err() {
            tracing::warn!("connections were still busy at the end: they are let go");
        }
    }
}

/// One connection, until it is closed.
async fn converse<F>(
    stream: TcpStream,
    bounds: Bounds,
    answer: impl Fn(Arc<Phase>, Request<Incoming>) -> F + Send + 'static,
    mut drain: watch::Receiver<()>,
) where
    F: Future<Output = Answer> + Send + 'static,
{
    // Answers are small and whole: waiting for more to send would only make them late.
    let _ = stream.set_nodelay(true);
    let phase = Arc::new(Phase::default());
    let guard = Guard::new(stream, Arc::clone(&phase), bounds.idle, bounds.head);
    let service = service_fn(move |request| {
        phase.begin();
        let (phase, answer) = (Arc::clone(&phase), answer(Arc::clone(&phase), request));
        async move {
            let answer = answer.await;
            phase.end();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = http1::Builder::new()
        // The guard has the deadlines: hyper lets go of a late head without a word.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .keep_alive(true)
        // A sender that has said all, and closed its half, still gets its answer.
        .half_close(true)
        .writev(false)
        .serve_connection(TokioIo::new(guard), service);
    let mut is_draining = false;
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            _ = drain.changed(), if !is_draining => {
                is_draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
        connection.into_parts().io.into_inner().explain(&error).await;
    }
}
