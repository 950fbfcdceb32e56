//! Defines days as an operator names them: `today`, `tomorrow`, a weekday, a date, or a range of
//! these. The day that a name means depends on the time zone, so a range is resolved for each
//! calendar.

use std::fmt;
use std::str::FromStr;

use jiff::Span;
use jiff::civil::{Date, Weekday};
use serde::{Deserialize, Serialize};

/// Day as an operator names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamedDay {
    /// Days after the current day.
    Relative(i8),
    /// The next such weekday. The current day counts.
    Weekday(Weekday),
    Date(Date),
}

/// First and last day as an operator names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DayRange {
    first: NamedDay,
    last: NamedDay,
}

/// Error for a text that names no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDayRange {
    /// The text is neither a word for a day nor a date.
    #[error(
        "{0:?} is no day: use today, tomorrow, yesterday, a weekday (friday), a date \
         (2026-11-24), or a range (2026-11-24..2026-11-30)"
    )]
    NoDay(String),
    /// The last date is before the first.
    #[error("the last day {last} is before the first day {first}")]
    Reversed {
        /// First date of the range.
        first: Date,
        /// Last date of the range.
        last: Date,
    },
}

impl DayRange {
    /// Returns the first and the last date if the current date is `today`. The last date is on or
    /// after the first date: `friday..monday` ends with the Monday after the Friday.
    #[must_use]
    pub fn resolve(self, today: Date) -> (Date, Date) {
        let first = self.first.resolve(today);
        let from = match self.last {
            NamedDay::Weekday(_) => first,
            NamedDay::Relative(_) | NamedDay::Date(_) => today,
        };
        (first, self.last.resolve(from).max(first))
    }
}

impl NamedDay {
    fn resolve(self, today: Date) -> Date {
        match self {
            Self::Relative(days) => today.saturating_add(Span::new().days(days)),
            Self::Weekday(weekday) => {
                let ahead = today.weekday().until(weekday);
                today.saturating_add(Span::new().days(ahead))
            }
            Self::Date(date) => date,
        }
    }

    fn parse(text: &str) -> Result<Self, InvalidDayRange> {
        let weekdays = Weekday::Monday.cycle_forward().take(7);
        let word = text.to_lowercase();
        let is_named = |weekday: &Weekday| {
            let name = format!("{weekday:?}").to_lowercase();
            word.len() >= 3 && name.starts_with(&word)
        };
        match word.as_str() {
            "today" => Ok(Self::Relative(0)),
            "tomorrow" => Ok(Self::Relative(1)),
            "yesterday" => Ok(Self::Relative(-1)),
            _ => match weekdays.into_iter().find(is_named) {
                Some(weekday) => Ok(Self::Weekday(weekday)),
                None => text
                    .parse()
                    .map(Self::Date)
                    .map_err(|_| InvalidDayRange::NoDay(text.to_owned())),
            },
        }
    }
}

impl FromStr for DayRange {
    type Err = InvalidDayRange;

    fn from_str(text: &str) -> Result<Self, InvalidDayRange> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let range = Self {
            first: NamedDay::parse(first)?,
            last: NamedDay::parse(last)?,
        };
        match (range.first, range.last) {
            (NamedDay::Date(first), NamedDay::Date(last)) if last < first => {
                Err(InvalidDayRange::Reversed { first, last })
            }
            _ => Ok(range),
        }
    }
}

impl TryFrom<String> for DayRange {
    type Error = InvalidDayRange;

    fn try_from(text: String) -> Result<Self, InvalidDayRange> {
        text.parse()
    }
}

impl From<DayRange> for String {
    fn from(range: DayRange) -> Self {
        format!("{}..{}", range.first, range.last)
    }
}

impl fmt::Display for NamedDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative(-1) => f.write_str("yesterday"),
            Self::Relative(0) => f.write_str("today"),
            Self::Relative(_) => f.write_str("tomorrow"),
            Self::Weekday(weekday) => write!(f, "{weekday:?}"),
            Self::Date(date) => date.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_resolved_from_today() {
        let tuesday: Date = "2026-11-24".parse().unwrap();
        for (text, first, last) in [
            ("today", "2026-11-24", "2026-11-24"),
            ("Tomorrow", "2026-11-25", "2026-11-25"),
            ("yesterday..today", "2026-11-23", "2026-11-24"),
            ("tue", "2026-11-24", "2026-11-24"),
            ("monday", "2026-11-30", "2026-11-30"),
            ("fri..mon", "2026-11-27", "2026-11-30"),
            ("2026-12-01", "2026-12-01", "2026-12-01"),
            ("today..2026-12-01", "2026-11-24", "2026-12-01"),
        ] {
            let range: DayRange = text.parse().unwrap();
            let (from, to) = range.resolve(tuesday);
            assert_eq!(
                (from.to_string(), to.to_string()),
                (first.into(), last.into()),
                "{text}"
            );
            assert_eq!(String::from(range).parse(), Ok(range), "{text}");
        }
    }

    #[test]
    fn invalid_day_gets_examples() {
        for text in [
            "",
            "tu",
            "someday",
            "24.11.2026",
            "..",
            "today..",
            "2026-11-31",
        ] {
            let error = text.parse::<DayRange>().unwrap_err().to_string();
            assert!(error.contains("tomorrow"), "{text}: {error}");
        }
        let reversed = "2026-11-24..2026-11-23".parse::<DayRange>().unwrap_err();
        let text = "the last day 2026-11-23 is before the first day 2026-11-24";
        assert_eq!(reversed.to_string(), text);
    }
}
