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
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::guard::{Guard, Phase};
use crate::current::Current;
use crate::domain::time::Millis;

use super::respond::Answer;
use super::service::{App, Limits};

/// Bytes of a head, and of the read buffer of each connection.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// How soon a connection that was in the middle of a request, when all were to end, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the system may take to hand over a connection that it has let in already.
const HAND_OVER: Duration = Duration::from_millis(1);
/// Pauses after an accept that failed, most likely for want of file descriptors (accept(2), EMFILE).
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];
/// Connections that the system keeps for us until they are accepted.
const BACKLOG: u32 = 1024;

/// An address that is ours, where nothing listens yet: connections are refused or, where the service manager listens, wait. A
/// server that starts has the address from the beginning, and listens once it can answer.
#[derive(Debug)]
pub struct Reserved {
    socket: Socket,
    address: SocketAddr,
}

#[derive(Debug)]
enum Socket {
    Bound(TcpSocket),
    /// The service manager listens, and goes on with that when we end.
    Handed(std::net::TcpListener),
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
        Ok(Self { socket: Socket::Bound(socket), address })
    }

    /// Takes a socket at which the service manager listens.
    ///
    /// # Errors
    /// Those of the system, where it is no such socket.
    pub fn handed(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket: Socket::Handed(socket), address })
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
        let (listener, is_handed) = match self.socket {
            Socket::Bound(socket) => (socket.listen(BACKLOG)?, false),
            Socket::Handed(socket) => (TcpListener::from_std(socket)?, true),
        };
        Ok(Server { listener, is_handed, address: self.address })
    }
}

/// A listener that is not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    /// Whether others listen at the same socket when we have ended.
    is_handed: bool,
    address: SocketAddr,
}

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) connections: usize,
    /// For a connection without a request.
    pub(super) idle: Duration,
    /// For a head, from its first byte; and for the first byte on a new connection.
    pub(super) head: Duration,
    /// For a next request on a connection that is open when the end is asked for.
    pub(super) drain: Duration,
    /// For all requests that are under way when the end is asked for, or come after that.
    pub(super) grace: Duration,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is there. Then it accepts nothing more. Connections that are open may send one more request each: it
    /// is answered with `Connection: close`, so that no request meets a connection that is just being closed. Those that stay
    /// quiet for `limits.drain_timeout` are closed, and after `grace` all are.
    ///
    /// Each request is answered by the `app` that is there when it begins; the limits of connections are those of the first.
    pub async fn run(self, app: Current<App>, stop: impl Future<Output = ()>, grace: Duration) {
        let Limits { connections, idle, header_timeout, drain, .. } = app.get().limits;
        let [idle, head, drain] = [idle, header_timeout, drain].map(Millis::to_duration);
        let bounds = Bounds { connections, idle, head, drain, grace };
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
        let begin = |stream, place: OwnedSemaphorePermit| {
            let connection = converse(stream, bounds, answer.clone(), drain.clone());
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        };
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
                    begin(stream, place);
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
        // Whoever was let in by the system, but not by us yet, would be cut off. Where the socket lives on, they are for the
        // next server.
        for _ in 0..if self.is_handed { 0 } else { BACKLOG } {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
            let Ok(Ok((stream, _))) = timeout(HAND_OVER, self.listener.accept()).await else { break };
            begin(stream, place);
        }
        drop(self.listener);
        drop(draining);
        if timeout(bounds.grace, places.acquire_many(all)).await.is_err() {
            tracing::warn!("connections were still busy at the end: they are let go");
        }
    }
}

/// Whether the other end was dropped: nothing else is ever told by it.
fn is_gone(told: &watch::Receiver<()>) -> bool {
    told.has_changed().is_err()
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
    let service = service_fn({
        let (phase, drain) = (Arc::clone(&phase), drain.clone());
        move |request| {
            phase.begin();
            let (phase, drain) = (Arc::clone(&phase), drain.clone());
            let answer = answer(Arc::clone(&phase), request);
            async move {
                let mut answer = answer.await;
                if is_gone(&drain) {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                phase.end();
                Ok::<_, Infallible>(answer)
            }
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
    let mut quiet = pin!(sleep(bounds.drain));
    let (mut is_draining, mut is_closing) = (false, false);
    let ended = loop {
        tokio::select! {
            biased;
            // First: what has come is not quiet.
            ended = &mut connection => break ended,
            _ = drain.changed(), if !is_draining => {
                is_draining = true;
                quiet.as_mut().reset(Instant::now() + bounds.drain);
            }
            () = &mut quiet, if is_draining && !is_closing => {
                is_closing = phase.is_idle();
                if is_closing {
                    Pin::new(&mut connection).graceful_shutdown();
                } else {
                    // The answer to its request closes it.
                    quiet.as_mut().reset(Instant::now() + LOOK_AGAIN);
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
        connection.into_parts().io.into_inner().explain(&error).await;
    }
}
