//! How fast a destination may be told: so many in a second, a minute, an hour.
//!
//! The generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): one number, the time at which the next one would be
//! due if all came evenly. What comes up to a tenth of a second early passes, so that a timer's grain costs nothing. Pure:
//! time is handed in, as what really went by.

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

/// Keeps to a rate.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: Option<Rate>,
    /// When the next one is due, if all come evenly; by the process clock.
    due: Duration,
}

impl Pace {
    /// One that has let nothing pass yet. `None`: everything passes.
    #[must_use]
    pub const fn new(rate: Option<Rate>) -> Self {
        Self { rate, due: Duration::ZERO }
    }

    /// Lets one pass at `now`, or says how long it is to wait.
    ///
    /// # Errors
    /// The time to wait.
    pub fn pass(&mut self, now: Duration) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        let wait = self.due.saturating_sub(now).saturating_sub(EARLY);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.due = self.due.max(now).saturating_add(rate.gap());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        let mut pace = Pace::new(Some(Rate::parse("1/s").unwrap()));
        let at = Duration::from_secs(100);
        assert_eq!(pace.pass(at), Ok(()));
        assert_eq!(pace.pass(at), Err(Duration::from_millis(900)), "a tenth of a second early is on time");
        assert_eq!(pace.pass(at + Duration::from_millis(900)), Ok(()));
        let later = at + Duration::from_mins(1);
        assert_eq!(pace.pass(later), Ok(()), "a pause is not made up for");
        assert_eq!(pace.pass(later), Err(Duration::from_millis(900)));
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_than_its_rate_allows(count in 1_u32..5000, gaps in proptest::collection::vec(0_u64..50, 1..400)) {
            let mut pace = Pace::new(Some(Rate { count, per: Millis::from_secs(1) }));
            let mut now = Duration::from_secs(1);
            let mut passed = 0_u32;
            for gap in &gaps {
                now += Duration::from_millis(*gap);
                while pace.pass(now).is_ok() {
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
