//! Decides the time of the next attempt after a failure, or that there is none.
//!
//! The decision is pure: the worker passes the time and the jitter, and the store writes the
//! decision.

use std::time::Duration;

use crate::domain::time::{Millis, Timestamp};

/// Maximum of the random part of a delay. Without this limit, half of six hours would be random,
/// and 24 attempts could end after two days. An outage over a weekend would then leave dead
/// letters.
const JITTER_MAX: Millis = Millis::from_secs(30 * 60);

/// Maximum effect of `Retry-After`. A longer value counts as this one. Without this, the due time
/// would look like one that a wrong clock wrote.
const RETRY_AFTER_MAX: Millis = Millis::from_secs(24 * 60 * 60);

/// Number of attempts of a failing job, and the delays between them.
///
/// With the default values (5 s, 6 h, 24), the last attempt comes 64 to 72 hours after the first:
/// longer than a weekend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum delay of the first retry.
    pub initial_delay: Millis,
    /// Maximum delay of any retry, unless the receiver asks for more.
    pub max_delay: Millis,
    /// Maximum number of attempts, including the first. From 1.
    pub max_attempts: u32,
}

/// Decision after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Another attempt follows.
    RetryAt {
        /// Due time of the next attempt, in UTC. Always after now.
        at: Timestamp,
    },
    /// No attempt follows: the job becomes a dead letter.
    GiveUp,
}

impl RetryDecision {
    /// Delays the decision until `until`, because a status may report the result until then. This
    /// also applies to the last attempt.
    #[must_use]
    pub fn not_before(self, until: Timestamp) -> Self {
        match self {
            Self::RetryAt { at } => Self::RetryAt { at: at.max(until) },
            Self::GiveUp => Self::RetryAt { at: until },
        }
    }
}

impl RetryPolicy {
    /// Decides the next step after `failed_attempts` failed attempts, including this one.
    ///
    /// The delay doubles with each failure and has "equal jitter" (Marc Brooker, *Exponential
    /// Backoff And Jitter*, AWS Architecture Blog, 2015): half of the delay is fixed, half is
    /// random. Here, the random part is at most half an hour:
    ///
    /// ```text
    /// step  = min(max_delay, initial_delay · 2^(failed_attempts - 1))
    /// delay = step - jitter · min(step / 2, 30 min)
    /// ```
    ///
    /// `jitter` is from 0 to 1. `retry_after` is the delay that the receiver asks for. The retry
    /// never comes earlier, but more than a day counts as a day.
    #[must_use]
    pub fn decide(
        &self,
        failed_attempts: u32,
        jitter: f64,
        retry_after: Option<Millis>,
        now: Timestamp,
    ) -> RetryDecision {
        if failed_attempts >= self.max_attempts {
            return RetryDecision::GiveUp;
        }
        let requested_delay = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let delay = self
            .backoff_delay(failed_attempts, jitter)
            .max(requested_delay);
        let at = now.plus(delay.max(Millis::new(1)));
        RetryDecision::RetryAt { at }
    }

    /// Returns the longest delay that [`RetryPolicy::decide`] can give. A later due time comes from
    /// a clock that ran ahead and was set back since. Such a job must not wait for that time.
    #[must_use]
    pub fn longest_delay(&self) -> Millis {
        self.max_delay.max(RETRY_AFTER_MAX)
    }

    fn backoff_delay(&self, failed_attempts: u32, jitter: f64) -> Millis {
        let factor = 2_u64.saturating_pow(failed_attempts.saturating_sub(1));
        let doubled = self.initial_delay.get().saturating_mul(factor);
        let step = doubled.min(self.max_delay.get());
        let random_part = (step / 2).min(JITTER_MAX.get());
        Millis::new(step - fraction_of(random_part, jitter))
    }
}

/// Returns `fraction` of `ms`, at most all of it.
fn fraction_of(ms: u64, fraction: f64) -> u64 {
    let part = Duration::try_from_secs_f64(Duration::from_millis(ms).as_secs_f64() * fraction)
        .unwrap_or_default();
    u64::try_from(part.as_millis()).unwrap_or(ms).min(ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const HOUR: u64 = 60 * 60 * 1000;

    const DEFAULT_POLICY: RetryPolicy = RetryPolicy {
        initial_delay: Millis::from_secs(5),
        max_delay: Millis::from_secs(6 * 60 * 60),
        max_attempts: 24,
    };

    fn delay_after(failed: u32, chance: f64, retry_after: Option<Millis>) -> u64 {
        match DEFAULT_POLICY.decide(failed, chance, retry_after, NOW) {
            RetryDecision::RetryAt { at } => at.since(NOW).get(),
            RetryDecision::GiveUp => panic!("given up after {failed}"),
        }
    }

    #[test]
    fn delay_doubles_from_five_seconds_to_six_hours() {
        let delays = [1, 2, 3, 4, 13, 14, 23].map(|failed| delay_after(failed, 0.0, None));
        let (before, longest) = (20_480_000, 6 * HOUR);
        assert_eq!(
            delays,
            [5_000, 10_000, 20_000, 40_000, before, longest, longest]
        );
    }

    #[test]
    fn jitter_is_half_of_delay_at_most_half_an_hour() {
        assert_eq!(delay_after(1, 1.0, None), 2_500);
        assert_eq!(delay_after(1, 0.5, None), 3_750);
        assert_eq!(delay_after(20, 1.0, None), 6 * HOUR - HOUR / 2);
    }

    #[test]
    fn default_attempts_outlast_a_weekend() {
        let total_hours = |chance| {
            let delays = (1..24).map(|failed| delay_after(failed, chance, None));
            delays.sum::<u64>() / HOUR
        };
        assert_eq!(total_hours(0.0), 71, "three days, all but an hour");
        // Friday 18:00 to Monday 08:00.
        let shortest = total_hours(1.0);
        assert!(shortest > 62, "{shortest} hours");
    }

    #[test]
    fn policy_gives_up_after_max_attempts() {
        let last = DEFAULT_POLICY.decide(23, 0.0, None, NOW);
        assert!(matches!(last, RetryDecision::RetryAt { .. }));
        // `Retry-After` gives no more attempts.
        for retry_after in [None, Some(Millis::new(1))] {
            let decision = DEFAULT_POLICY.decide(24, 0.0, retry_after, NOW);
            assert_eq!(decision, RetryDecision::GiveUp);
        }
        let policy = RetryPolicy {
            max_attempts: 1,
            ..DEFAULT_POLICY
        };
        assert_eq!(policy.decide(1, 0.0, None, NOW), RetryDecision::GiveUp);
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_day() {
        for (failed, seconds, expected_ms) in [
            (1, 60, 60_000),
            // A shorter delay of the receiver does not shorten ours.
            (10, 60, 2_560_000),
            (1, u64::MAX, 24 * HOUR),
        ] {
            let delay = delay_after(failed, 0.0, Some(Millis::from_secs(seconds)));
            assert_eq!(delay, expected_ms, "{failed} {seconds}");
        }
    }

    #[test]
    fn zero_delay_policy_advances_by_a_millisecond() {
        let policy = RetryPolicy {
            initial_delay: Millis::ZERO,
            max_delay: Millis::ZERO,
            max_attempts: 2,
        };
        let at = NOW.plus(Millis::new(1));
        let decision = policy.decide(1, 0.0, None, NOW);
        assert_eq!(decision, RetryDecision::RetryAt { at });
    }

    #[test]
    fn not_before_defers_even_last_attempt() {
        let until = NOW.plus(Millis::from_secs(300));
        let later = NOW.plus(Millis::from_secs(600));
        let retry = |at| RetryDecision::RetryAt { at };
        for (decision, expected) in [
            (retry(NOW), retry(until)),
            (retry(later), retry(later)),
            (RetryDecision::GiveUp, retry(until)),
        ] {
            assert_eq!(decision.not_before(until), expected);
        }
    }

    proptest! {
        #[test]
        fn retry_time_is_within_longest_delay(
            first in 0_u64..100_000_000,
            ceiling in 0_u64..1_000_000_000,
            attempts in 1_u32..200,
            failed in 1_u32..200,
            chance in 0.0_f64..1.0,
            retry_after in proptest::option::of(0_u64..10_000_000_000),
        ) {
            let policy = RetryPolicy {
                initial_delay: Millis::new(first),
                max_delay: Millis::new(ceiling),
                max_attempts: attempts,
            };
            match policy.decide(failed, chance, retry_after.map(Millis::new), NOW) {
                RetryDecision::GiveUp => prop_assert!(failed >= attempts),
                RetryDecision::RetryAt { at } => {
                    prop_assert!(failed < attempts);
                    prop_assert!(at > NOW);
                    prop_assert!(at <= NOW.plus(policy.longest_delay()));
                }
            }
        }
    }
}
