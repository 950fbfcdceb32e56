//! Implements a circuit breaker, which stops calls to a remote service after consecutive failures.
//! After a pause, the breaker probes the service with a single call.
//!
//! ```text
//!             failures in a row              pause is over
//!   closed ───────────────────────▶ open ───────────────────▶ probing
//!      ▲                             ▲ │ refuses all calls      │ │ allows one call,
//!      │                             │                          │ │ refuses the others
//!      │                             └───── the call failed ────┘ │
//!      └──────────────────────── the call succeeded ──────────────┘
//! ```
//!
//! The breaker is pure. Callers pass in elapsed time, because the wall clock may jump. Callers
//! decide which results are failures.
//!
//! See [`crate::clock::Clock::elapsed`] for elapsed time.

use std::time::Duration;

use super::time::Millis;

/// Threshold and open period of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Consecutive failures that open the breaker, minimum 1.
    pub failure_threshold: u32,
    /// Time for which an open breaker refuses all calls before it allows a probe.
    pub open_for: Millis,
}

/// Circuit breaker of one remote service.
#[derive(Debug)]
pub struct CircuitBreaker {
    policy: BreakerPolicy,
    state: State,
    /// Number of state changes so far. A call permit stores the number at the start of its call.
    /// The breaker ignores the result of a call with an older number.
    generation: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// Consecutive failures since the last success.
        consecutive_failures: u32,
    },
    Open {
        until: Duration,
    },
    Probing,
}

/// Permission to make one call. The caller returns the permit with the result of the call. Without
/// the result of its probe, the breaker stays open.
#[derive(Debug)]
pub struct CallPermit(u64);

/// State change that an operator should know about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// The breaker refuses calls from now on. A probe that fails is not reported as a change.
    Opened,
    /// The breaker allows calls again.
    Closed,
}

impl State {
    const CLOSED: Self = Self::Closed {
        consecutive_failures: 0,
    };
}

impl CircuitBreaker {
    /// Creates a closed breaker.
    #[must_use]
    pub const fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            state: State::CLOSED,
            generation: 0,
        }
    }

    /// Returns the time until which all calls are refused. Returns `None` if the breaker is closed
    /// or probing.
    #[must_use]
    pub const fn open_until(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::Probing => None,
        }
    }

    /// Returns a permit for a call at `now`. Returns `None` while the breaker refuses calls.
    #[must_use]
    pub fn try_acquire(&mut self, now: Duration) -> Option<CallPermit> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until } if now >= until => self.transition_to(State::Probing),
            State::Open { .. } | State::Probing => return None,
        }
        Some(CallPermit(self.generation))
    }

    /// Records that the call succeeded. Returns the state change that follows, if any.
    #[expect(clippy::needless_pass_by_value, reason = "a pass counts once")]
    pub fn record_success(&mut self, permit: CallPermit) -> Option<BreakerChange> {
        match self.state {
            _ if permit.0 != self.generation => None,
            State::Closed { .. } => {
                self.state = State::CLOSED;
                None
            }
            State::Open { .. } | State::Probing => {
                self.transition_to(State::CLOSED);
                Some(BreakerChange::Closed)
            }
        }
    }

    /// Records that the call failed at `now`. Returns the state change that follows, if any. The
    /// result of a call that began before the last state change is ignored.
    #[expect(clippy::needless_pass_by_value, reason = "a pass counts once")]
    pub fn record_failure(&mut self, permit: CallPermit, now: Duration) -> Option<BreakerChange> {
        let until = now.saturating_add(self.policy.open_for.to_duration());
        match self.state {
            _ if permit.0 != self.generation => None,
            State::Closed {
                ref mut consecutive_failures,
            } if consecutive_failures.saturating_add(1) < self.policy.failure_threshold => {
                *consecutive_failures += 1;
                None
            }
            State::Closed { .. } => {
                self.transition_to(State::Open { until });
                Some(BreakerChange::Opened)
            }
            State::Open { .. } | State::Probing => {
                self.transition_to(State::Open { until });
                None
            }
        }
    }

    /// Returns the permit of a call without a result because the caller no longer waits for the
    /// call. If the call was the probe, the next call becomes the probe.
    #[expect(clippy::needless_pass_by_value, reason = "a pass counts once")]
    pub fn cancel(&mut self, permit: CallPermit) {
        if permit.0 == self.generation && matches!(self.state, State::Probing) {
            self.transition_to(State::Open {
                until: Duration::ZERO,
            });
        }
    }

    const fn transition_to(&mut self, state: State) {
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BreakerChange::{Closed, Opened};

    const POLICY: BreakerPolicy = BreakerPolicy {
        failure_threshold: 3,
        open_for: Millis::from_secs(10),
    };

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Makes a call at second 0 that fails.
    fn fail(breaker: &mut CircuitBreaker) -> Option<BreakerChange> {
        let permit = breaker.try_acquire(at(0)).unwrap();
        breaker.record_failure(permit, at(0))
    }

    /// Returns a breaker that opened at second 0.
    fn open_breaker() -> CircuitBreaker {
        let mut breaker = CircuitBreaker::new(POLICY);
        let changes = [(); 3].map(|()| fail(&mut breaker));
        assert_eq!(changes, [None, None, Some(Opened)]);
        breaker
    }

    #[test]
    fn consecutive_failures_open_breaker() {
        let mut breaker = CircuitBreaker::new(POLICY);
        for _ in 0..5 {
            assert_eq!([(); 2].map(|()| fail(&mut breaker)), [None; 2]);
            let permit = breaker.try_acquire(at(0)).unwrap();
            assert_eq!(breaker.record_success(permit), None);
        }
    }

    #[test]
    fn single_probe_after_open_period_closes_breaker() {
        let mut breaker = open_breaker();
        assert!(breaker.try_acquire(at(9)).is_none());
        let probe = breaker.try_acquire(at(10)).unwrap();
        assert!(breaker.try_acquire(at(10)).is_none() && breaker.try_acquire(at(1000)).is_none());
        // The breaker was open before the probe.
        assert_eq!(breaker.record_failure(probe, at(12)), None);
        assert!(breaker.try_acquire(at(21)).is_none());
        let probe = breaker.try_acquire(at(22)).unwrap();
        assert_eq!(breaker.record_success(probe), Some(Closed));
        let permits = [(); 4].map(|()| breaker.try_acquire(at(22)).unwrap());
        let changes = permits.map(|permit| breaker.record_failure(permit, at(23)));
        // The breaker counts failures from zero again.
        assert_eq!(changes, [None, None, Some(Opened), None]);
    }

    #[test]
    fn cancelled_probe_allows_next_probe() {
        let mut breaker = open_breaker();
        let probe = breaker.try_acquire(at(10)).unwrap();
        breaker.cancel(probe);
        let next = breaker.try_acquire(at(10)).unwrap();
        assert!(breaker.try_acquire(at(10)).is_none());
        assert_eq!(breaker.record_success(next), Some(Closed));
    }

    #[test]
    fn outcome_from_previous_generation_is_ignored() {
        let mut breaker = CircuitBreaker::new(POLICY);
        let [late, cancelled, other] = [(); 3].map(|()| breaker.try_acquire(at(0)).unwrap());
        for _ in 0..3 {
            fail(&mut breaker);
        }
        assert_eq!(breaker.record_success(late), None);
        // The result of an older call does not close the breaker.
        assert!(breaker.try_acquire(at(5)).is_none());
        assert_eq!(breaker.record_failure(other, at(5)), None);
        let probe = breaker.try_acquire(at(10)).unwrap();
        breaker.cancel(cancelled);
        // The probe is still in flight.
        assert!(breaker.try_acquire(at(10)).is_none());
        assert_eq!(breaker.record_success(probe), Some(Closed));
    }
}
