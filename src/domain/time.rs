//! Defines points in time and durations, both in milliseconds.
//!
//! See [`crate::clock`] for the current time and [`super::booking::calendar`] for local
//! time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// Duration in milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(u64);

impl Timestamp {
    /// Earliest point in time.
    pub const ZERO: Self = Self(0);
    /// Latest point in time.
    pub const MAX: Self = Self(u64::MAX);

    /// Creates the point in time `ms` milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the point in time `length` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn plus(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }

    /// Returns the point in time `length` earlier, at least [`Timestamp::ZERO`].
    #[must_use]
    pub const fn minus(self, length: Millis) -> Self {
        Self(self.0.saturating_sub(length.0))
    }

    /// Returns the duration from `earlier` to this point in time. The result is 0 if `earlier` is
    /// later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// Converts the point in time to jiff's type. Points after the year 9999 become jiff's maximum.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        i64::try_from(self.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .unwrap_or(jiff::Timestamp::MAX)
    }

    /// Converts the point in time from jiff's type. Points before 1970 become [`Timestamp::ZERO`].
    #[must_use]
    pub fn from_jiff(point: jiff::Timestamp) -> Self {
        Self(u64::try_from(point.as_millisecond()).unwrap_or(0))
    }
}

/// Formats the point in time as RFC 3339 in UTC with milliseconds: `2026-11-24T08:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_jiff())
    }
}

/// Serializes as RFC 3339 text for human-readable formats, and as a number in stored rows.
impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse::<jiff::Timestamp>()
            .map(Self::from_jiff)
            .map_err(serde::de::Error::custom)
    }
}

impl Millis {
    /// Duration of zero.
    pub const ZERO: Self = Self(0);
    /// Longest duration.
    pub const MAX: Self = Self(u64::MAX);

    /// Creates a duration of `ms` milliseconds.
    #[must_use]
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// Creates a duration of `s` seconds.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// Converts the standard library's duration. Fractions of a millisecond are dropped, and
    /// [`Self::MAX`] stands for a longer duration.
    #[must_use]
    pub fn from_duration(duration: std::time::Duration) -> Self {
        u64::try_from(duration.as_millis()).map_or(Self::MAX, Self)
    }

    /// Returns the number of milliseconds.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Converts the duration to the standard library's type.
    #[must_use]
    pub const fn to_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_displays_as_rfc_3339() {
        let point = Timestamp::from_millis(1_767_225_601_007);
        assert_eq!(point.to_string(), "2026-01-01T00:00:01.007Z");
        assert_eq!(Timestamp::ZERO.to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn timestamp_arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Millis::new(1)), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.minus(Millis::new(1)), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.since(Timestamp::MAX), Millis::ZERO);
    }
}
