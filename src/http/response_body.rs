//! Wraps the body of a response, so that a request lasts until hyper has taken its last byte.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};

use super::timeout_stream::ConnectionPhase;

/// Body whose drop ends the request of its connection.
///
/// Without it, the idle timeout would close a connection in the middle of a long response.
pub(super) struct TrackedBody<B> {
    body: B,
    phase: Arc<ConnectionPhase>,
}

impl<B> TrackedBody<B> {
    pub(super) fn new(body: B, phase: Arc<ConnectionPhase>) -> Self {
        Self { body, phase }
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.phase.finish_response();
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
