//! How fast a destination may be told: so many in a second, a minute, an hour, or as many as its answers say are left.
//!
//! The generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): one number, the time at which the next one would be
//! due if all came evenly. What comes up to a tenth of a second early passes, so that a timer's grain costs nothing. What an
//! answer leaves is spread evenly over the time that it is for. Pure: time is handed in, as what really went by.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Millis;

/// How far ahead of its even time one may come.
const EARLY: Duration = Duration::from_millis(100);

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rate {
    /// How many. From 1.
    pub count: u32,
    /// In what time.
    pub per: Millis,
}

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rate: write one like \"50/s\", \"256/m\" or \"1000/h\", from 1 to 1000000")]
pub struct InvalidRate(String);

impl Rate {
    /// Reads `50/s`, `256/m`, `1000/h`.
    ///
    /// # Errors
    /// [`InvalidRate`].
    pub fn parse(text: &str) -> Result<Self, InvalidRate> {
        let invalid = || InvalidRate(text.to_owned());
        let (count, unit) = text.split_once('/').ok_or_else(invalid)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(invalid()),
        };
        let count = count.trim().parse().ok().filter(|count| (1..=1_000_000).contains(count)).ok_or_else(invalid)?;
        Ok(Self { count, per: Millis::from_secs(seconds) })
    }

    /// How long after the first of them the one behind `many` comes, if all come evenly.
    #[must_use]
    pub fn behind(self, many: u64) -> Millis {
        Millis::new(many.saturating_mul(self.per.get()) / u64::from(self.count.max(1)))
    }

    /// Whether it is more in the same time.
    #[must_use]
    pub fn is_faster_than(self, other: Self) -> bool {
        self.gap() < other.gap()
    }

    fn gap(self) -> Duration {
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

/// What a destination's pace goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing, until its answers say otherwise.
    None,
    /// This rate, and what its answers say.
    Written(Rate),
    /// What its answers say.
    Told {
        /// For as long as they say nothing.
        guess: Rate,
        /// However much they leave, no faster than this.
        most: Rate,
    },
}

/// What an answer says is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many may still be sent.
    pub left: u32,
    /// In what time, from now: then it begins anew.
    pub resets_in: Millis,
}

/// Answers that speak of a time further away than this are not believed: it is a mistake, or a clock that is wrong.
const QUOTA_LONGEST: Millis = Millis::from_secs(3600);

/// Keeps to a limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When the next one is due, if all come evenly; by the process clock.
    due: Duration,
    /// The same by what is guessed as long as nothing is told.
    guessed: Duration,
    /// What the last answer said.
    told: Option<Told>,
}

/// A quota in use.
#[derive(Clone, Copy, Debug)]
struct Told {
    left: u32,
    /// When the next one may go.
    next: Duration,
    /// What lies between two.
    gap: Duration,
    /// When it ends.
    until: Duration,
}

impl Pace {
    /// How long the next one is to wait.
    #[must_use]
    pub fn wait(&self, limit: Limit, now: Duration) -> Duration {
        let told = self.told(now);
        let due = match limit {
            Limit::None => Duration::ZERO,
            Limit::Told { .. } if told.is_none() => self.guessed,
            Limit::Written(_) | Limit::Told { .. } => self.due,
        };
        let by_rate = due.saturating_sub(now).saturating_sub(EARLY);
        let by_quota = told.map_or(Duration::ZERO, |told| {
            if told.left == 0 { told.until.saturating_sub(now) } else { told.next.saturating_sub(now) }
        });
        by_rate.max(by_quota)
    }

    /// One goes, which has waited for as long as [`Pace::wait`] says.
    pub fn take(&mut self, limit: Limit, now: Duration) {
        self.told = self.told(now);
        let after = |due: Duration, rate: Rate| due.max(now).saturating_add(rate.gap());
        match limit {
            Limit::None => {}
            Limit::Told { guess, .. } if self.told.is_none() => self.guessed = after(self.guessed, guess),
            Limit::Written(rate) | Limit::Told { most: rate, .. } => self.due = after(self.due, rate),
        }
        if let Some(told) = &mut self.told {
            told.left = told.left.saturating_sub(1);
            told.next = now.saturating_add(told.gap);
        }
    }

    /// Forgets how far apart the last ones were to be: the limit is another one. What was said is left stands.
    pub const fn begin_again(&mut self) {
        (self.due, self.guessed) = (Duration::ZERO, Duration::ZERO);
    }

    /// Forgets the quota that the last answer told. Without this, a receiver that takes more by now would wait for the end of
    /// the old quota, up to an hour.
    pub const fn forget_quota(&mut self) {
        self.told = None;
    }

    /// What was said last, as long as it holds.
    fn told(&self, now: Duration) -> Option<Told> {
        self.told.filter(|told| now < told.until)
    }

    /// Goes by what an answer said at `now`.
    pub fn learn(&mut self, quota: Quota, now: Duration) {
        if quota.resets_in.get() == 0 || quota.resets_in > QUOTA_LONGEST {
            return;
        }
        let time = quota.resets_in.to_duration();
        let gap = time / quota.left.max(1).saturating_add(1);
        // When the next one may go was said as the last one passed; a wider quota lets it go sooner, never later.
        let next = self.told.map_or(now, |told| told.next).min(now.saturating_add(gap)).max(now);
        self.told = Some(Told { left: quota.left, next, gap, until: now.saturating_add(time) });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Pace {
        /// Lets one pass at `now`, or says how long it must wait.
        fn pass(&mut self, limit: Limit, now: Duration) -> Result<(), Duration> {
            let wait = self.wait(limit, now);
            if wait.is_zero() {
                self.take(limit, now);
                return Ok(());
            }
            Err(wait)
        }
    }

    #[test]
    fn rates_are_read_and_shown() {
        for text in ["50/s", "256/m", "1000/h", "1/s", "1000000/s"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Rate::parse(" 5 / m ").unwrap().to_string(), "5/m");
        for bad in ["", "50", "0/s", "-1/s", "1.5/s", "50/d", "1000001/s", "/s", "5/s/s"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_comes_evenly_is_that_far_behind_the_first() {
        let behind = |rate: &str, many| Rate::parse(rate).unwrap().behind(many).get();
        assert_eq!((behind("10/s", 0), behind("10/s", 1), behind("10/s", 25)), (0, 100, 2500));
        assert_eq!(behind("3/s", 10), 3333, "parts of a millisecond don't add up");
    }

    #[test]
    fn what_would_come_too_soon_is_told_how_long_to_wait() {
        let (mut pace, limit) = (Pace::default(), Limit::Written(Rate::parse("1/s").unwrap()));
        let at = Duration::from_secs(100);
        assert_eq!(pace.pass(limit, at), Ok(()));
        assert_eq!(pace.pass(limit, at), Err(Duration::from_millis(900)), "a tenth of a second early is on time");
        assert_eq!(pace.pass(limit, at + Duration::from_millis(900)), Ok(()));
        let later = at + Duration::from_mins(1);
        assert_eq!(pace.pass(limit, later), Ok(()), "a pause is not made up for");
        assert_eq!(pace.pass(limit, later), Err(Duration::from_millis(900)));
        assert_eq!(pace.pass(Limit::None, later), Ok(()));
    }

    fn guess() -> Limit {
        Limit::Told { guess: Rate::parse("12/m").unwrap(), most: Rate::parse("256/m").unwrap() }
    }

    fn quota(left: u32, seconds: u64) -> Quota {
        Quota { left, resets_in: Millis::from_secs(seconds) }
    }

    #[test]
    fn what_an_answer_leaves_is_spread_over_its_time_and_takes_the_place_of_a_guess() {
        let (mut pace, guess) = (Pace::default(), guess());
        let at = Duration::from_secs(100);
        assert_eq!(pace.pass(guess, at), Ok(()));
        assert_eq!(pace.pass(guess, at), Err(Duration::from_millis(4900)));
        pace.learn(quota(255, 60), at);
        assert_eq!(pace.pass(guess, at), Ok(()), "256 in a minute, it says");
        let gap = Duration::from_mins(1) / 256;
        assert_eq!(pace.pass(guess, at), Err(gap));
        assert_eq!(pace.pass(guess, at + gap), Ok(()));
        pace.begin_again();
        let written = Limit::Written(Rate::parse("12/m").unwrap());
        assert_eq!(pace.pass(written, at + gap * 2), Ok(()));
        assert!(pace.pass(written, at + gap * 3).is_err(), "what somebody wrote stands");
    }

    #[test]
    fn an_answer_that_leaves_more_than_anybody_should_send_does_not_hurry_us() {
        let (mut pace, guess) = (Pace::default(), guess());
        let at = Duration::from_secs(100);
        pace.learn(quota(1_000_000, 3600), at);
        let passed = (0..60_000).filter(|ms| pace.pass(guess, at + Duration::from_millis(*ms)).is_ok()).count();
        assert!((250..=258).contains(&passed), "{passed} in a minute");
    }

    #[test]
    fn where_nothing_is_left_its_time_is_waited_for_and_then_it_begins_anew() {
        let (mut pace, guess) = (Pace::default(), guess());
        let at = Duration::from_secs(100);
        pace.learn(quota(0, 50), at);
        assert_eq!(pace.pass(guess, at), Err(Duration::from_secs(50)));
        assert_eq!(pace.pass(Limit::None, at + Duration::from_secs(49)), Err(Duration::from_secs(1)));
        assert_eq!(pace.pass(guess, at + Duration::from_secs(50)), Ok(()));
        pace.learn(quota(2, 60), at + Duration::from_secs(50));
        for passed in [50, 70, 90] {
            let now = at + Duration::from_secs(passed);
            assert_eq!(pace.pass(guess, now).is_ok(), passed < 90, "two were left, at {passed} s");
        }
    }

    #[test]
    fn an_answer_that_speaks_of_no_time_or_of_tomorrow_changes_nothing() {
        let mut pace = Pace::default();
        for seconds in [0, 3601, u64::MAX / 1000] {
            pace.learn(quota(0, seconds), Duration::from_secs(1));
            assert_eq!(pace.pass(Limit::None, Duration::from_secs(1)), Ok(()), "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_than_its_rate_allows(count in 1_u32..5000, gaps in proptest::collection::vec(0_u64..50, 1..400)) {
            let (mut pace, limit) = (Pace::default(), Limit::Written(Rate { count, per: Millis::from_secs(1) }));
            let mut now = Duration::from_secs(1);
            let mut passed = 0_u32;
            for gap in &gaps {
                now += Duration::from_millis(*gap);
                while pace.pass(limit, now).is_ok() {
                    passed += 1;
                    prop_assert!(passed < 10_000_000);
                }
            }
            let span = now.saturating_sub(Duration::from_secs(1)) + EARLY;
            let most = f64::from(count) * span.as_secs_f64() + 2.0;
            prop_assert!(f64::from(passed) <= most, "{passed} > {most}");
        }
    }
}
