//! Reads the body of a response within the deadline of its request, a maximum size and the memory
//! of its client. See [`super::client`] for the request.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::error::{NetError, root_cause};

/// Maximum time to wait for the rest of a response if only its status matters.
pub(super) const BODY_GRACE: Duration = Duration::from_secs(1);

/// Complete response.
#[derive(Debug, Clone)]
pub struct FullResponse {
    /// Status of the response.
    pub status: StatusCode,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Complete body of the response.
    pub body: Bytes,
}

/// Part of the response that decides about the result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The status decides. The body is read as far as it arrives within a short time.
    Status,
    /// The status and the body decide. The body may arrive until the deadline.
    Body,
}

/// Response with the beginning of its body.
#[derive(Debug, Clone)]
pub struct ResponsePrefix {
    /// Status of the response.
    pub status: StatusCode,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Beginning of the body, as far as it arrived.
    pub body_prefix: Bytes,
    /// `true` if the body is complete.
    pub is_complete: bool,
}

/// Response whose body was not read yet. Dropping it closes the connection.
#[derive(Debug)]
pub struct PendingResponse {
    pub(super) head: Parts,
    pub(super) body: Incoming,
    /// Host of the request, for errors.
    pub(super) host: String,
    /// Time of the deadline, from the start of the request.
    pub(super) deadline: Duration,
    /// End of that time.
    pub(super) cutoff: Instant,
    /// Memory for the bodies of all responses to the client: one permit for each byte.
    pub(super) memory: Arc<Semaphore>,
}

impl PendingResponse {
    /// Returns the status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Reads the complete body, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`NetError`] if the body is not complete at the deadline, is too large, or does not fit into
    /// the memory of the client.
    pub async fn read_full(mut self, bytes_max: usize) -> Result<FullResponse, NetError> {
        let (mut bytes, host) = (BytesMut::new(), self.host.clone());
        let is_complete = timeout_at(self.cutoff, self.read_body(bytes_max, &mut bytes))
            .await
            .map_err(|_| NetError::Timeout {
                host: host.clone(),
                deadline: self.deadline,
            })??;
        if !is_complete {
            return Err(NetError::ResponseTooLarge { host, bytes_max });
        }
        Ok(FullResponse {
            status: self.head.status,
            headers: self.head.headers,
            body: bytes.freeze(),
        })
    }

    /// Reads at most `bytes_max` bytes of the body, as far as they arrive in time. An error in the
    /// rest of the body is ignored. Only a connection whose response is complete is reused.
    pub(super) async fn read_prefix(
        mut self,
        bytes_max: usize,
        decided_by: DecidedBy,
    ) -> ResponsePrefix {
        let cutoff = match decided_by {
            DecidedBy::Status => self.cutoff.min(Instant::now() + BODY_GRACE),
            DecidedBy::Body => self.cutoff,
        };
        let mut prefix = BytesMut::new();
        let read = timeout_at(cutoff, self.read_body(bytes_max, &mut prefix)).await;
        ResponsePrefix {
            status: self.head.status,
            headers: self.head.headers,
            body_prefix: prefix.freeze(),
            is_complete: matches!(read, Ok(Ok(true))),
        }
    }

    /// Reads at most `bytes_max` bytes of the body into `bytes`. Returns `true` if the body is
    /// complete.
    async fn read_body(
        &mut self,
        bytes_max: usize,
        bytes: &mut BytesMut,
    ) -> Result<bool, NetError> {
        let host = || self.host.clone();
        let mut reserved: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| NetError::Disconnected {
                host: host(),
                why: root_cause(&error),
            })?;
            // The trailers are not used.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let remaining = bytes_max.saturating_sub(bytes.len());
            if data.len() > remaining {
                bytes.extend_from_slice(data.get(..remaining).unwrap_or_default());
                return Ok(false);
            }
            let permit = self
                .memory
                .try_acquire_many(u32::try_from(data.len()).unwrap_or(u32::MAX))
                .map_err(|_| NetError::ResponseMemoryFull { host: host() })?;
            match &mut reserved {
                Some(reserved) => reserved.merge(permit),
                None => reserved = Some(permit),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(true)
    }
}
