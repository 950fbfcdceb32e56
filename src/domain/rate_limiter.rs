//! Limits the rate of deliveries to a destination: a configured rate, or the quota that the
//! receiver's responses report.
//!
//! The algorithm is the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"). It stores
//! one number: the time at which the next delivery would be due if all deliveries were spread
//! evenly. A delivery may come up to a tenth of a second early, so that timer resolution costs no
//! throughput. A reported quota is spread evenly over its period. The functions are pure: the
//! caller passes elapsed time.

use std::time::Duration;

pub use super::rate::{InvalidRate, Rate};
use super::time::Millis;

/// Maximum time by which a delivery may come before its even time.
const EARLY_TOLERANCE: Duration = Duration::from_millis(100);

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
        let allowed_at = quota.map_or(Duration::ZERO, |quota| match quota.remaining {
            0 => quota.expires_at,
            _ => quota.next_at,
        });
        by_rate.max(allowed_at.saturating_sub(now))
    }

    /// Records a delivery that has waited as long as [`RateLimiter::wait_time`] requires.
    pub fn record_acquired(&mut self, limit: RateLimit, now: Duration) {
        self.quota = self.active_quota(now);
        let after = |due: Duration, rate: Rate| due.max(now).saturating_add(rate.interval());
        match limit {
            RateLimit::Unlimited => {}
            RateLimit::Adaptive { initial, .. } if self.quota.is_none() => {
                self.initial_due = after(self.initial_due, initial);
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

    /// Time of the first delivery.
    const START: Duration = Duration::from_secs(100);

    /// Returns the result of a delivery `ms` milliseconds after the start: the time to wait, in ms.
    fn call(limiter: &mut RateLimiter, limit: RateLimit, ms: u64) -> Result<(), u128> {
        let result = limiter.try_acquire(limit, START + Duration::from_millis(ms));
        result.map_err(|wait| wait.as_millis())
    }

    fn configured(rate: &str) -> RateLimit {
        RateLimit::Configured(Rate::parse(rate).unwrap())
    }

    fn adaptive_limit() -> RateLimit {
        RateLimit::Adaptive {
            initial: Rate::parse("12/m").unwrap(),
            max: Rate::parse("256/m").unwrap(),
        }
    }

    fn quota(remaining: u32, seconds: u64) -> RemoteQuota {
        let resets_in = Millis::from_secs(seconds);
        RemoteQuota {
            remaining,
            resets_in,
        }
    }

    #[test]
    fn early_call_gets_wait_time() {
        let mut limiter = RateLimiter::default();
        let limit = configured("1/s");
        for (ms, expected, why) in [
            (0, Ok(()), ""),
            (0, Err(900), "a tenth of a second early is on time"),
            (900, Ok(()), ""),
            (60_000, Ok(()), ""),
            (60_000, Err(900), "a pause is not made up for"),
        ] {
            assert_eq!(call(&mut limiter, limit, ms), expected, "{ms} {why}");
        }
        let unlimited = call(&mut limiter, RateLimit::Unlimited, 60_000);
        assert_eq!(unlimited, Ok(()));
    }

    #[test]
    fn remote_quota_replaces_initial_rate() {
        let mut limiter = RateLimiter::default();
        let limit = adaptive_limit();
        assert_eq!(call(&mut limiter, limit, 0), Ok(()));
        assert_eq!(call(&mut limiter, limit, 0), Err(4900));
        // 256 deliveries in a minute, so one each 234.375 ms.
        limiter.apply_quota(quota(255, 60), START);
        assert_eq!(call(&mut limiter, limit, 0), Ok(()));
        assert_eq!(call(&mut limiter, limit, 0), Err(234));
        assert_eq!(call(&mut limiter, limit, 235), Ok(()));
        limiter.reset();
        // A configured rate is not replaced.
        let limit = configured("12/m");
        assert_eq!(call(&mut limiter, limit, 500), Ok(()));
        assert!(call(&mut limiter, limit, 800).is_err());
    }

    #[test]
    fn remote_quota_is_capped_at_max_rate() {
        let mut limiter = RateLimiter::default();
        limiter.apply_quota(quota(1_000_000, 3600), START);
        let is_allowed = |ms: &u64| call(&mut limiter, adaptive_limit(), *ms).is_ok();
        let passed = (0..60_000).filter(is_allowed).count();
        assert!((250..=258).contains(&passed), "{passed} in a minute");
    }

    #[test]
    fn exhausted_quota_waits_for_reset() {
        let mut limiter = RateLimiter::default();
        let limit = adaptive_limit();
        limiter.apply_quota(quota(0, 50), START);
        assert_eq!(call(&mut limiter, limit, 0), Err(50_000));
        let unlimited = call(&mut limiter, RateLimit::Unlimited, 49_000);
        assert_eq!(unlimited, Err(1000));
        assert_eq!(call(&mut limiter, limit, 50_000), Ok(()));
        limiter.apply_quota(quota(2, 60), START + Duration::from_secs(50));
        for seconds in [50, 70, 90] {
            let is_allowed = call(&mut limiter, limit, seconds * 1000).is_ok();
            assert_eq!(is_allowed, seconds < 90, "two were left, at {seconds} s");
        }
    }

    #[test]
    fn implausible_quota_window_is_ignored() {
        let mut limiter = RateLimiter::default();
        for seconds in [0, 3601, u64::MAX / 1000] {
            limiter.apply_quota(quota(0, seconds), START);
            let result = call(&mut limiter, RateLimit::Unlimited, 0);
            assert_eq!(result, Ok(()), "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn rate_is_never_exceeded(
            count in 1_u32..5000,
            gaps in proptest::collection::vec(0_u64..50, 1..400),
        ) {
            let mut limiter = RateLimiter::default();
            let limit = RateLimit::Configured(Rate { count, per: Millis::from_secs(1) });
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
