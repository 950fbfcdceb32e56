//! A body, read within its bounds: its own limit, the budget of all bodies together, a deadline, and a pace once it is large or
//! the budget is short.
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

/// Time between two checks of a body's pace.
const PACE_SPAN: Duration = Duration::from_secs(2);

/// Pace that a body must keep. Meta and proxies send a whole body within one [`PACE_SPAN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// Maximum of bytes that a body may hold without keeping the pace.
    free: u64,
    /// Minimum of bytes that must come in each [`PACE_SPAN`].
    bytes: u64,
}

/// Usual pace: 16 KiB/s. Smaller bodies may come as slowly as the deadline allows.
const USUAL: Pace = Pace { free: 64 * 1024, bytes: 32 * 1024 };

/// Pace while less than half of the budget is left: 64 KiB/s. Without it, a thousand senders could fill the budget with
/// bodies that stay just below what is usually free.
const UNDER_PRESSURE: Pace = Pace { free: 4 * 1024, bytes: 128 * 1024 };

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

    /// The pace that bodies must keep now.
    fn pace(&self) -> Pace {
        if self.0.left.load(Ordering::Acquire) < self.0.bytes / 2 { UNDER_PRESSURE } else { USUAL }
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

    /// Returns `true` if the body does not keep its pace: `came` bytes came in the last [`PACE_SPAN`].
    fn is_too_slow(&self, came: u64) -> bool {
        let pace = self.budget.pace();
        self.purpose != Purpose::Answer && self.bytes > pace.free && came < pace.bytes
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
                    if share.is_too_slow(in_span) {
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
    fn bodies_must_keep_a_higher_pace_while_less_than_half_of_the_budget_is_left() {
        const KIB: u64 = 1024;
        let budget = Budget::new(1024 * KIB);
        let held = |purpose, kib: u64| {
            let mut share = budget.share(purpose, 1024 * KIB);
            share.grow(kib * KIB).unwrap();
            share
        };
        let slow =
            |share: &Share| [0, 32 * KIB - 1, 32 * KIB, 128 * KIB - 1, 128 * KIB].map(|came| share.is_too_slow(came));
        let (tiny, small, large) = (held(Purpose::Form, 4), held(Purpose::Webhook, 60), held(Purpose::Form, 100));
        let answer = held(Purpose::Answer, 100);
        let usual = [[false; 5], [false; 5], [true, true, false, false, false], [false; 5]];
        let paces = || [&tiny, &small, &large, &answer].map(slow);
        assert_eq!(paces(), usual);
        let others = held(Purpose::Form, 300);
        let strict = [true, true, true, true, false];
        assert_eq!(paces(), [[false; 5], strict, strict, [false; 5]]);
        drop(others);
        assert_eq!(paces(), usual);
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
