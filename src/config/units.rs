//! Parses and formats sizes and durations with a unit, such as `4MiB`, `9s` or `90d`.
//!
//! The unit is mandatory. A number without a unit could make a limit wrong by a factor of a
//! thousand.

use crate::domain::time::Millis;

/// Number of bytes of the units of size.
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const TIB: u64 = 1 << 40;

const SIZES: [(&str, u64); 5] = [
    ("TiB", TIB),
    ("GiB", 1 << 30),
    ("MiB", MIB),
    ("KiB", KIB),
    ("B", 1),
];
const DURATIONS: [(&str, u64); 5] = [
    ("d", days(1).get()),
    ("h", hours(1).get()),
    ("m", minutes(1).get()),
    ("s", 1000),
    ("ms", 1),
];

pub(super) const fn minutes(number: u64) -> Millis {
    Millis::from_secs(number * 60)
}

pub(super) const fn hours(number: u64) -> Millis {
    minutes(number * 60)
}

pub(super) const fn days(number: u64) -> Millis {
    hours(number * 24)
}

/// Error for a text that is not a size or not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// The text is not a size.
    #[error(
        "{0:?} is not a valid size: write a whole number and its unit (B, KiB, MiB, GiB, TiB), like \"4MiB\""
    )]
    Size(String),
    /// The text is not a duration.
    #[error(
        "{0:?} is not a valid duration: write a whole number and its unit (ms, s, m, h, d), like \"90s\""
    )]
    Duration(String),
}

/// Parses a size, such as `4MiB`, and returns bytes.
///
/// # Errors
/// [`InvalidUnit::Size`] if the text is not a whole number with a unit of size, or is too large.
pub fn parse_size(text: &str) -> Result<u64, InvalidUnit> {
    parse_with_unit(text, &SIZES).ok_or_else(|| InvalidUnit::Size(text.to_owned()))
}

/// Parses a duration, such as `90s`.
///
/// # Errors
/// [`InvalidUnit::Duration`] if the text is not a whole number with a unit of time, or is too
/// large.
pub fn parse_duration(text: &str) -> Result<Millis, InvalidUnit> {
    parse_with_unit(text, &DURATIONS)
        .map(Millis::new)
        .ok_or_else(|| InvalidUnit::Duration(text.to_owned()))
}

/// Formats bytes for [`parse_size`], in the largest unit that gives a whole number.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    format_with_unit(bytes, &SIZES)
}

/// Formats bytes for display, in MiB rounded up to one decimal place: `12.3 MiB`.
#[must_use]
pub fn format_mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(MIB);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Formats a duration for [`parse_duration`], in the largest unit that gives a whole number.
#[must_use]
pub fn format_duration(length: Millis) -> String {
    format_with_unit(length.get(), &DURATIONS)
}

fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn format_with_unit(number: u64, units: &[(&str, u64)]) -> String {
    let whole = units
        .iter()
        .find(|(_, factor)| number >= *factor && number.checked_rem(*factor) == Some(0));
    match whole.or(units.last()) {
        Some((unit, factor)) => format!("{}{unit}", number.checked_div(*factor).unwrap_or(number)),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatted_units_parse_to_same_value() {
        for text in ["0B", "1KiB", "1025B", "4MiB", "256MiB", "3GiB", "1TiB"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
        for text in ["0ms", "1500ms", "9s", "90s", "30m", "36h", "90d"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_size("4MiB").unwrap(), 4 * 1024 * 1024);
        assert_eq!(
            parse_duration("24h").unwrap(),
            parse_duration("1d").unwrap()
        );
    }

    #[test]
    fn bytes_for_people_are_rounded_up_to_a_tenth_of_a_mebibyte() {
        for (bytes, text) in [
            (0, "0.0 MiB"),
            (1, "0.1 MiB"),
            (1 << 20, "1.0 MiB"),
            ((12 << 20) + 300_000, "12.3 MiB"),
        ] {
            assert_eq!(format_mebibytes(bytes), text);
        }
    }

    #[test]
    fn number_and_unit_are_required() {
        let sizes = ",4,MiB,4MB,4mib,4 MiB,-4MiB,4.5MiB,99999999999TiB,４MiB";
        for text in sizes.split(',') {
            assert_eq!(parse_size(text), Err(InvalidUnit::Size(text.to_owned())));
        }
        let durations = ",5,5 s,5sec,1h30m,-5s,1.5s,99999999999999999d";
        for text in durations.split(',') {
            let expected = InvalidUnit::Duration(text.to_owned());
            assert_eq!(parse_duration(text), Err(expected));
        }
    }
}
