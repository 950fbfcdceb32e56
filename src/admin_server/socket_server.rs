//! Serves the Unix socket beside the data file, through which a command reaches a running server.
//!
//! Only the owner of the data file may use the socket: it gets mode 0600 before anyone can connect.
//!
//! The socket has its own thread, so that it answers while the server starts and stops.
//!
//! See [`super::client`] for the side of a command, and [`super::api`] for the requests.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net as std_net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use hyper::Request;
use hyper::body::Incoming;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use tokio::net::UnixListener;
use tokio::runtime;
use tokio::sync::oneshot;

use super::api::{API_LIMITS, Api, ApiLimits, HandlerSource};
use super::client::is_not_listening;
use super::response::ApiError;
use super::routes::API_ROOT;
use crate::domain::access::Principal;
use crate::http::{ConnectionLimits, ConnectionPhase, serve_listener};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Limits of the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketLimits {
    pub(super) api: ApiLimits,
    pub(super) connections: ConnectionLimits,
}

pub(super) const SOCKET_LIMITS: SocketLimits = SocketLimits {
    api: API_LIMITS,
    connections: ConnectionLimits {
        // More than requests, so that a request at the limit gets a response.
        max_connections: 64,
        // A person may be paging through a response.
        idle_timeout: Duration::from_mins(10),
        head_timeout: Duration::from_secs(10),
        drain_timeout: Duration::ZERO,
        // Responses in progress end with the store.
        grace_period: Duration::from_secs(10),
    },
};

/// Returns the path of the socket that belongs to the data file `data`.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".sock");
    PathBuf::from(name)
}

/// Server side of the socket. When it is dropped, it accepts no more requests and removes the
/// socket. Responses in progress continue until the store closes.
#[derive(Debug)]
pub struct SocketServer {
    path: PathBuf,
    /// Dropping this end stops the server.
    stop: Option<oneshot::Sender<()>>,
    /// Disconnects when the server accepts no more connections.
    is_closed: Receiver<()>,
    /// Disconnects when all responses are complete.
    is_finished: Receiver<()>,
}

impl SocketServer {
    /// Listens at `path`. Each request goes to the handler that the [`HandlerSource`] returns at
    /// that moment. The server replaces a socket that a dead server left there. Only the process
    /// that has locked the data file may call this function.
    ///
    /// # Errors
    /// An I/O error if `path` is too long for a socket, or the socket can't be created. Also if
    /// `path` belongs to a running server or to a file that is not a socket.
    pub fn start(path: PathBuf, handler_source: Arc<HandlerSource>) -> io::Result<Self> {
        Self::start_within(SOCKET_LIMITS, path, handler_source)
    }

    /// Listens like [`SocketServer::start`], with other limits.
    pub(super) fn start_within(
        limits: SocketLimits,
        path: PathBuf,
        handler_source: Arc<HandlerSource>,
    ) -> io::Result<Self> {
        remove_stale(&path)?;
        let listener = listen(&path).map_err(|error| describe_error(&path, &error))?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (closed, is_closed) = bounded(0);
        let (finished, is_finished) = bounded::<()>(0);
        let api = Api::new(handler_source, limits.api);
        thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                let stopped = async move {
                    let _ = stopped.await;
                    drop(closed);
                };
                // Dropped at the end of the thread.
                let _finished = finished;
                let served = runtime.block_on(serve(listener, api, limits.connections, stopped));
                if let Err(error) = served {
                    tracing::error!(error = %error, "the admin socket failed: commands can't reach this server until it is restarted");
                }
            })?;
        Ok(Self {
            path,
            stop: Some(stop),
            is_closed,
            is_finished,
        })
    }

    /// Stops the server and waits until the responses in progress are complete, at most for the
    /// grace period. Blocks the thread.
    pub fn finish(self) {
        let is_finished = self.is_finished.clone();
        drop(self);
        // Nothing is ever sent: this waits for the other end to be dropped.
        let _ = is_finished.recv();
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Nothing is ever sent: this waits for the other end to be dropped.
        let _ = self.is_closed.recv();
        let _ = fs::remove_file(&self.path);
    }
}

/// Serves until `stopped` resolves, and then finishes the requests in progress.
async fn serve(
    listener: std_net::UnixListener,
    api: Api,
    limits: ConnectionLimits,
    stopped: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let handler = move |phase: Arc<ConnectionPhase>, request: Request<Incoming>| {
        let api = api.clone();
        async move {
            let path = request.uri().path().to_owned();
            if let Some(path) = path.strip_prefix(API_ROOT) {
                api.respond(Principal::Shell, path, request, &phase).await
            } else {
                phase.mark_body_unread();
                ApiError::UnknownPath.to_response()
            }
        }
    };
    serve_listener(listener, true, handler, limits, stopped).await;
    Ok(())
}

/// Removes the socket of a dead server.
///
/// The lock of the data file already prevents two servers on one file. But the data file of a
/// running server may have been replaced. Without the connection attempt, a new server would then
/// remove the socket of the running one.
fn remove_stale(path: &Path) -> io::Result<()> {
    let path_conflict = |why: &str| {
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} exists: {why}", path.display()),
        ))
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            path_conflict("it is not a socket; move it to another place")
        }
        Ok(_) => match std_net::UnixStream::connect(path) {
            Ok(_) => path_conflict("another server uses it; stop that server first"),
            Err(error) if is_not_listening(&error) => fs::remove_file(path),
            Err(error) => Err(describe_error(path, &error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a listener that only its owner can ever connect to. The socket is bound, then made
/// private, and only then starts to listen.
fn listen(path: &Path) -> io::Result<std_net::UnixListener> {
    let socket: OwnedFd = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = std_net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn describe_error(path: &Path, error: &io::Error) -> io::Error {
    // unix(7): sun_path has 108 bytes, the last of them a NUL.
    if path.as_os_str().len() > 107 {
        let text = format!(
            "{} is too long for a socket path (maximum 107 bytes): set `data` to a shorter path",
            path.display()
        );
        return io::Error::new(io::ErrorKind::InvalidInput, text);
    }
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
