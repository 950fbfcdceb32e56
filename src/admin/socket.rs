//! The Unix socket beside the data file: how a command reaches a running server. This is the server's end.
//!
//! Only the owner of the file may use it: it has mode 0600 before anybody can connect. A connection carries one question.
//! Plain threads: admins are few, and a slow one must not slow the others. How many are served, how long a question may
//! be, and how long either side is waited for is bounded. Answers never wait inside a snapshot of the store.

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

use super::client::{is_nobody, too_long};
use super::desk::Desk;
use super::protocol::{AdminError, Line, QUESTION_BYTES, Question};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// What one admin may take of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Admins served at the same time.
    pub(super) connections: usize,
    /// How long a question may take to come.
    pub(super) question: Duration,
    /// How long an answer may wait for its reader: somebody may be paging through it.
    pub(super) answer: Duration,
}

pub(super) const BOUNDS: Bounds =
    Bounds { connections: 32, question: Duration::from_secs(10), answer: Duration::from_mins(10) };

/// Niceness of the threads that answer admins: about a tenth of the processor time of the server's other threads.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The socket of the server whose data file this is.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".sock");
    PathBuf::from(name)
}

/// Gives the desk that answers, or the reason why none does yet.
pub type Reception = dyn Fn() -> Result<Desk, AdminError> + Send + Sync;

/// The server's end. Takes no more questions once dropped, and removes the socket. Answers under way go on until the store
/// is closed.
#[derive(Debug)]
pub struct SocketServer {
    path: PathBuf,
    /// The thread ends when this is dropped. A connection would wake it too, but whoever removed the socket from its
    /// folder would then have kept the server from ending.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl SocketServer {
    /// Listens at `path`. Answers from the desk that `reception` gives at each question. A socket that a dead server left
    /// there is replaced: only the process that holds the data file may start one.
    ///
    /// # Errors
    /// Where `path` is taken by something that is no socket or by a server that lives, is too long for a socket, or can't
    /// be made.
    pub fn start(path: PathBuf, reception: Arc<Reception>) -> io::Result<Self> {
        Self::start_within(BOUNDS, path, reception)
    }

    /// As [`SocketServer::start`], within other bounds.
    pub(super) fn start_within(bounds: Bounds, path: PathBuf, reception: Arc<Reception>) -> io::Result<Self> {
        remove_stale(&path)?;
        let listener = listen(&path).map_err(|error| explain(&path, &error))?;
        let (stop, stopped) = UnixStream::pair()?;
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            if let Err(error) = serve(&listener, &stopped, &reception, bounds) {
                tracing::error!(error = %error, "the admin socket is closed: commands can't reach this server any more");
            }
        })?;
        Ok(Self { path, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what a dead server left. The lock of the data file is what keeps two servers apart; this also keeps a server
/// from taking the socket of one whose data file was replaced under it.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_the_way = |why: &str| {
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is in the way: {why}", path.display())))
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => in_the_way("it is no socket, move it elsewhere"),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => in_the_way("another server answers there, end it first"),
            Err(error) if is_nobody(&error) => fs::remove_file(path),
            Err(error) => Err(explain(path, &error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A listener that nobody but its owner could ever connect to: bound, made private, and only then listening.
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

fn explain(path: &Path, error: &io::Error) -> io::Error {
    // unix(7): sun_path has 108 bytes, the last of them a NUL.
    if path.as_os_str().len() > 107 {
        let text = format!("{} is too long for a socket (107 bytes): give `data` a shorter path", path.display());
        return io::Error::new(io::ErrorKind::InvalidInput, text);
    }
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Accepts until the other end of `stopped` is gone.
fn serve(listener: &UnixListener, stopped: &UnixStream, reception: &Arc<Reception>, bounds: Bounds) -> io::Result<()> {
    // Each answer holds a clone: how many there are is how many are under way.
    let seats = Arc::new(());
    loop {
        let mut ready = [PollFd::new(stopped, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if ready.first().is_some_and(|stopped| !stopped.revents().is_empty()) {
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, _)) => seat(stream, reception, bounds, &seats),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Out of descriptors, most likely: give others time to close theirs.
            Err(_) => thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// Has a thread answer the question that comes on `stream`, unless there are too many already.
fn seat(stream: UnixStream, reception: &Arc<Reception>, bounds: Bounds, seats: &Arc<()>) {
    if Arc::strong_count(seats) > bounds.connections {
        let busy = AdminError::unreachable("too many commands at once: try again in a moment");
        // The line fits into the socket's buffer: this does not wait.
        let _ = write_line(&mut &stream, &Line::Error(busy));
        return;
    }
    let (reception, taken) = (Arc::clone(reception), Arc::clone(seats));
    let answering = thread::Builder::new().name("admin answer".to_owned()).spawn(move || {
        lower_priority();
        if let Err(error) = answer(&stream, &*reception, bounds) {
            tracing::debug!(error = %error, "an admin hung up");
        }
        drop(taken);
    });
    if let Err(error) = answering {
        tracing::warn!(error = %error, "no thread for an admin's question");
    }
}

/// Lowers the priority of the calling thread. Without this, a long command (`check`) would compete with customers' forms for the
/// processor.
fn lower_priority() {
    // Linux sets the priority of one thread. Elsewhere the call would slow down the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(error = %error, "a command runs with the priority of the server");
    }
}

fn answer(stream: &UnixStream, reception: &Reception, bounds: Bounds) -> io::Result<()> {
    stream.set_read_timeout(Some(bounds.question))?;
    stream.set_write_timeout(Some(bounds.answer))?;
    let mut out = BufWriter::new(stream);
    let mut broken = Ok(());
    let result = match read_question(stream)? {
        Ok(question) => reception().and_then(|desk| {
            desk.answer(question, &mut |row| {
                broken = write_line(&mut out, &Line::Row(row));
                broken.is_ok()
            })
        }),
        Err(refused) => Err(refused),
    };
    broken?;
    write_line(&mut out, &result.map_or_else(Line::Error, |()| Line::End(true)))?;
    out.flush()
}

fn read_question(stream: &UnixStream) -> io::Result<Result<Question, AdminError>> {
    let bytes_max = u64::try_from(QUESTION_BYTES).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    BufReader::new(stream.take(bytes_max)).read_until(b'\n', &mut line)?;
    if line.len() == QUESTION_BYTES && !line.ends_with(b"\n") {
        return Ok(Err(too_long()));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| {
        AdminError::invalid(format!("the server does not know this question ({error}): is it of another version?"))
    }))
}

fn write_line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}
