//! Limits the rate of deliveries to a destination: a configured rate, or the quota that the
//! receiver's responses report.
//!
//! The algorithm is the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"). It stores
//! one number: the time at which the next delivery would be due if all deliveries were spread
//! evenly. A delivery may come up to a tenth of a second early, so that timer resolution costs no
//! throughput. A reported quota is spread evenly over its period. The functions are pure: the
//! caller passes elapsed time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Millis;

/// Maximum time by which a delivery may come before its even time.
const EARLY_TOLERANCE: Duration = Duration::from_millis(100);

/// Number of deliveries per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rate {
    /// Number of deliveries. From 1.
    pub count: u32,
    /// Length of the period.
    pub per: Millis,
}

/// Error for a text that is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid rate: write one like \"50/s\", \"256/m\" or \"1000/h\", from 1 to 1000000"
)]
pub struct InvalidRate(String);

impl Rate {
    /// Parses a rate such as `50/s`, `256/m` or `1000/h`.
    ///
    /// # Errors
    /// [`InvalidRate`] if the text is not a number from 1 to 1,000,000 with a known unit.
    pub fn parse(text: &str) -> Result<Self, InvalidRate> {
        let invalid = || InvalidRate(text.to_owned());
        let (count, unit) = text.split_once('/').ok_or_else(invalid)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(invalid()),
        };
        let count = count
            .trim()
            .parse()
            .ok()
            .filter(|count| (1..=1_000_000).contains(count))
            .ok_or_else(invalid)?;
        Ok(Self {
            count,
            per: Millis::from_secs(seconds),
        })
    }

    /// Returns the time between the first delivery and the delivery with this index, from 0, if all
    /// deliveries are spread evenly.
    #[must_use]
    pub fn offset_of(self, index: u64) -> Millis {
        Millis::new(index.saturating_mul(self.per.get()) / u64::from(self.count.max(1)))
    }

    /// Returns `true` if this rate allows more deliveries in the same time.
    #[must_use]
    pub fn is_faster_than(self, other: Self) -> bool {
        self.interval() < other.interval()
    }

    fn interval(self) -> Duration {
        self.per.to_duration() / self.count.max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.get() / 1000 {
            0 | 1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl TryFrom<String> for Rate {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<Self, InvalidRate> {
        Self::parse(&text)
    }
}

/// Source of a destination's rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// No limit, except the quota in responses.
    Unlimited,
    /// Configured rate, together with the quota in responses.
    Configured(Rate),
    /// Rate that adapts to the quota in responses.
    Adaptive {
        /// Rate without a quota.
        initial: Rate,
        /// Maximum rate, even if the quota allows more.
        max: Rate,
    },
}

/// Quota that a response reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteQuota {
    /// Number of deliveries that are still allowed.
    pub remaining: u32,
    /// Time from now until the quota resets.
    pub resets_in: Millis,
}

/// Maximum time to a quota's reset. A longer time is ignored as a mistake or a wrong clock.
const QUOTA_WINDOW_MAX: Millis = Millis::from_secs(3600);

/// Rate limiter of a destination.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimiter {
    /// Time at which the next delivery is due if all deliveries are spread evenly, by the process
    /// clock.
    due: Duration,
    /// The same time by the initial rate, used while there is no quota.
    initial_due: Duration,
    /// Quota from the last response.
    quota: Option<ActiveQuota>,
}

/// Quota that limits the deliveries until it expires.
#[derive(Clone, Copy, Debug)]
struct ActiveQuota {
    remaining: u32,
    /// Earliest time of the next delivery.
    next_at: Duration,
    /// Time between two deliveries.
    interval: Duration,
    /// End of the quota.
    expires_at: Duration,
}

impl RateLimiter {
    /// Returns the time that the next delivery must wait.
    #[must_use]
    pub fn wait_time(&self, limit: RateLimit, now: Duration) -> Duration {
        let quota = self.active_quota(now);
        let due = match limit {
            RateLimit::Unlimited => Duration::ZERO,
            RateLimit::Adaptive { .. } if quota.is_none() => self.initial_due,
            RateLimit::Configured(_) | RateLimit::Adaptive { .. } => self.due,
        };
        let by_rate = due.saturating_sub(now).saturating_sub(EARLY_TOLERANCE);
        let by_quota = quota.map_or(Duration::ZERO, |quota| {
            if quota.remaining == 0 {
                quota.expires_at.saturating_sub(now)
            } else {
                quota.next_at.saturating_sub(now)
            }
        });
        by_rate.max(by_quota)
    }

    /// Records a delivery that has waited as long as [`RateLimiter::wait_time`] requires.
    pub fn record_acquired(&mut self, limit: RateLimit, now: Duration) {
        self.quota = self.active_quota(now);
        let after = |due: Duration, rate: Rate| due.max(now).saturating_add(rate.interval());
        match limit {
            RateLimit::Unlimited => {}
            RateLimit::Adaptive { initial: guess, .. } if self.quota.is_none() => {
                self.initial_due = after(self.initial_due, guess);
            }
            RateLimit::Configured(rate) | RateLimit::Adaptive { max: rate, .. } => {
                self.due = after(self.due, rate);
            }
        }
        if let Some(quota) = &mut self.quota {
            quota.remaining = quota.remaining.saturating_sub(1);
            quota.next_at = now.saturating_add(quota.interval);
        }
    }

    /// Clears the due times after the limit changed. The quota remains.
    pub const fn reset(&mut self) {
        (self.due, self.initial_due) = (Duration::ZERO, Duration::ZERO);
    }

    /// Clears the quota of the last response. Without this, a receiver that allows more by now
    /// would get nothing until the old quota ends, up to an hour.
    pub const fn clear_quota(&mut self) {
        self.quota = None;
    }

    /// Returns the quota of the last response, as long as the quota holds.
    fn active_quota(&self, now: Duration) -> Option<ActiveQuota> {
        self.quota.filter(|quota| now < quota.expires_at)
    }

    /// Applies the quota that a response reported at `now`.
    pub fn apply_quota(&mut self, quota: RemoteQuota, now: Duration) {
        if quota.resets_in.get() == 0 || quota.resets_in > QUOTA_WINDOW_MAX {
            return;
        }
        let window = quota.resets_in.to_duration();
        let gap = window / quota.remaining.max(1).saturating_add(1);
        // The previous delivery fixed the time of the next one. A wider quota makes that time
        // earlier, never later.
        let next = self
            .quota
            .map_or(now, |quota| quota.next_at)
            .min(now.saturating_add(gap))
            .max(now);
        self.quota = Some(ActiveQuota {
            remaining: quota.remaining,
            next_at: next,
            interval: gap,
            expires_at: now.saturating_add(window),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl RateLimiter {
        /// Records a delivery at `now`, or returns the time that the delivery must wait.
        fn try_acquire(&mut self, limit: RateLimit, now: Duration) -> Result<(), Duration> {
            let wait = self.wait_time(limit, now);
            if wait.is_zero() {
                self.record_acquired(limit, now);
                return Ok(());
            }
            Err(wait)
        }
    }

    #[test]
    fn rate_parses_and_displays() {
        for text in ["50/s", "256/m", "1000/h", "1/s", "1000000/s"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Rate::parse(" 5 / m ").unwrap().to_string(), "5/m");
        for bad in [
            "",
            "50",
            "0/s",
            "-1/s",
            "1.5/s",
            "50/d",
            "1000001/s",
            "/s",
            "5/s/s",
        ] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn offset_of_nth_event() {
        let offset = |rate: &str, many| Rate::parse(rate).unwrap().offset_of(many).get();
        assert_eq!(
            (offset("10/s", 0), offset("10/s", 1), offset("10/s", 25)),
            (0, 100, 2500)
        );
        assert_eq!(
            offset("3/s", 10),
            3333,
            "parts of a millisecond don't add up"
        );
    }

    #[test]
    fn early_call_gets_wait_time() {
        let (mut limiter, limit) = (
            RateLimiter::default(),
            RateLimit::Configured(Rate::parse("1/s").unwrap()),
        );
        let at = Duration::from_secs(100);
        assert_eq!(limiter.try_acquire(limit, at), Ok(()));
        assert_eq!(
            limiter.try_acquire(limit, at),
            Err(Duration::from_millis(900)),
            "a tenth of a second early is on time"
        );
        assert_eq!(
            limiter.try_acquire(limit, at + Duration::from_millis(900)),
            Ok(())
        );
        let later = at + Duration::from_mins(1);
        assert_eq!(
            limiter.try_acquire(limit, later),
            Ok(()),
            "a pause is not made up for"
        );
        assert_eq!(
            limiter.try_acquire(limit, later),
            Err(Duration::from_millis(900))
        );
        assert_eq!(limiter.try_acquire(RateLimit::Unlimited, later), Ok(()));
    }

    fn adaptive_limit() -> RateLimit {
        RateLimit::Adaptive {
            initial: Rate::parse("12/m").unwrap(),
            max: Rate::parse("256/m").unwrap(),
        }
    }

    fn quota(left: u32, seconds: u64) -> RemoteQuota {
        RemoteQuota {
            remaining: left,
            resets_in: Millis::from_secs(seconds),
        }
    }

    #[test]
    fn remote_quota_replaces_initial_rate() {
        let (mut limiter, limit) = (RateLimiter::default(), adaptive_limit());
        let at = Duration::from_secs(100);
        assert_eq!(limiter.try_acquire(limit, at), Ok(()));
        assert_eq!(
            limiter.try_acquire(limit, at),
            Err(Duration::from_millis(4900))
        );
        limiter.apply_quota(quota(255, 60), at);
        assert_eq!(
            limiter.try_acquire(limit, at),
            Ok(()),
            "256 in a minute, it says"
        );
        let gap = Duration::from_mins(1) / 256;
        assert_eq!(limiter.try_acquire(limit, at), Err(gap));
        assert_eq!(limiter.try_acquire(limit, at + gap), Ok(()));
        limiter.reset();
        let configured = RateLimit::Configured(Rate::parse("12/m").unwrap());
        assert_eq!(limiter.try_acquire(configured, at + gap * 2), Ok(()));
        assert!(
            limiter.try_acquire(configured, at + gap * 3).is_err(),
            "what somebody wrote stands"
        );
    }

    #[test]
    fn remote_quota_is_capped_at_max_rate() {
        let (mut limiter, limit) = (RateLimiter::default(), adaptive_limit());
        let at = Duration::from_secs(100);
        limiter.apply_quota(quota(1_000_000, 3600), at);
        let passed = (0..60_000)
            .filter(|ms| {
                limiter
                    .try_acquire(limit, at + Duration::from_millis(*ms))
                    .is_ok()
            })
            .count();
        assert!((250..=258).contains(&passed), "{passed} in a minute");
    }

    #[test]
    fn exhausted_quota_waits_for_reset() {
        let (mut limiter, limit) = (RateLimiter::default(), adaptive_limit());
        let at = Duration::from_secs(100);
        limiter.apply_quota(quota(0, 50), at);
        assert_eq!(limiter.try_acquire(limit, at), Err(Duration::from_secs(50)));
        assert_eq!(
            limiter.try_acquire(RateLimit::Unlimited, at + Duration::from_secs(49)),
            Err(Duration::from_secs(1))
        );
        assert_eq!(
            limiter.try_acquire(limit, at + Duration::from_secs(50)),
            Ok(())
        );
        limiter.apply_quota(quota(2, 60), at + Duration::from_secs(50));
        for passed in [50, 70, 90] {
            let now = at + Duration::from_secs(passed);
            assert_eq!(
                limiter.try_acquire(limit, now).is_ok(),
                passed < 90,
                "two were left, at {passed} s"
            );
        }
    }

    #[test]
    fn implausible_quota_window_is_ignored() {
        let mut limiter = RateLimiter::default();
        for seconds in [0, 3601, u64::MAX / 1000] {
            limiter.apply_quota(quota(0, seconds), Duration::from_secs(1));
            assert_eq!(
                limiter.try_acquire(RateLimit::Unlimited, Duration::from_secs(1)),
                Ok(()),
                "{seconds}"
            );
        }
    }

    proptest! {
        #[test]
        fn rate_is_never_exceeded(count in 1_u32..5000, gaps in proptest::collection::vec(0_u64..50, 1..400)) {
            let (mut limiter, limit) = (RateLimiter::default(), RateLimit::Configured(Rate { count, per: Millis::from_secs(1) }));
            let mut now = Duration::from_secs(1);
            let mut passed = 0_u32;
            for gap in &gaps {
                now += Duration::from_millis(*gap);
                while limiter.try_acquire(limit, now).is_ok() {
                    passed += 1;
                    prop_assert!(passed < 10_000_000);
                }
            }
            let span = now.saturating_sub(Duration::from_secs(1)) + EARLY_TOLERANCE;
            let max = f64::from(count) * span.as_secs_f64() + 2.0;
            prop_assert!(f64::from(passed) <= max, "{passed} > {max}");
        }
    }
}
