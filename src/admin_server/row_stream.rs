//! Carries the rows of a response from the thread that reads them to the connection.
//!
//! The channel between both is short, so a slow reader slows the thread down, and memory stays
//! bounded. If the reader closes the connection, the thread stops.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::Value;
use tokio::sync::mpsc;

use super::response::error_line;
use crate::admin::AdminError;

/// Size at which collected rows are sent.
const CHUNK_BYTES: usize = 16 * 1024;
/// Maximum number of chunks that wait for the connection.
const CHUNKS_MAX: usize = 4;

/// Part of a response.
pub(super) enum Part {
    /// Complete lines.
    Rows(Bytes),
    /// End of the response.
    End(Result<(), AdminError>),
}

/// Creates both ends of a response.
pub(super) fn row_channel() -> (RowWriter, mpsc::Receiver<Part>) {
    let (parts, receiver) = mpsc::channel(CHUNKS_MAX);
    let writer = RowWriter {
        buffer: Vec::new(),
        parts,
    };
    (writer, receiver)
}

/// End of the thread that reads the rows.
pub(super) struct RowWriter {
    buffer: Vec<u8>,
    parts: mpsc::Sender<Part>,
}

impl RowWriter {
    /// Adds a row. Returns `false` if nobody reads the response. May wait for the reader.
    pub(super) fn write_row(&mut self, row: &Value) -> bool {
        // A `Value` can always be written to memory.
        let is_written = serde_json::to_writer(&mut self.buffer, row).is_ok();
        self.buffer.push(b'\n');
        is_written && (self.buffer.len() < CHUNK_BYTES || self.flush())
    }

    /// Ends the response. An error after rows is its last line.
    pub(super) fn finish(mut self, result: Result<(), AdminError>) {
        if self.buffer.is_empty() || self.flush() {
            // The reader may have left.
            let _ = self.parts.blocking_send(Part::End(result));
        }
    }

    fn flush(&mut self) -> bool {
        let rows = std::mem::take(&mut self.buffer).into();
        self.parts.blocking_send(Part::Rows(rows)).is_ok()
    }
}

/// Body of a response whose rows are still being read.
pub(super) struct RowStream {
    /// Rows that have arrived already.
    first: Option<Bytes>,
    /// `None` after the end.
    parts: Option<mpsc::Receiver<Part>>,
}

impl RowStream {
    pub(super) const fn new(first: Bytes, parts: mpsc::Receiver<Part>) -> Self {
        Self {
            first: Some(first),
            parts: Some(parts),
        }
    }

    /// Body of a response without rows.
    pub(super) const fn empty() -> Self {
        Self {
            first: None,
            parts: None,
        }
    }
}

impl Body for RowStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(parts) = &mut this.parts else {
            return Poll::Ready(None);
        };
        let part = ready!(parts.poll_recv(cx));
        if !matches!(part, Some(Part::Rows(_))) {
            this.parts = None;
        }
        Poll::Ready(match part {
            Some(Part::Rows(rows)) => Some(Ok(Frame::data(rows))),
            Some(Part::End(Ok(()))) => None,
            Some(Part::End(Err(error))) => Some(Ok(Frame::data(error_line(&error)))),
            // The thread panicked. The connection closes before the end of the body, so that the
            // reader notices.
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}
