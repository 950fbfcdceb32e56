//! Reads a body within its limits: its maximum size, the memory budget of all bodies, a deadline
//! and a minimum rate. The rate applies to large bodies, or while the budget is short.
//!
//! The limits apply while the body is read. The signature can only be checked after the whole body
//! has arrived, so the client is still unknown. A part of the budget is reserved for forms. Without
//! this, webhooks that never finish could fill the budget and block the forms. This module does not
//! parse bodies.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::timer_now;

/// Time between two checks of a body's rate.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Minimum rate of a body. Meta and proxies send a whole body within one [`RATE_WINDOW`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MinRate {
    /// Maximum size of a body that the rate does not apply to, in bytes.
    exempt_bytes: u64,
    /// Minimum number of bytes that must arrive in each [`RATE_WINDOW`].
    window_bytes: u64,
}

/// Normal minimum rate: 16 KiB/s. Smaller bodies may be as slow as the deadline allows.
const NORMAL_RATE: MinRate = MinRate {
    exempt_bytes: 64 * 1024,
    window_bytes: 32 * 1024,
};

/// Minimum rate while less than half of the budget is available: 64 KiB/s.
///
/// Without it, a thousand clients could fill the budget with bodies just below the normal
/// exemption.
const HIGH_RATE: MinRate = MinRate {
    exempt_bytes: 4 * 1024,
    window_bytes: 128 * 1024,
};

/// Reason why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than the {limit} bytes that this path accepts")]
    TooLarge { limit: u64 },
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("the body is incomplete, or its encoding differs from its headers")]
    Incomplete,
    #[error("the memory for request bodies is full: try again in a moment")]
    BudgetExceeded,
}

/// Memory budget of all bodies that are in memory at the same time.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    /// Total size of the budget, in bytes.
    total: u64,
    /// Available part of the budget, in bytes.
    available: AtomicU64,
    /// Part of the budget that webhooks have reserved, in bytes.
    webhooks: AtomicU64,
}

/// Kind of body. It decides which part of the budget a body may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// Request to a flow. A customer waits for the response.
    FlowRequest,
    /// Response of an upstream, the owner's own program. No minimum rate applies, only its timeout.
    UpstreamResponse,
    /// Webhook. Its sender will repeat it.
    Webhook,
}

/// Reserved part of the budget. Released on drop.
#[derive(Debug)]
pub(super) struct BudgetPermit {
    budget: BodyBudget,
    kind: BodyKind,
    body_limit: u64,
    reserved_bytes: u64,
}

impl BodyBudget {
    /// Creates a budget of `bytes` for all bodies.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(BudgetState {
            total: bytes,
            available: AtomicU64::new(bytes),
            webhooks: AtomicU64::new(0),
        }))
    }

    /// Returns an empty reservation for a body of at most `limit` bytes.
    fn permit(&self, purpose: BodyKind, limit: u64) -> BudgetPermit {
        BudgetPermit {
            budget: self.clone(),
            kind: purpose,
            body_limit: limit,
            reserved_bytes: 0,
        }
    }

    /// Returns the minimum rate that applies now.
    fn required_rate(&self) -> MinRate {
        if self.0.available.load(Ordering::Acquire) < self.0.total / 2 {
            HIGH_RATE
        } else {
            NORMAL_RATE
        }
    }
}

impl BudgetPermit {
    fn reserve(&mut self, additional: u64) -> Result<(), BodyError> {
        let BudgetState {
            total,
            available,
            webhooks,
        } = &*self.budget.0;
        let update = |counter: &AtomicU64, change: &dyn Fn(u64) -> Option<u64>| {
            counter
                .try_update(Ordering::AcqRel, Ordering::Acquire, change)
                .map_err(|_| BodyError::BudgetExceeded)
        };
        update(available, &|available| available.checked_sub(additional))?;
        if self.kind == BodyKind::Webhook {
            // Webhooks may use three quarters of the budget. One whole webhook always fits.
            let webhook_limit = (total / 4).saturating_mul(3).max(self.body_limit);
            let used = update(webhooks, &|taken| {
                taken
                    .checked_add(additional)
                    .filter(|taken| *taken <= webhook_limit)
            });
            used.inspect_err(|_| {
                available.fetch_add(additional, Ordering::AcqRel);
            })?;
        }
        self.reserved_bytes += additional;
        Ok(())
    }

    /// Returns `true` if the body is below its minimum rate. `window_bytes` is the number of bytes
    /// that arrived in the last [`RATE_WINDOW`].
    fn is_below_min_rate(&self, window_bytes: u64) -> bool {
        let rate = self.budget.required_rate();
        self.kind != BodyKind::UpstreamResponse
            && self.reserved_bytes > rate.exempt_bytes
            && window_bytes < rate.window_bytes
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        let BudgetState {
            available,
            webhooks,
            ..
        } = &*self.budget.0;
        available.fetch_add(self.reserved_bytes, Ordering::AcqRel);
        if self.kind == BodyKind::Webhook {
            webhooks.fetch_sub(self.reserved_bytes, Ordering::AcqRel);
        }
    }
}

/// Checks that the announced length is at most `limit`. A head may announce no length.
pub(super) fn check_announced_length(body: &Incoming, limit: u64) -> Result<(), BodyError> {
    if body.size_hint().lower() > limit {
        Err(BodyError::TooLarge { limit })
    } else {
        Ok(())
    }
}

/// Reads all of `body`. The caller must hold the permit as long as the bytes.
pub(super) async fn read_body(
    mut body: Incoming,
    limit: u64,
    (budget, purpose): (&BodyBudget, BodyKind),
    deadline: Instant,
) -> Result<(Bytes, BudgetPermit), BodyError> {
    let mut permit = budget.permit(purpose, limit);
    // Most bodies arrive in one piece, which is used without a copy. Only a second piece causes a
    // copy.
    let mut first = Bytes::new();
    let mut buffer = BytesMut::new();
    let mut rate_timer = pin!(sleep(RATE_WINDOW));
    let mut bytes_in_window = 0;
    loop {
        let frame = loop {
            tokio::select! {
                biased;
                frame = timeout_at(deadline, body.frame()) => break frame.map_err(|_| BodyError::Timeout)?,
                () = &mut rate_timer => {
                    if permit.is_below_min_rate(bytes_in_window) {
                        return Err(BodyError::Timeout);
                    }
                    bytes_in_window = 0;
                    rate_timer.as_mut().reset(timer_now() + RATE_WINDOW);
                }
            }
        };
        let Some(frame) = frame else { break };
        // The trailers are not used.
        let Ok(chunk) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else {
            continue;
        };
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if permit.reserved_bytes.saturating_add(bytes) > limit {
            return Err(BodyError::TooLarge { limit });
        }
        permit.reserve(bytes)?;
        bytes_in_window += bytes;
        if first.is_empty() && buffer.is_empty() {
            first = chunk;
        } else {
            if buffer.is_empty() {
                buffer.extend_from_slice(&first);
            }
            buffer.extend_from_slice(&chunk);
        }
    }
    Ok((
        if buffer.is_empty() {
            first
        } else {
            buffer.freeze()
        },
        permit,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_released_on_drop_and_never_exceeded() {
        let budget = BodyBudget::new(10);
        let mut one = budget.permit(BodyKind::FlowRequest, 10);
        one.reserve(6).unwrap();
        let mut other = budget.permit(BodyKind::FlowRequest, 10);
        assert_eq!(other.reserve(5), Err(BodyError::BudgetExceeded));
        drop(one);
        other.reserve(10).unwrap();
        drop(other);
        assert_eq!(budget.0.available.load(Ordering::Acquire), 10);
    }

    #[test]
    fn min_rate_rises_below_half_of_budget() {
        const KIB: u64 = 1024;
        let budget = BodyBudget::new(1024 * KIB);
        let reserved_permit = |purpose, kib: u64| {
            let mut permit = budget.permit(purpose, 1024 * KIB);
            permit.reserve(kib * KIB).unwrap();
            permit
        };
        let rate_checks = |permit: &BudgetPermit| {
            [0, 32 * KIB - 1, 32 * KIB, 128 * KIB - 1, 128 * KIB]
                .map(|window_bytes| permit.is_below_min_rate(window_bytes))
        };
        let (tiny, small, large) = (
            reserved_permit(BodyKind::FlowRequest, 4),
            reserved_permit(BodyKind::Webhook, 60),
            reserved_permit(BodyKind::FlowRequest, 100),
        );
        let response = reserved_permit(BodyKind::UpstreamResponse, 100);
        let usual = [
            [false; 5],
            [false; 5],
            [true, true, false, false, false],
            [false; 5],
        ];
        let slow_permits = || [&tiny, &small, &large, &response].map(rate_checks);
        assert_eq!(slow_permits(), usual);
        let others = reserved_permit(BodyKind::FlowRequest, 300);
        let strict = [true, true, true, true, false];
        assert_eq!(slow_permits(), [[false; 5], strict, strict, [false; 5]]);
        drop(others);
        assert_eq!(slow_permits(), usual);
    }

    #[test]
    fn webhooks_never_exceed_three_quarters_of_budget() {
        let budget = BodyBudget::new(100);
        let mut webhook = budget.permit(BodyKind::Webhook, 10);
        webhook.reserve(75).unwrap();
        assert_eq!(webhook.reserve(1), Err(BodyError::BudgetExceeded));
        let mut form = budget.permit(BodyKind::FlowRequest, 10);
        form.reserve(25).unwrap();
        assert_eq!(form.reserve(1), Err(BodyError::BudgetExceeded));
        drop(webhook);
        form.reserve(75).unwrap();
        assert_eq!(
            budget.permit(BodyKind::Webhook, 10).reserve(1),
            Err(BodyError::BudgetExceeded),
            "a webhook takes from both"
        );
        drop(form);
        let available = [&budget.0.available, &budget.0.webhooks]
            .map(|available| available.load(Ordering::Acquire));
        assert_eq!(
            available,
            [100, 0],
            "what could not be taken whole is not taken at all"
        );
        assert!(
            BodyBudget::new(100)
                .permit(BodyKind::Webhook, 90)
                .reserve(90)
                .is_ok(),
            "one whole webhook always fits"
        );
    }
}
