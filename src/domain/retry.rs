//! When a job that failed is tried again, and when it is given up.
//!
//! Pure: the worker hands in the time and the chance, the store writes the verdict down.

use std::time::Duration;

use super::time::{Millis, Timestamp};

/// The random part of a delay is never longer: with the whole half of six hours left to chance, 24 attempts would be
/// over after two days, and an outage over a weekend would leave dead letters.
const JITTER_MAX: Millis = Millis::from_secs(30 * 60);

/// A `Retry-After` beyond this is taken as this: nobody means a year, and such a due time could not be told from one
/// that a wrong clock wrote.
const RETRY_AFTER_MAX: Millis = Millis::from_secs(24 * 60 * 60);

/// How often, and how far apart, a failing job is tried.
///
/// As shipped (5 s, 6 h, 24) the last attempt comes 64 to 72 hours after the first: longer than a weekend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest that the first retry waits.
    pub first: Millis,
    /// The longest that any retry waits, unless the other side asks for more.
    pub ceiling: Millis,
    /// Attempts in all, the first one included. From 1.
    pub attempts: u32,
}

/// What follows from a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt.
    Again {
        /// When it is due. Always after now.
        at: Timestamp,
    },
    /// None: the job becomes a dead letter.
    Dead,
}

impl Verdict {
    /// The same, where word of the attempt may come until `until`: also the last one waits for that.
    #[must_use]
    pub fn not_before(self, until: Timestamp) -> Self {
        match self {
            Self::Again { at } => Self::Again { at: at.max(until) },
            Self::Dead => Self::Again { at: until },
        }
    }
}

impl RetryPolicy {
    /// What follows when `failed` attempts, this one included, have failed.
    ///
    /// The delay doubles with each failure and has "equal jitter" (Marc Brooker, *Exponential Backoff And Jitter*, AWS
    /// Architecture Blog, 2015): half of it is fixed, half of it random. Here the random part ends at half an hour:
    ///
    /// ```text
    /// step  = min(ceiling, first · 2^(failed - 1))
    /// delay = step - chance · min(step / 2, 30 min)
    /// ```
    ///
    /// `chance` is from 0 to 1. `retry_after` is what the other side asked for: the retry never comes before it, but a
    /// wish for more than a day is taken as a day.
    #[must_use]
    pub fn after(&self, failed: u32, chance: f64, retry_after: Option<Millis>, now: Timestamp) -> Verdict {
        if failed >= self.attempts {
            return Verdict::Dead;
        }
        let asked = retry_after.unwrap_or(Millis::ZERO).min(RETRY_AFTER_MAX);
        let delay = self.delay(failed, chance).max(asked).max(Millis::new(1));
        Verdict::Again { at: now.plus(delay) }
    }

    /// The longest delay that [`RetryPolicy::after`] can give. A due time that is further away was written by a clock
    /// that has been set back since: waiting for it would be waiting for nothing.
    #[must_use]
    pub fn overdue_horizon(&self) -> Millis {
        self.ceiling.max(RETRY_AFTER_MAX)
    }

    fn delay(&self, failed: u32, chance: f64) -> Millis {
        let doublings = failed.saturating_sub(1);
        let step = self.first.get().saturating_mul(2_u64.saturating_pow(doublings)).min(self.ceiling.get());
        let random = (step / 2).min(JITTER_MAX.get());
        Millis::new(step - share(random, chance))
    }
}

/// `chance` of `ms`, at most all of it.
fn share(ms: u64, chance: f64) -> u64 {
    let part = Duration::try_from_secs_f64(Duration::from_millis(ms).as_secs_f64() * chance).unwrap_or_default();
    u64::try_from(part.as_millis()).unwrap_or(ms).min(ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const HOUR: u64 = 60 * 60 * 1000;

    const SHIPPED: RetryPolicy =
        RetryPolicy { first: Millis::from_secs(5), ceiling: Millis::from_secs(6 * 60 * 60), attempts: 24 };

    fn delay(failed: u32, chance: f64, retry_after: Option<Millis>) -> u64 {
        match SHIPPED.after(failed, chance, retry_after, NOW) {
            Verdict::Again { at } => at.since(NOW).get(),
            Verdict::Dead => panic!("given up after {failed}"),
        }
    }

    #[test]
    fn the_first_retry_comes_within_five_seconds_and_then_the_delay_doubles_up_to_six_hours() {
        let longest: Vec<u64> = (1..=4).map(|failed| delay(failed, 0.0, None)).collect();
        assert_eq!(longest, [5_000, 10_000, 20_000, 40_000]);
        assert_eq!(delay(13, 0.0, None), 20_480_000);
        assert_eq!(delay(14, 0.0, None), 6 * HOUR);
        assert_eq!(delay(23, 0.0, None), 6 * HOUR);
    }

    #[test]
    fn half_of_a_delay_is_chance_but_no_more_than_half_an_hour() {
        assert_eq!(delay(1, 1.0, None), 2_500);
        assert_eq!(delay(1, 0.5, None), 3_750);
        assert_eq!(delay(20, 1.0, None), 6 * HOUR - HOUR / 2);
    }

    #[test]
    fn all_attempts_together_outlast_a_weekend() {
        let span = |chance| (1..24).map(|failed| delay(failed, chance, None)).sum::<u64>();
        assert_eq!(span(0.0) / HOUR, 71, "three days, all but an hour");
        // Friday 18:00 to Monday 08:00.
        assert!(span(1.0) > 62 * HOUR, "{} hours", span(1.0) / HOUR);
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        assert!(matches!(SHIPPED.after(23, 0.0, None, NOW), Verdict::Again { .. }));
        assert_eq!(SHIPPED.after(24, 0.0, None, NOW), Verdict::Dead);
        assert_eq!(
            SHIPPED.after(24, 0.0, Some(Millis::new(1)), NOW),
            Verdict::Dead,
            "Retry-After gives no more attempts"
        );
        assert_eq!(RetryPolicy { attempts: 1, ..SHIPPED }.after(1, 0.0, None, NOW), Verdict::Dead);
    }

    #[test]
    fn who_asks_for_a_later_retry_gets_it_and_a_mistyped_wish_ends_at_a_day() {
        assert_eq!(delay(1, 0.0, Some(Millis::from_secs(60))), 60_000);
        assert_eq!(delay(10, 0.0, Some(Millis::from_secs(60))), 2_560_000, "an earlier one does not hasten ours");
        assert_eq!(delay(1, 0.0, Some(Millis::from_secs(u64::MAX))), 24 * HOUR);
    }

    #[test]
    fn a_policy_of_no_delay_at_all_still_moves_on() {
        let policy = RetryPolicy { first: Millis::ZERO, ceiling: Millis::ZERO, attempts: 2 };
        assert_eq!(policy.after(1, 0.0, None, NOW), Verdict::Again { at: NOW.plus(Millis::new(1)) });
    }

    #[test]
    fn word_of_an_attempt_is_waited_for_also_after_the_last_and_hastens_nothing() {
        let (until, later) = (NOW.plus(Millis::from_secs(300)), NOW.plus(Millis::from_secs(600)));
        assert_eq!(Verdict::Again { at: NOW }.not_before(until), Verdict::Again { at: until });
        assert_eq!(Verdict::Again { at: later }.not_before(until), Verdict::Again { at: later });
        assert_eq!(Verdict::Dead.not_before(until), Verdict::Again { at: until });
    }

    proptest! {
        #[test]
        fn a_retry_lies_ahead_and_within_the_horizon(
            first in 0_u64..100_000_000, ceiling in 0_u64..1_000_000_000, attempts in 1_u32..200, failed in 1_u32..200,
            chance in 0.0_f64..1.0, retry_after in proptest::option::of(0_u64..10_000_000_000),
        ) {
            let policy = RetryPolicy { first: Millis::new(first), ceiling: Millis::new(ceiling), attempts };
            match policy.after(failed, chance, retry_after.map(Millis::new), NOW) {
                Verdict::Dead => prop_assert!(failed >= attempts),
                Verdict::Again { at } => {
                    prop_assert!(failed < attempts);
                    prop_assert!(at > NOW);
                    prop_assert!(at <= NOW.plus(policy.overdue_horizon()));
                }
            }
        }
    }
}
