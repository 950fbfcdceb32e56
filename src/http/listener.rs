//! Accepts connections up to a maximum, serves each within its timeouts, and drains them at
//! shutdown.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::response_body::TrackedBody;
use super::router;
use super::state::{AppState, HttpConfig};
use super::timeout_stream::{ConnectionPhase, TimeoutStream};
use crate::clock::timer_now;
use crate::config::LimitSettings;
use crate::reloadable::Reloadable;

/// Maximum size of a head and size of the read buffer of each connection, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Interval at which a draining connection with a request in flight is checked again.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum time in which the system must deliver a connection from its backlog.
const BACKLOG_ACCEPT_TIMEOUT: Duration = Duration::from_millis(1);
/// Initial and maximum pause after a failed accept. The most likely cause is a lack of file
/// descriptors (accept(2), EMFILE).
const ACCEPT_BACKOFF: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];
/// Maximum number of connections in the system's queue that are not yet accepted.
const BACKLOG: u32 = 1024;

/// Reserved address without an active listener.
///
/// A starting server reserves its address first and listens when it can respond. Until then,
/// connections are refused. If the service manager listens, connections wait.
#[derive(Debug)]
pub struct BoundSocket {
    socket: ListenSocket,
    address: SocketAddr,
}

#[derive(Debug)]
enum ListenSocket {
    Bound(TcpSocket),
    /// Socket at which the service manager listens. It continues to listen after this process.
    Inherited(std::net::TcpListener),
}

impl BoundSocket {
    /// Binds `address`. The system chooses the port if it is 0.
    ///
    /// # Errors
    /// Returns the error of bind(2).
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Connections of an earlier server may still be closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket: ListenSocket::Bound(socket),
            address,
        })
    }

    /// Uses a socket at which the service manager listens.
    ///
    /// # Errors
    /// Returns the system's error if the socket is not a listening socket.
    pub fn from_inherited(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket: ListenSocket::Inherited(socket),
            address,
        })
    }

    /// Returns the address, with the port that the system chose.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Starts to listen. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// Returns the error of listen(2).
    pub fn listen(self) -> io::Result<HttpServer> {
        let (listener, is_inherited) = match self.socket {
            ListenSocket::Bound(socket) => (socket.listen(BACKLOG)?, false),
            ListenSocket::Inherited(socket) => (TcpListener::from_std(socket)?, true),
        };
        Ok(HttpServer {
            listener,
            is_inherited,
            address: self.address,
        })
    }
}

/// Listener that does not serve yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    /// `true` if other processes listen at the same socket after this process has stopped.
    is_inherited: bool,
    address: SocketAddr,
}

/// Limits for the connections of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Maximum number of open connections.
    pub(crate) max_connections: usize,
    /// Timeout for a connection without a request.
    pub(crate) idle_timeout: Duration,
    /// Timeout for a head, from its first byte. Also the timeout for the first byte of a new
    /// connection.
    pub(crate) head_timeout: Duration,
    /// Maximum time for a next request on a connection that is open when the drain starts.
    pub(crate) drain_timeout: Duration,
    /// Maximum time for all requests that are in flight when the drain starts or arrive later.
    pub(crate) grace_period: Duration,
}

impl ConnectionLimits {
    fn new(limits: &LimitSettings, grace_period: Duration) -> Self {
        Self {
            max_connections: limits.max_connections,
            idle_timeout: limits.idle_timeout.to_duration(),
            head_timeout: limits.header_timeout.to_duration(),
            drain_timeout: limits.drain_timeout.to_duration(),
            grace_period,
        }
    }
}

impl HttpServer {
    /// Returns the address of the listener.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves, then drains.
    ///
    /// During the drain, the server accepts no new connections. Each open connection may send one
    /// more request. Its response has `Connection: close`, so that the client sends no request on a
    /// closing connection. Connections that stay quiet for `limits.drain_timeout` are closed. All
    /// are closed after `grace`.
    ///
    /// The server handles each request with the config that is active when the request starts. The
    /// limits of connections are those of `app`.
    pub async fn run(
        self,
        app: AppState,
        config: Reloadable<HttpConfig>,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) {
        let limits = ConnectionLimits::new(&app.config.limits, grace);
        let app = Arc::new(app);
        let handler = move |phase: Arc<ConnectionPhase>, request| {
            let app = app.with_config(config.load());
            async move { router::handle(&app, &phase, request).await }
        };
        self.serve_with(handler, limits, stop).await;
    }

    /// Serves with any handler, like `run`.
    pub(crate) async fn serve_with<H, F, B>(
        self,
        handler: H,
        limits: ConnectionLimits,
        stop: impl Future<Output = ()>,
    ) where
        H: Fn(Arc<ConnectionPhase>, Request<Incoming>) -> F,
        H: Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let drain_backlog = !self.is_inherited;
        serve_listener(self.listener, drain_backlog, handler, limits, stop).await;
    }
}

/// Listener of a kind of socket.
pub(crate) trait Listener {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    fn accept_stream(&self) -> impl Future<Output = io::Result<Self::Stream>>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept_stream(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Nagle's algorithm would only delay responses: each is sent in large pieces.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept_stream(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Serves the connections of `listener` until `stop` resolves, then drains as [`HttpServer::run`]
/// does. If `drain_backlog` is `true`, the connections in the system's queue are served too.
pub(crate) async fn serve_listener<L, H, F, B>(
    listener: L,
    drain_backlog: bool,
    handler: H,
    limits: ConnectionLimits,
    stop: impl Future<Output = ()>,
) where
    L: Listener,
    H: Fn(Arc<ConnectionPhase>, Request<Incoming>) -> F,
    H: Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let all = u32::try_from(limits.max_connections).unwrap_or(u32::MAX);
    let drain = CancellationToken::new();
    let spawn_connection = |stream, permit: OwnedSemaphorePermit| {
        let connection = serve_connection(stream, limits, handler.clone(), drain.clone());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    };
    accept_connections(&listener, &permits, &spawn_connection, stop).await;
    // Connections in the system's queue would be reset, so they are accepted now. The next server
    // accepts the connections of an inherited socket.
    for _ in 0..if drain_backlog { BACKLOG } else { 0 } {
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            break;
        };
        let accepted = timeout(BACKLOG_ACCEPT_TIMEOUT, listener.accept_stream()).await;
        let Ok(Ok(stream)) = accepted else {
            break;
        };
        spawn_connection(stream, permit);
    }
    drop(listener);
    drain.cancel();
    let closed = timeout(limits.grace_period, permits.acquire_many(all)).await;
    if closed.is_err() {
        tracing::warn!("connections were still open at the end of the drain and are closed");
    }
}

/// Accepts connections until `stop` resolves.
async fn accept_connections<L: Listener>(
    listener: &L,
    permits: &Arc<Semaphore>,
    spawn_connection: &impl Fn(L::Stream, OwnedSemaphorePermit),
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let [shortest, longest] = ACCEPT_BACKOFF;
    let mut pause = shortest;
    loop {
        // At the maximum the server accepts nothing. New connections wait in the system's queue.
        let accepted = async {
            let permit = Arc::clone(permits).acquire_owned().await;
            (permit, listener.accept_stream().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        match (permit, accepted) {
            (Ok(permit), Ok(stream)) => {
                pause = shortest;
                spawn_connection(stream, permit);
            }
            (_, Err(error)) => {
                let pause_ms = pause.as_millis();
                tracing::warn!(%error, pause_ms, "can't accept connections");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(longest);
            }
            // The semaphore is never closed.
            (Err(_), Ok(_)) => break,
        }
    }
}

/// Serves one connection until it is closed.
async fn serve_connection<S, F, B>(
    stream: S,
    limits: ConnectionLimits,
    handler: impl Fn(Arc<ConnectionPhase>, Request<Incoming>) -> F + Send + Sync,
    drain: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let phase = Arc::new(ConnectionPhase::default());
    let (idle, head) = (limits.idle_timeout, limits.head_timeout);
    let timed_stream = TimeoutStream::new(stream, Arc::clone(&phase), idle, head);
    let service = service_fn(|request| {
        phase.start_request();
        let response = handler(Arc::clone(&phase), request);
        finish_response(response, Arc::clone(&phase), drain.clone())
    });
    let mut connection = http1::Builder::new()
        // The stream enforces the timeouts. hyper closes a late head without a response.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(true)
        // A client that has closed its sending side still gets its response.
        .half_close(true)
        .writev(false)
        .serve_connection(TokioIo::new(timed_stream), service);
    let mut quiet_timer = pin!(sleep(limits.drain_timeout));
    let (mut is_draining, mut is_closing) = (false, false);
    let result = loop {
        tokio::select! {
            biased;
            // First branch: input that has arrived must be served before the connection counts as
            // quiet.
            result = &mut connection => break result,
            () = drain.cancelled(), if !is_draining => {
                is_draining = true;
                quiet_timer.as_mut().reset(timer_now() + limits.drain_timeout);
            }
            () = &mut quiet_timer, if is_draining && !is_closing => {
                is_closing = phase.is_idle();
                if is_closing {
                    Pin::new(&mut connection).graceful_shutdown();
                } else {
                    // The response to the request in flight closes the connection.
                    quiet_timer.as_mut().reset(timer_now() + DRAIN_POLL_INTERVAL);
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(error = %error, "a connection ended with an error");
        let stream = connection.into_parts().io.into_inner();
        stream.send_error(&error).await;
    }
}

/// Waits for a response. During the drain, the connection closes after it.
async fn finish_response<B: Body>(
    response: impl Future<Output = Response<B>>,
    phase: Arc<ConnectionPhase>,
    drain: CancellationToken,
) -> Result<Response<TrackedBody<B>>, Infallible> {
    let mut response = response.await;
    if drain.is_cancelled() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| TrackedBody::new(body, phase)))
}
