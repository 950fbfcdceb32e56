//! A body, read within its bounds: its own limit, the budget of all bodies together, a deadline, and a pace once it is large.
//!
//! The limits hold while reading, not after: a signature can only be checked once the whole body is here, so whoever
//! sends one is not yet known. Forms keep a part of the budget to themselves: whoever fills the rest with webhooks that never
//! end must not keep them out. Knows nothing of what a body says.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep, timeout_at};

/// A body that holds more than this must keep a pace: so much in each of these spans (16 KiB/s). Servers send megabytes in one
/// of them; smaller bodies may come as slowly as the deadline allows.
const HELD_FREE: u64 = 64 * 1024;
const PACE_BYTES: u64 = 32 * 1024;
const PACE_SPAN: Duration = Duration::from_secs(2);

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

/// Bytes that bodies may take together.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Room>);

#[derive(Debug)]
struct Room {
    /// All that bodies may take.
    bytes: u64,
    /// What is left of it.
    left: AtomicU64,
    /// What webhooks have taken of it.
    webhooks: AtomicU64,
}

/// What a body is to the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A request to a flow, for which somebody waits.
    Form,
    /// An answer of a flow's program. The program is the owner's own: its timeout alone bounds it.
    Answer,
    /// A webhook, which is sent again.
    Webhook,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    purpose: Purpose,
    limit: u64,
    bytes: u64,
}

impl Budget {
    /// Has `bytes` for all bodies.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(Room { bytes, left: AtomicU64::new(bytes), webhooks: AtomicU64::new(0) }))
    }

    /// A share for a body of up to `limit` bytes.
    fn share(&self, purpose: Purpose, limit: u64) -> Share {
        Share { budget: self.clone(), purpose, limit, bytes: 0 }
    }
}

impl Share {
    fn grow(&mut self, bytes: u64) -> Result<(), BodyError> {
        let Room { bytes: all, left, webhooks } = &*self.budget.0;
        let update = |room: &AtomicU64, change: &dyn Fn(u64) -> Option<u64>| {
            room.try_update(Ordering::AcqRel, Ordering::Acquire, change).map_err(|_| BodyError::OverBudget)
        };
        update(left, &|left| left.checked_sub(bytes))?;
        if self.purpose == Purpose::Webhook {
            // Three quarters are for webhooks, and one whole webhook always fits.
            let most = (all / 4).saturating_mul(3).max(self.limit);
            let taken = update(webhooks, &|taken| taken.checked_add(bytes).filter(|taken| *taken <= most));
            taken.inspect_err(|_| {
                left.fetch_add(bytes, Ordering::AcqRel);
            })?;
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Room { left, webhooks, .. } = &*self.budget.0;
        left.fetch_add(self.bytes, Ordering::AcqRel);
        if self.purpose == Purpose::Webhook {
            webhooks.fetch_sub(self.bytes, Ordering::AcqRel);
        }
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
    (budget, purpose): (&Budget, Purpose),
    deadline: Instant,
) -> Result<(Bytes, Share), BodyError> {
    let mut share = budget.share(purpose, limit);
    // Most bodies come in one piece, which is kept as it is; only a second one makes a copy.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut pace = pin!(sleep(PACE_SPAN));
    let mut in_span = 0;
    loop {
        let frame = loop {
            tokio::select! {
                biased;
                frame = timeout_at(deadline, body.frame()) => break frame.map_err(|_| BodyError::Late)?,
                () = &mut pace => {
                    if purpose != Purpose::Answer && share.bytes > HELD_FREE && in_span < PACE_BYTES {
                        return Err(BodyError::Late);
                    }
                    in_span = 0;
                    pace.as_mut().reset(Instant::now() + PACE_SPAN);
                }
            }
        };
        let Some(frame) = frame else { break };
        // Trailers say nothing that we ask for.
        let Ok(piece) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if share.bytes.saturating_add(bytes) > limit {
            return Err(BodyError::TooLarge { limit });
        }
        share.grow(bytes)?;
        in_span += bytes;
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
        let mut one = budget.share(Purpose::Form, 10);
        one.grow(6).unwrap();
        let mut other = budget.share(Purpose::Form, 10);
        assert_eq!(other.grow(5), Err(BodyError::OverBudget));
        drop(one);
        other.grow(10).unwrap();
        drop(other);
        assert_eq!(budget.0.left.load(Ordering::Acquire), 10);
    }

    #[test]
    fn webhooks_leave_a_quarter_to_forms_and_forms_may_have_all() {
        let budget = Budget::new(100);
        let mut webhook = budget.share(Purpose::Webhook, 10);
        webhook.grow(75).unwrap();
        assert_eq!(webhook.grow(1), Err(BodyError::OverBudget));
        let mut form = budget.share(Purpose::Form, 10);
        form.grow(25).unwrap();
        assert_eq!(form.grow(1), Err(BodyError::OverBudget));
        drop(webhook);
        form.grow(75).unwrap();
        assert_eq!(budget.share(Purpose::Webhook, 10).grow(1), Err(BodyError::OverBudget), "a webhook takes from both");
        drop(form);
        let left = [&budget.0.left, &budget.0.webhooks].map(|left| left.load(Ordering::Acquire));
        assert_eq!(left, [100, 0], "what could not be taken whole is not taken at all");
        assert!(Budget::new(100).share(Purpose::Webhook, 90).grow(90).is_ok(), "one whole webhook always fits");
    }
}
