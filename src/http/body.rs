//! Reads a body within its limits: its maximum size, the memory budget of all bodies, a deadline
//! and a minimum rate. The rate applies to large bodies, or while the budget is short.
//!
//! The limits apply while the body is read. The signature can only be checked after the whole body
//! has arrived, so the client is still unknown. A part of the budget is reserved for forms. Without
//! this, webhooks that never finish could fill the budget and block the forms. This module does not
//! parse bodies.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::timer_now;

/// Time between two checks of a body's rate.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Minimum rate of a body. Meta and proxies send a whole body within one [`RATE_WINDOW`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MinRate {
    /// Maximum size of a body that the rate does not apply to, in bytes.
    exempt_bytes: usize,
    /// Minimum number of bytes that must arrive in each [`RATE_WINDOW`].
    window_bytes: usize,
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

/// Memory budget of all bodies that are in memory at the same time. One permit is one byte.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget {
    total: usize,
    available: Arc<Semaphore>,
    /// Maximum part of the budget for webhooks, in bytes.
    webhooks_max: usize,
    available_for_webhooks: Arc<Semaphore>,
}

/// Kind of body. It decides which part of the budget a body may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// Request to a flow. A customer waits for the response.
    FlowRequest,
    /// Webhook. Its sender will repeat it.
    Webhook,
}

/// Reserved part of the budget. Released on drop.
#[derive(Debug)]
pub(super) struct BudgetPermit {
    /// Total size of the budget, in bytes.
    budget_bytes: usize,
    reserved: OwnedSemaphorePermit,
    /// The same bytes of the part for webhooks. `None`: the body is no webhook.
    reserved_for_webhooks: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    /// Creates a budget of `bytes` for all bodies. Webhooks may use three quarters of the budget.
    /// A whole webhook of `max_webhook_body` bytes always fits.
    pub(super) fn new(bytes: u64, max_webhook_body: u64) -> Self {
        let total = to_permits(bytes);
        let budget = Self {
            total,
            available: Arc::new(Semaphore::new(total)),
            webhooks_max: 0,
            available_for_webhooks: Arc::new(Semaphore::new(0)),
        };
        budget.with_max_webhook_body(max_webhook_body)
    }

    /// Returns the same budget with another maximum size of a webhook.
    pub(super) fn with_max_webhook_body(mut self, max_webhook_body: u64) -> Self {
        let webhooks_max = (self.total / 4 * 3).max(to_permits(max_webhook_body));
        if webhooks_max != self.webhooks_max {
            self.webhooks_max = webhooks_max;
            self.available_for_webhooks = Arc::new(Semaphore::new(webhooks_max));
        }
        self
    }

    /// Returns an empty reservation for one body.
    fn permit(&self, kind: BodyKind) -> Result<BudgetPermit, BodyError> {
        Ok(BudgetPermit {
            budget_bytes: self.total,
            reserved: acquire(&self.available, 0)?,
            reserved_for_webhooks: match kind {
                BodyKind::FlowRequest => None,
                BodyKind::Webhook => Some(acquire(&self.available_for_webhooks, 0)?),
            },
        })
    }
}

impl BudgetPermit {
    fn reserve(&mut self, bytes: usize) -> Result<(), BodyError> {
        let additional = acquire(self.reserved.semaphore(), bytes)?;
        if let Some(for_webhooks) = &mut self.reserved_for_webhooks {
            for_webhooks.merge(acquire(for_webhooks.semaphore(), bytes)?);
        }
        self.reserved.merge(additional);
        Ok(())
    }

    /// Returns `true` if the body is below its minimum rate. `window_bytes` is the number of bytes
    /// that arrived in the last [`RATE_WINDOW`].
    fn is_below_min_rate(&self, window_bytes: usize) -> bool {
        let available = self.reserved.semaphore().available_permits();
        let rate = if available < self.budget_bytes / 2 {
            HIGH_RATE
        } else {
            NORMAL_RATE
        };
        self.reserved.num_permits() > rate.exempt_bytes && window_bytes < rate.window_bytes
    }
}

fn acquire(part: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
    u32::try_from(bytes)
        .ok()
        .and_then(|permits| Arc::clone(part).try_acquire_many_owned(permits).ok())
        .ok_or(BodyError::BudgetExceeded)
}

fn to_permits(bytes: u64) -> usize {
    usize::try_from(bytes).map_or(Semaphore::MAX_PERMITS, |bytes| {
        bytes.min(Semaphore::MAX_PERMITS)
    })
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
    budget: &BodyBudget,
    kind: BodyKind,
    deadline: Instant,
) -> Result<(Bytes, BudgetPermit), BodyError> {
    let limit_bytes = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut permit = budget.permit(kind)?;
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
                frame = timeout_at(deadline, body.frame()) => {
                    break frame.map_err(|_| BodyError::Timeout)?;
                }
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
        if permit.reserved.num_permits().saturating_add(chunk.len()) > limit_bytes {
            return Err(BodyError::TooLarge { limit });
        }
        permit.reserve(chunk.len())?;
        bytes_in_window += chunk.len();
        if first.is_empty() && buffer.is_empty() {
            first = chunk;
        } else {
            if buffer.is_empty() {
                buffer.extend_from_slice(&first);
            }
            buffer.extend_from_slice(&chunk);
        }
    }
    if buffer.is_empty() {
        Ok((first, permit))
    } else {
        Ok((buffer.freeze(), permit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_released_on_drop_and_never_exceeded() {
        let budget = BodyBudget::new(10, 10);
        let mut one = budget.permit(BodyKind::FlowRequest).unwrap();
        one.reserve(6).unwrap();
        let mut other = budget.permit(BodyKind::FlowRequest).unwrap();
        assert_eq!(other.reserve(5), Err(BodyError::BudgetExceeded));
        drop(one);
        other.reserve(10).unwrap();
        drop(other);
        assert_eq!(budget.available.available_permits(), 10);
    }

    #[test]
    fn min_rate_rises_below_half_of_budget() {
        const KIB: usize = 1024;
        let budget = BodyBudget::new(1 << 20, 0);
        let reserved_permit = |kind, kib: usize| {
            let mut permit = budget.permit(kind).unwrap();
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
            reserved_permit(BodyKind::FlowRequest, 200),
        );
        let usual = [[false; 5], [false; 5], [true, true, false, false, false]];
        let slow_permits = || [&tiny, &small, &large].map(rate_checks);
        assert_eq!(slow_permits(), usual);
        let others = reserved_permit(BodyKind::FlowRequest, 300);
        let strict = [true, true, true, true, false];
        assert_eq!(slow_permits(), [[false; 5], strict, strict]);
        drop(others);
        assert_eq!(slow_permits(), usual);
    }

    #[test]
    fn webhooks_never_exceed_three_quarters_of_budget() {
        let budget = BodyBudget::new(100, 10);
        let mut webhook = budget.permit(BodyKind::Webhook).unwrap();
        webhook.reserve(75).unwrap();
        assert_eq!(webhook.reserve(1), Err(BodyError::BudgetExceeded));
        let mut form = budget.permit(BodyKind::FlowRequest).unwrap();
        form.reserve(25).unwrap();
        assert_eq!(form.reserve(1), Err(BodyError::BudgetExceeded));
        drop(webhook);
        form.reserve(75).unwrap();
        // A webhook needs a place in both parts. A failed reservation takes nothing.
        let mut webhook = budget.permit(BodyKind::Webhook).unwrap();
        assert_eq!(webhook.reserve(1), Err(BodyError::BudgetExceeded));
        drop(form);
        let parts = [&budget.available, &budget.available_for_webhooks];
        assert_eq!(parts.map(|part| part.available_permits()), [100, 75]);
        let budget = budget.with_max_webhook_body(90);
        let mut webhook = budget.permit(BodyKind::Webhook).unwrap();
        assert!(webhook.reserve(90).is_ok(), "one whole webhook always fits");
    }
}
