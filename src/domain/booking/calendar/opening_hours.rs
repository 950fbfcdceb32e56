//! Parses opening hours within one day, such as `09:00-12:30`.

use std::fmt;

/// Minutes of a day.
pub(super) const DAY_MINUTES: u16 = 24 * 60;

/// Opening hours within one day, from a start minute of the day to an end minute, which is
/// excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeRange {
    /// First minute.
    pub(super) start: u16,
    /// First minute after the range.
    pub(super) end: u16,
}

/// Error for a text that is not a [`TimeRange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid time range: write it like \"09:00-12:30\", from 00:00 up to 24:00, the end after the start"
)]
pub struct InvalidTimeRange(String);

impl TimeRange {
    /// Parses a text such as `09:00-12:30`. `24:00` is the end of the day.
    ///
    /// # Errors
    /// [`InvalidTimeRange`] if the text has another format or if the end is not after the start.
    pub fn parse(text: &str) -> Result<Self, InvalidTimeRange> {
        let range = text.split_once('-').and_then(|(start, end)| {
            let (start, end) = (minute_of_day(start.trim())?, minute_of_day(end.trim())?);
            (start < end).then_some(Self { start, end })
        });
        range.ok_or_else(|| InvalidTimeRange(text.to_owned()))
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock_time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", clock_time(self.start), clock_time(self.end))
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())
    };
    let (hours, minutes): (u16, u16) = (two_digits(hours)??, two_digits(minutes)??);
    let minute = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}
