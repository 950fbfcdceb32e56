//! A body, read within its bounds: its own limit, the budget of all bodies together, and a deadline.
//!
//! The limits hold while reading, not after: a signature can only be checked once the whole body is here, so whoever
//! sends one is not yet known. Knows nothing of what a body says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than the {limit} bytes that this path takes")]
    TooLarge { limit: u64 },
    #[error("the body took too long to come")]
    Late,
    #[error("the body broke off, or is not encoded as its headers say")]
    Broken,
    #[error("too many bodies are being read: try again in a moment")]
    OverBudget,
}

/// Bytes that all bodies together may take.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicU64>);

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }
}

impl Share {
    fn grow(&mut self, bytes: u64) -> Result<(), BodyError> {
        let left = &self.budget.0;
        let taken = left.try_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes));
        taken.map_err(|_| BodyError::OverBudget)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// The length that the head announced, if it did and it is within `limit`.
pub(super) fn announced(body: &Incoming, limit: u64) -> Result<(), BodyError> {
    if body.size_hint().lower() > limit { Err(BodyError::TooLarge { limit }) } else { Ok(()) }
}

/// Reads all of `body`. Keep the share as long as the bytes.
pub(super) async fn read(
    mut body: Incoming,
    limit: u64,
    budget: &Budget,
    deadline: Instant,
) -> Result<(Bytes, Share), BodyError> {
    let mut share = Share { budget: budget.clone(), bytes: 0 };
    // Most bodies come in one piece, which is kept as it is; only a second one makes a copy.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    loop {
        let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::Late)? else { break };
        // Trailers say nothing that we ask for.
        let Ok(piece) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if share.bytes.saturating_add(bytes) > limit {
            return Err(BodyError::TooLarge { limit });
        }
        share.grow(bytes)?;
        if first.is_empty() && whole.is_empty() {
            first = piece;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&piece);
        }
    }
    Ok((if whole.is_empty() { first } else { whole.freeze() }, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_and_no_more_than_the_budget_is_taken() {
        let budget = Budget::new(10);
        let mut one = Share { budget: budget.clone(), bytes: 0 };
        one.grow(6).unwrap();
        let mut other = Share { budget: budget.clone(), bytes: 0 };
        assert_eq!(other.grow(5), Err(BodyError::OverBudget));
        drop(one);
        other.grow(10).unwrap();
        drop(other);
        assert_eq!(budget.0.load(Ordering::Acquire), 10);
    }
}
