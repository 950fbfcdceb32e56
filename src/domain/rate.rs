//! Defines rates of deliveries, such as `50/s`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Millis;

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
        let count = count.trim().parse().map_err(|_| invalid())?;
        if !(1..=1_000_000).contains(&count) {
            return Err(invalid());
        }
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

    /// Returns the time between two deliveries that are spread evenly.
    pub(super) fn interval(self) -> Duration {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_parses_and_displays() {
        for text in ["50/s", "256/m", "1000/h", "1/s", "1000000/s"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Rate::parse(" 5 / m ").unwrap().to_string(), "5/m");
        let bad_counts = ["0/s", "-1/s", "1.5/s", "1000001/s", "/s"];
        for bad in ["", "50", "50/d", "5/s/s"].iter().chain(&bad_counts) {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn offset_of_nth_event() {
        let offset = |rate: &str, many| Rate::parse(rate).unwrap().offset_of(many).get();
        assert_eq!([0, 1, 25].map(|many| offset("10/s", many)), [0, 100, 2500]);
        // Parts of a millisecond don't add up.
        assert_eq!(offset("3/s", 10), 3333);
    }
}
