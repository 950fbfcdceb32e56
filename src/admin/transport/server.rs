//! Serves the Unix socket beside the data file, through which a command reaches a running server.
//!
//! Only the owner of the data file may use the socket: it gets mode 0600 before anyone can connect.
//! A connection carries one request.
//!
//! Each request runs on its own thread, because admins are few and a slow one must not delay the
//! others. The number of connections, the size of a request, and the waiting time on both sides are
//! limited. A response is sent after its snapshot is closed, so a slow reader holds no snapshot
//! open.
//!
//! See [`super::client`] for the client side.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::client::{is_not_listening, request_too_long};
use crate::admin::error::AdminError;
use crate::admin::handler::AdminHandler;
use crate::admin::protocol::{AdminRequest, REQUEST_BYTES_MAX, ResponseLine};
use crate::domain::access::Principal;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Limits for one admin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketLimits {
    /// Maximum number of requests handled at the same time.
    pub(crate) max_connections: usize,
    /// Maximum time for a request to arrive.
    pub(crate) request_timeout: Duration,
    /// Maximum time for which a response waits for its reader. A person may be paging through the
    /// response.
    pub(crate) response_timeout: Duration,
}

pub(crate) const SOCKET_LIMITS: SocketLimits = SocketLimits {
    max_connections: 32,
    request_timeout: Duration::from_secs(10),
    response_timeout: Duration::from_mins(10),
};

/// Niceness of the threads that handle admin requests: about a tenth of the processor time of
/// the server's other threads.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Returns the path of the socket that belongs to the data file `data`.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".sock");
    PathBuf::from(name)
}

/// Function that returns the handler of the server, or the reason why there is none yet.
pub type HandlerSource = dyn Fn() -> Result<AdminHandler, AdminError> + Send + Sync;

/// Server side of the socket. When it is dropped, it accepts no more requests and removes the
/// socket. Responses in progress continue until the store closes.
#[derive(Debug)]
pub struct SocketServer {
    path: PathBuf,
    /// Dropping this end stops the thread. A connection could wake the thread too, but not after
    /// someone has removed the socket from its folder. In that case the server could not stop.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
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
    pub(crate) fn start_within(
        limits: SocketLimits,
        path: PathBuf,
        handler_source: Arc<HandlerSource>,
    ) -> io::Result<Self> {
        remove_stale(&path)?;
        let listener = listen(&path).map_err(|error| describe_error(&path, &error))?;
        let (stop, stopped) = UnixStream::pair()?;
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            if let Err(error) = serve(&listener, &stopped, &handler_source, limits) {
                tracing::error!(error = %error, "the admin socket failed: commands can't reach this server until it is restarted");
            }
        })?;
        Ok(Self {
            path,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = fs::remove_file(&self.path);
    }
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
        Ok(_) => match UnixStream::connect(path) {
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
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket: OwnedFd = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = UnixListener::from(socket);
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

/// Accepts connections until the other end of `stopped` is closed.
fn serve(
    listener: &UnixListener,
    stopped: &UnixStream,
    handler_source: &Arc<HandlerSource>,
    limits: SocketLimits,
) -> io::Result<()> {
    // Each request in progress holds a clone, so the number of clones is the number of these
    // requests.
    let active = Arc::new(());
    loop {
        let mut ready = [
            PollFd::new(stopped, PollFlags::IN),
            PollFd::new(listener, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [stopped, _] = &ready;
        if !stopped.revents().is_empty() {
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, _)) => spawn_handler(stream, handler_source, limits, &active),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The process has probably no free file descriptors. The pause lets other threads close
            // theirs.
            Err(_) => thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// Starts a thread that handles the request on `stream`, or refuses it if too many are in progress.
fn spawn_handler(
    stream: UnixStream,
    handler_source: &Arc<HandlerSource>,
    limits: SocketLimits,
    active: &Arc<()>,
) {
    if Arc::strong_count(active) > limits.max_connections {
        let busy = AdminError::unreachable("too many commands at once: try again in a moment");
        // The line fits into the buffer of the socket, so this call does not wait.
        let _ = write_line(&mut &stream, &ResponseLine::Error(busy));
        return;
    }
    let (handler_source, active_guard) = (Arc::clone(handler_source), Arc::clone(active));
    let thread = thread::Builder::new()
        .name("admin request".to_owned())
        .spawn(move || {
            lower_priority();
            if let Err(error) = handle_connection(&stream, &*handler_source, limits) {
                tracing::debug!(error = %error, "an admin client closed its connection early");
            }
            drop(active_guard);
        });
    if let Err(error) = thread {
        tracing::warn!(error = %error, "can't start a thread for an admin request");
    }
}

/// Lowers the priority of the calling thread. Without this, a long command (`check`) would compete
/// with customers' forms for the processor.
fn lower_priority() {
    // Linux sets the priority of one thread. Elsewhere the call would slow down the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(error = %error, "a command runs with the priority of the server");
    }
}

fn handle_connection(
    stream: &UnixStream,
    handler_source: &HandlerSource,
    limits: SocketLimits,
) -> io::Result<()> {
    stream.set_read_timeout(Some(limits.request_timeout))?;
    stream.set_write_timeout(Some(limits.response_timeout))?;
    let mut writer = BufWriter::new(stream);
    let mut written = Ok(());
    let result = match read_request(stream)? {
        Ok(request) => handler_source().and_then(|handler| {
            handler.handle(&Principal::Shell, request, &mut |row| {
                written = write_line(&mut writer, &ResponseLine::Row(row));
                written.is_ok()
            })
        }),
        Err(refused) => Err(refused),
    };
    written?;
    let end = result.map_or_else(ResponseLine::Error, |()| ResponseLine::Done(true));
    write_line(&mut writer, &end)?;
    writer.flush()
}

fn read_request(stream: &UnixStream) -> io::Result<Result<AdminRequest, AdminError>> {
    let bytes_max = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    BufReader::new(stream.take(bytes_max)).read_until(b'\n', &mut line)?;
    if line.len() == REQUEST_BYTES_MAX && !line.ends_with(b"\n") {
        return Ok(Err(request_too_long()));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| {
        AdminError::invalid(format!(
            "unknown request ({error}): use the same flowgate version for the command and the server"
        ))
    }))
}

fn write_line(writer: &mut impl Write, line: &ResponseLine) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    writer.write_all(&text)
}
