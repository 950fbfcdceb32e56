//! Sends one request to a running server through its Unix socket.
//!
//! See [`super::server`] for the server side.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::admin::error::AdminError;
use crate::admin::protocol::{AdminRequest, REQUEST_BYTES_MAX, ResponseLine};

/// Connection to a running server, for one request.
#[derive(Debug)]
pub struct AdminClient {
    stream: UnixStream,
}

impl AdminClient {
    /// Connects to the server that listens at `path`. Returns `None` if no server listens.
    ///
    /// # Errors
    /// [`Unreachable`](crate::admin::ErrorCode::Unreachable) if the socket exists but this process
    /// may not use it.
    pub fn connect(path: &Path) -> Result<Option<Self>, AdminError> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error) if is_not_listening(&error) => Ok(None),
            Err(error) => Err(AdminError::unreachable(format!(
                "the server's socket {} can't be used ({error}): run the command as the user that runs the server",
                path.display()
            ))),
        }
    }

    /// Sends the request and passes each row of the response to the callback as it arrives. Stops
    /// if the callback returns `false`.
    ///
    /// # Errors
    /// The error that the server reports, or [`Unreachable`](crate::admin::ErrorCode::Unreachable)
    /// if the server closes the connection before the end of the response.
    pub fn send(
        self,
        request: &AdminRequest,
        sink: &mut dyn FnMut(Value) -> bool,
    ) -> Result<(), AdminError> {
        let mut line = serde_json::to_string(request)
            .map_err(|error| AdminError::invalid(error.to_string()))?;
        line.push('\n');
        if line.len() > REQUEST_BYTES_MAX {
            return Err(request_too_long());
        }
        // A server that refuses a request reports the reason before it closes the connection. The
        // client therefore reads the response even if sending failed.
        let sent = (&self.stream).write_all(line.as_bytes());
        for line in BufReader::new(&self.stream).lines() {
            match parse_line(&line.map_err(|error| connection_lost(&error))?)? {
                ResponseLine::Row(row) => {
                    if !sink(row) {
                        return Ok(());
                    }
                }
                ResponseLine::Done(_) => return Ok(()),
                ResponseLine::Error(error) => return Err(error),
            }
        }
        let error = sent.and(Err(io::ErrorKind::UnexpectedEof.into()));
        error.map_err(|error| connection_lost(&error))
    }
}

/// Returns `true` if no server listens at the path. A path that is too long for this client was
/// also too long for a server.
pub(crate) fn is_not_listening(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | InvalidInput)
}

/// Returns the error for a request that exceeds the maximum size.
pub(crate) fn request_too_long() -> AdminError {
    AdminError::invalid(format!(
        "the request is too long: maximum {} MiB with its payload",
        REQUEST_BYTES_MAX >> 20
    ))
}

fn parse_line(line: &str) -> Result<ResponseLine, AdminError> {
    serde_json::from_str(line).map_err(|error| {
        AdminError::unreachable(format!("the server's response can't be parsed ({error}): use the same flowgate version for the command and the server"))
    })
}

fn connection_lost(error: &io::Error) -> AdminError {
    AdminError::unreachable(format!(
        "the server closed the connection before its response was complete ({error}): the server may be stopping; try again, or check its log"
    ))
}
