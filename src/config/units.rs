//! Sizes and lengths of time as people write them: `4MiB`, `9s`, `90d`. Always with a unit: a bare number is what gets
//! a limit wrong by a thousand.

use crate::domain::time::Millis;

const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const LENGTHS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A text that is no size or no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// No size.
    #[error("{0:?} is no size: write a whole number and its unit (B, KiB, MiB, GiB, TiB), like \"4MiB\"")]
    Size(String),
    /// No length of time.
    #[error("{0:?} is no length of time: write a whole number and its unit (ms, s, m, h, d), like \"90s\"")]
    Length(String),
}

/// Reads `4MiB` as bytes.
///
/// # Errors
/// [`InvalidUnit::Size`].
pub fn size(text: &str) -> Result<u64, InvalidUnit> {
    read(text, &SIZES).ok_or_else(|| InvalidUnit::Size(text.to_owned()))
}

/// Reads `90s`.
///
/// # Errors
/// [`InvalidUnit::Length`].
pub fn length(text: &str) -> Result<Millis, InvalidUnit> {
    read(text, &LENGTHS).map(Millis::new).ok_or_else(|| InvalidUnit::Length(text.to_owned()))
}

/// Writes bytes as [`size`] reads them, in the largest unit that loses nothing.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

/// Writes bytes for people, rounded up to a tenth of a MiB: `12.3 MiB`.
#[must_use]
pub fn show_mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Writes a length of time as [`length`] reads it, in the largest unit that loses nothing.
#[must_use]
pub fn show_length(length: Millis) -> String {
    show(length.get(), &LENGTHS)
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(number: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, factor)| number >= *factor && number.checked_rem(*factor) == Some(0));
    match whole.or(units.last()) {
        Some((unit, factor)) => format!("{}{unit}", number.checked_div(*factor).unwrap_or(number)),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_as_the_same() {
        for text in ["0B", "1KiB", "1025B", "4MiB", "256MiB", "3GiB", "1TiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        for text in ["0ms", "1500ms", "9s", "90s", "30m", "36h", "90d"] {
            assert_eq!(show_length(length(text).unwrap()), text);
        }
        assert_eq!(size("4MiB").unwrap(), 4 * 1024 * 1024);
        assert_eq!(length("24h").unwrap(), length("1d").unwrap());
    }

    #[test]
    fn bytes_for_people_are_rounded_up_to_a_tenth_of_a_mebibyte() {
        for (bytes, text) in [(0, "0.0 MiB"), (1, "0.1 MiB"), (1 << 20, "1.0 MiB"), ((12 << 20) + 300_000, "12.3 MiB")]
        {
            assert_eq!(show_mebibytes(bytes), text);
        }
    }

    #[test]
    fn without_a_whole_number_and_a_unit_it_is_refused() {
        for text in ["", "4", "MiB", "4MB", "4mib", "4 MiB", "-4MiB", "4.5MiB", "99999999999TiB", "４MiB"] {
            assert_eq!(size(text), Err(InvalidUnit::Size(text.to_owned())));
        }
        for text in ["", "5", "5 s", "5sec", "1h30m", "-5s", "1.5s", "99999999999999999d"] {
            assert_eq!(length(text), Err(InvalidUnit::Length(text.to_owned())));
        }
    }
}
