//! Reads the JSON values that forms send: dates, times, numbers and other scalars.
//!
//! WhatsApp components may send one value in several JSON types. The content of a value therefore
//! counts, not its JSON type (`"42"` is an integer).

use std::borrow::Cow;

use jiff::civil::{Date, Time};
use serde_json::Value;

/// Returns `true` if the value is present. Forms send null, an empty text or an empty list for a
/// field that was left out.
pub(crate) fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// Parses a date in the only accepted form, `2027-01-04`.
#[must_use]
pub(crate) fn read_date(value: &Value) -> Option<Date> {
    parse_date(value.as_str()?.trim())
}

/// Parses a time of day, `09:00`.
#[must_use]
pub(crate) fn read_time(value: &Value) -> Option<Time> {
    parse_time(value.as_str()?.trim())
}

/// Parses a slot ID as [`crate::domain::booking::calendar::Slot::id`] formats it,
/// `2027-01-04T09:00`.
#[must_use]
pub(crate) fn read_slot_id(value: &Value) -> Option<(Date, Time)> {
    let (date, time) = value.as_str()?.trim().split_once('T')?;
    Some((parse_date(date)?, parse_time(time)?))
}

fn parse_date(text: &str) -> Option<Date> {
    // The date parser of jiff also accepts other forms, such as `20270104` and complete timestamps.
    let is_iso_date = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if is_iso_date { text.parse().ok() } else { None }
}

fn parse_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// Returns the text of a value that is a single text, number or boolean.
pub(crate) fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text.trim())),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(yes) => Some(Cow::Borrowed(if *yes { "true" } else { "false" })),
        _ => None,
    }
}

/// Parses a boolean in one of the forms that [`super::field::FieldKind::Boolean`] accepts.
pub(crate) fn read_boolean(value: &Value) -> Option<bool> {
    let text = scalar_text(value)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Parses a finite number. The value may be a text.
pub(crate) fn read_number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// Parses a whole number. The value may be a text.
pub(crate) fn read_integer(value: &Value) -> Option<i64> {
    // `42.0` and `1e3` are also whole numbers. The number is formatted and parsed again, because a
    // cast would silently truncate a value that does not fit.
    let reparsed = || {
        let number = read_number(value).filter(|number| number.fract() == 0.0)?;
        number.to_string().parse().ok()
    };
    // The text of a boolean is no number.
    scalar_text(value)?.parse().ok().or_else(reparsed)
}
