//! The command's end of the socket: one question to a running server.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::protocol::{AdminError, Line, QUESTION_BYTES, Question};

/// A connection to the server that listens on a socket. It lasts for one question.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the server that listens at `path`; `None` where none does.
    ///
    /// # Errors
    /// [`Unreachable`](super::ErrorCode::Unreachable) where there is one that we may not talk to.
    pub fn connect(path: &Path) -> Result<Option<Self>, AdminError> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error) if is_nobody(&error) => Ok(None),
            Err(error) => Err(AdminError::unreachable(format!(
                "the server's socket {} can't be used ({error}): run this as the user that runs the server",
                path.display()
            ))),
        }
    }

    /// Asks, and hands on each row as it comes, until `out` says that nobody reads them any more.
    ///
    /// # Errors
    /// What the server says, or [`Unreachable`](super::ErrorCode::Unreachable) where it hung up midway.
    pub fn ask(self, question: &Question, out: &mut dyn FnMut(Value) -> bool) -> Result<(), AdminError> {
        let mut line = serde_json::to_string(question).map_err(|error| AdminError::invalid(error.to_string()))?;
        line.push('\n');
        if line.len() > QUESTION_BYTES {
            return Err(too_long());
        }
        // A server that takes no question says why before it hangs up: whether ours got through, its words come first.
        let sent = (&self.stream).write_all(line.as_bytes());
        for line in BufReader::new(&self.stream).lines() {
            match read(&line.map_err(|error| lost(&error))?)? {
                Line::Row(row) => {
                    if !out(row) {
                        return Ok(());
                    }
                }
                Line::End(_) => return Ok(()),
                Line::Error(error) => return Err(error),
            }
        }
        Err(lost(&sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())))
    }
}

/// Whether nobody listens there. Where the path is too long for us, it was too long for a server as well.
pub(super) fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | InvalidInput)
}

/// The refusal of a question that no server would read to its end.
pub(super) fn too_long() -> AdminError {
    AdminError::invalid(format!("the question is too long: {} MiB at the most, payload and all", QUESTION_BYTES >> 20))
}

fn read(line: &str) -> Result<Line, AdminError> {
    serde_json::from_str(line).map_err(|error| {
        AdminError::unreachable(format!("the server's answer makes no sense ({error}): is it of another version?"))
    })
}

fn lost(error: &io::Error) -> AdminError {
    AdminError::unreachable(format!("the server hung up before its answer was whole ({error}): is it ending?"))
}
