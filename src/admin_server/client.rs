//! Sends one request to a running server through its Unix socket.
//!
//! See [`super::socket_server`] for the server side.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use bytes::{Buf, Bytes, BytesMut};
use crossbeam_channel::bounded;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use serde_json::Value;
use tokio::runtime;

use super::api::BODY_BYTES_MAX;
use super::request_encoder::{EncodedRequest, encode_request};
use super::response::{ApiError, TOO_MANY_REQUESTS};
use crate::admin::{AdminError, AdminRequest, ErrorCode};

/// Maximum size of the body of an error, in bytes.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of rows that wait for the command.
const ROWS_MAX: usize = 256;

/// Function that gets each row, and returns `false` to stop.
type RowSender<'a> = dyn FnMut(Value) -> bool + Send + 'a;

/// Connection to a running server, for one request.
#[derive(Debug)]
pub struct AdminClient {
    stream: UnixStream,
}

/// Body of an error, and last line of a response with an error after its rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorObject {
    code: String,
    message: String,
}

impl AdminClient {
    /// Connects to the server that listens at `path`. Returns `None` if no server listens.
    ///
    /// # Errors
    /// `ErrorCode::Unreachable` if the socket exists but this process may not use it.
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
    /// The error that the server reports, or `ErrorCode::Unreachable` if the server closes the
    /// connection before the end of the response.
    pub fn send(
        self,
        request: &AdminRequest,
        sink: &mut dyn FnMut(Value) -> bool,
    ) -> Result<(), AdminError> {
        let request = encode_request(request)?;
        if request.body.len() > BODY_BYTES_MAX {
            return Err(AdminError::invalid(
                ApiError::TooLarge(BODY_BYTES_MAX).to_string(),
            ));
        }
        // A caller may be in a runtime already, so the exchange has a thread of its own.
        thread::scope(|scope| {
            let (rows_tx, rows) = bounded(ROWS_MAX);
            let exchange = scope.spawn(move || {
                let runtime = runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| connection_lost(&error))?;
                runtime.block_on(self.exchange(request, &mut |row| rows_tx.send(row).is_ok()))
            });
            for row in rows {
                if !sink(row) {
                    break;
                }
            }
            let exchanged = exchange.join();
            exchanged.unwrap_or_else(|_| Err(AdminError::failed("the request failed: see above")))
        })
    }

    async fn exchange(
        self,
        request: EncodedRequest,
        sink: &mut RowSender<'_>,
    ) -> Result<(), AdminError> {
        let open = || {
            self.stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(self.stream)
        };
        let stream = open().map_err(|error| connection_lost(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| connection_lost(&error))?;
        // The task ends with the runtime of this request.
        tokio::spawn(connection);
        let mut head = Request::builder()
            .method(request.method)
            .uri(request.path)
            .header(HOST, "localhost");
        if !request.body.is_empty() {
            head = head.header(CONTENT_TYPE, "application/json");
        }
        let request = head
            .body(Full::<Bytes>::from(request.body))
            .map_err(|error| AdminError::invalid(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| connection_lost(&error))?;
        if response.status() == StatusCode::OK {
            read_rows(response.into_body(), sink).await
        } else {
            Err(read_error(response.into_body()).await)
        }
    }
}

/// Passes the rows of a response to `sink`.
async fn read_rows(mut body: Incoming, sink: &mut RowSender<'_>) -> Result<(), AdminError> {
    let mut buffer = BytesMut::new();
    // Number of bytes at the start of the buffer that have no end of a line.
    let mut searched = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| connection_lost(&error))?;
        buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = find_line_end(&buffer, searched) {
            let line = buffer.split_to(end);
            buffer.advance(1);
            searched = 0;
            if !pass_row(&line, sink)? {
                return Ok(());
            }
        }
        searched = buffer.len();
    }
    if buffer.is_empty() {
        Ok(())
    } else {
        Err(not_understood("an incomplete line"))
    }
}

fn find_line_end(buffer: &[u8], from: usize) -> Option<usize> {
    let rest = buffer.get(from..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some(from.saturating_add(end))
}

/// Passes one row to `sink`, or returns the error of the last line.
fn pass_row(line: &[u8], sink: &mut RowSender<'_>) -> Result<bool, AdminError> {
    let row: Value = serde_json::from_slice(line).map_err(|error| not_understood(&error))?;
    match ErrorBody::deserialize(&row) {
        Ok(body) => Err(body.into()),
        Err(_) => Ok(sink(row)),
    }
}

async fn read_error(body: Incoming) -> AdminError {
    match Limited::new(body, ERROR_BYTES_MAX).collect().await {
        Ok(collected) => serde_json::from_slice::<ErrorBody>(&collected.to_bytes())
            .map_or_else(|error| not_understood(&error), AdminError::from),
        Err(error) => connection_lost(&error),
    }
}

impl From<ErrorBody> for AdminError {
    fn from(ErrorBody { error }: ErrorBody) -> Self {
        let ErrorObject { code, message } = error;
        let name: StrDeserializer<'_, serde_json::Error> = code.as_str().into_deserializer();
        match ErrorCode::deserialize(name) {
            Ok(code) => Self { code, message },
            Err(_) if code == TOO_MANY_REQUESTS => Self::unreachable(message),
            Err(_) => not_understood(&message),
        }
    }
}

/// Returns `true` if no server listens at the path. A path that is too long for this client was
/// also too long for a server.
pub(crate) fn is_not_listening(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | InvalidInput)
}

fn not_understood(why: &(impl std::fmt::Display + ?Sized)) -> AdminError {
    AdminError::unreachable(format!(
        "the server and this command don't understand each other ({why}): use the same flowgate version for both"
    ))
}

fn connection_lost(error: &(impl std::fmt::Display + ?Sized)) -> AdminError {
    AdminError::unreachable(format!(
        "the server closed the connection before its response was complete ({error}): the server may be stopping; try again, or check its log"
    ))
}
