//! The Unix socket beside the data file: how a command reaches a running server.
//!
//! Only the owner of the file may use it (mode 0600). A connection carries one question. Plain threads: admins are few,
//! and a slow one must not slow the others.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::desk::Desk;
use super::protocol::{AdminError, ErrorCode, Question};

/// Bytes of one question at the most: a corrected payload may be large, nothing else is.
const QUESTION_BYTES: u64 = 8 << 20;
/// Admins served at the same time.
const CONNECTIONS: usize = 32;
/// How long either side waits for the other to read or write.
const PATIENCE: Duration = Duration::from_secs(30);

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// One thing.
    Row(Value),
    /// That was all.
    End(bool),
    /// That is all, and not all is well.
    Error(AdminError),
}

/// The socket of the server whose data file this is.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".sock");
    PathBuf::from(name)
}

/// The server's side.
#[derive(Debug)]
pub struct SocketServer {
    path: PathBuf,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SocketServer {
    /// Listens at `path` and answers from `desk`. The data file must be open already: its lock is what keeps two servers
    /// from one socket, so whatever lies at `path` is a dead server's.
    ///
    /// # Errors
    /// Where `path` is taken by something that is no socket, or too long for one, or can't be made.
    pub fn start(path: PathBuf, desk: Desk) -> io::Result<Self> {
        remove_stale(&path)?;
        let listener = UnixListener::bind(&path).map_err(|error| explain(&path, &error))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let ending = Arc::new(AtomicBool::new(false));
        let thread = {
            let ending = Arc::clone(&ending);
            thread::Builder::new().name("admin".to_owned()).spawn(move || serve(&listener, &desk, &ending))?
        };
        Ok(Self { path, ending, thread: Some(thread) })
    }

    /// Takes no more questions and removes the socket.
    pub fn stop(mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // The thread waits in accept: a connection wakes it.
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is in the way: it is no socket, move it elsewhere", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn explain(path: &Path, error: &io::Error) -> io::Error {
    // unix(7): sun_path has 108 bytes, the last of them a NUL.
    if path.as_os_str().len() > 107 {
        let text = format!("{} is too long for a socket (107 bytes): give `data` a shorter path", path.display());
        return io::Error::new(io::ErrorKind::InvalidInput, text);
    }
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn serve(listener: &UnixListener, desk: &Desk, ending: &AtomicBool) {
    let busy = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if ending.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: give others time to close theirs.
            thread::park_timeout(Duration::from_millis(100));
            continue;
        };
        if busy.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            busy.fetch_sub(1, Ordering::SeqCst);
            let mut out = BufWriter::new(&stream);
            let _ = write_line(&mut out, &Line::Error(AdminError::unreachable("too many commands at once: try again")));
            continue;
        }
        let (desk, busy) = (desk.clone(), Arc::clone(&busy));
        let answering = thread::Builder::new().name("admin answer".to_owned()).spawn(move || {
            if let Err(error) = answer(&stream, &desk) {
                tracing::debug!(error = %error, "an admin hung up");
            }
            busy.fetch_sub(1, Ordering::SeqCst);
        });
        if let Err(error) = answering {
            tracing::warn!(error = %error, "no thread for an admin's question");
        }
    }
}

fn answer(stream: &UnixStream, desk: &Desk) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(QUESTION_BYTES)).read_line(&mut line)?;
    let mut out = BufWriter::new(stream);
    let mut broken = None;
    let result = match serde_json::from_str::<Question>(&line) {
        Ok(question) => desk.answer(question, &mut |row| match write_line(&mut out, &Line::Row(row)) {
            Ok(()) => true,
            Err(error) => {
                broken = Some(error);
                false
            }
        }),
        Err(error) => Err(AdminError::invalid(format!("not a question this server knows ({error})"))),
    };
    if let Some(error) = broken {
        return Err(error);
    }
    write_line(&mut out, &result.map_or_else(Line::Error, |()| Line::End(true)))?;
    out.flush()
}

fn write_line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// The command's side: one question to a running server.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the server that listens at `path`; `None` where none does.
    ///
    /// # Errors
    /// [`ErrorCode::Unreachable`] where there is one that we may not talk to.
    pub fn connect(path: &Path) -> Result<Option<Self>, AdminError> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            // A path that is too long was too long for a server as well.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(AdminError::unreachable(format!(
                "the server's socket {} can't be used ({error}): run this as the user that runs the server",
                path.display()
            ))),
        }
    }

    /// Asks, and hands on each row as it comes.
    ///
    /// # Errors
    /// What the server says, or [`ErrorCode::Unreachable`] where it hung up midway.
    pub fn ask(self, question: &Question, out: &mut dyn FnMut(Value) -> bool) -> Result<(), AdminError> {
        let lost = |error: io::Error| AdminError::unreachable(format!("the server hung up ({error}): is it ending?"));
        let mut line = serde_json::to_string(question).map_err(|error| AdminError::invalid(error.to_string()))?;
        line.push('\n');
        (&self.stream).write_all(line.as_bytes()).map_err(lost)?;
        for line in BufReader::new(&self.stream).lines() {
            let line = line.map_err(lost)?;
            let line = serde_json::from_str(&line).map_err(|error| AdminError {
                code: ErrorCode::Unreachable,
                message: format!("the server's answer makes no sense ({error}): is it of another version?"),
            })?;
            match line {
                Line::Row(row) => {
                    if !out(row) {
                        return Ok(());
                    }
                }
                Line::End(_) => return Ok(()),
                Line::Error(error) => return Err(error),
            }
        }
        Err(AdminError::unreachable("the server hung up before its answer was whole: is it ending?"))
    }
}
