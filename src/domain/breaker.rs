//! A circuit breaker: after too many failures in a row the other side is left alone for a while, then tried with one call.
//!
//! ```text
//!             failures in a row                    the pause is over
//!   closed ───────────────────────▶ open ─────────────────────────────▶ probing
//!      ▲                             ▲ │ refuses all calls                │ │  lets one call through, refuses the others
//!      │                             └──────────── it failed ─────────────┘ │
//!      └────────────────────────────── it was answered ─────────────────────┘
//! ```
//!
//! Pure: the time is handed in, as what really went by (`crate::clock::Clock::elapsed`), since the wall clock may jump. What
//! counts as a failure is for the callers to say.

use std::time::Duration;

use super::time::Millis;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// Failures in a row that open it. From 1.
    pub failures: u32,
    /// How long nothing is tried then.
    pub pause: Millis,
}

/// The breaker of one other side.
#[derive(Debug)]
pub struct Breaker {
    rule: BreakerRule,
    state: State,
    /// Changes of state so far: tells what came of a call from before the last change.
    turn: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// In a row.
        failures: u32,
    },
    Open {
        until: Duration,
    },
    Probing,
}

/// Leave to make one call. Goes back with what came of it; a probe that is kept forever keeps the breaker open.
#[derive(Debug)]
pub struct Pass(u64);

/// A change that people should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on calls are refused. A probe that fails goes on with that, and is no change.
    Opened,
    /// They are let through again.
    Closed,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(rule: BreakerRule) -> Self {
        Self { rule, state: State::Closed { failures: 0 }, turn: 0 }
    }

    /// Until when all calls are refused, if they are.
    #[must_use]
    pub const fn open_until(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::Probing => None,
        }
    }

    /// Leave for a call at `now`; `None` while the other side is to be left alone.
    #[must_use]
    pub fn enter(&mut self, now: Duration) -> Option<Pass> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until } if now >= until => self.turn_to(State::Probing),
            State::Open { .. } | State::Probing => return None,
        }
        Some(Pass(self.turn))
    }

    /// The call was answered.
    #[expect(clippy::needless_pass_by_value, reason = "a pass counts once")]
    pub fn answered(&mut self, pass: Pass) -> Option<Change> {
        match self.state {
            _ if pass.0 != self.turn => None,
            State::Closed { .. } => {
                self.state = State::Closed { failures: 0 };
                None
            }
            State::Open { .. } | State::Probing => {
                self.turn_to(State::Closed { failures: 0 });
                Some(Change::Closed)
            }
        }
    }

    /// The call failed at `now`. What began before the last change of state says nothing any more.
    #[expect(clippy::needless_pass_by_value, reason = "a pass counts once")]
    pub fn failed(&mut self, pass: Pass, now: Duration) -> Option<Change> {
        let until = now.saturating_add(self.rule.pause.to_duration());
        match self.state {
            _ if pass.0 != self.turn => None,
            State::Closed { failures } if failures.saturating_add(1) < self.rule.failures => {
                self.state = State::Closed { failures: failures.saturating_add(1) };
                None
            }
            State::Closed { .. } => {
                self.turn_to(State::Open { until });
                Some(Change::Opened)
            }
            State::Open { .. } | State::Probing => {
                self.turn_to(State::Open { until });
                None
            }
        }
    }

    /// Nobody waited for what would have come of the call. Where it was the probe, the next call is the probe.
    #[expect(clippy::needless_pass_by_value, reason = "a pass counts once")]
    pub fn abandoned(&mut self, pass: Pass) {
        if pass.0 == self.turn && matches!(self.state, State::Probing) {
            self.turn_to(State::Open { until: Duration::ZERO });
        }
    }

    const fn turn_to(&mut self, state: State) {
        self.state = state;
        self.turn = self.turn.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BreakerRule = BreakerRule { failures: 3, pause: Millis::from_secs(10) };

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// One that has just opened, at second 0.
    fn open() -> Breaker {
        let mut breaker = Breaker::new(RULE);
        let changes = [(); 3].map(|()| {
            let pass = breaker.enter(at(0)).unwrap();
            breaker.failed(pass, at(0))
        });
        assert_eq!(changes, [None, None, Some(Change::Opened)]);
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = Breaker::new(RULE);
        for round in 0..5 {
            for _ in 0..2 {
                let pass = breaker.enter(at(round)).unwrap();
                assert_eq!(breaker.failed(pass, at(round)), None);
            }
            let pass = breaker.enter(at(round)).unwrap();
            assert_eq!(breaker.answered(pass), None);
        }
    }

    #[test]
    fn after_the_pause_one_call_at_a_time_tries_it_and_an_answer_closes_it() {
        let mut breaker = open();
        assert!(breaker.enter(at(9)).is_none());
        let probe = breaker.enter(at(10)).unwrap();
        assert!(breaker.enter(at(10)).is_none() && breaker.enter(at(1000)).is_none());
        assert_eq!(breaker.failed(probe, at(12)), None, "it was open before");
        assert!(breaker.enter(at(21)).is_none());
        let probe = breaker.enter(at(22)).unwrap();
        assert_eq!(breaker.answered(probe), Some(Change::Closed));
        let passes = [(); 4].map(|()| breaker.enter(at(22)).unwrap());
        let changes = passes.map(|pass| breaker.failed(pass, at(23)));
        assert_eq!(changes, [None, None, Some(Change::Opened), None], "it counts from the beginning");
    }

    #[test]
    fn a_probe_that_nobody_waits_for_makes_room_for_the_next() {
        let mut breaker = open();
        let probe = breaker.enter(at(10)).unwrap();
        breaker.abandoned(probe);
        let next = breaker.enter(at(10)).unwrap();
        assert!(breaker.enter(at(10)).is_none());
        assert_eq!(breaker.answered(next), Some(Change::Closed));
    }

    #[test]
    fn what_began_before_the_last_change_says_nothing() {
        let mut breaker = Breaker::new(RULE);
        let [late, lost, other] = [(); 3].map(|()| breaker.enter(at(0)).unwrap());
        for _ in 0..3 {
            let pass = breaker.enter(at(0)).unwrap();
            breaker.failed(pass, at(0));
        }
        assert_eq!(breaker.answered(late), None);
        assert!(breaker.enter(at(5)).is_none(), "an answer to an older call does not close it");
        assert_eq!(breaker.failed(other, at(5)), None);
        let probe = breaker.enter(at(10)).unwrap();
        breaker.abandoned(lost);
        assert!(breaker.enter(at(10)).is_none(), "the probe is still out");
        assert_eq!(breaker.answered(probe), Some(Change::Closed));
    }
}
