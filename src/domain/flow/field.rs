//! Defines the fields of a form: the kinds of values, and the validation of one value.
//!
//! WhatsApp components may send strings, numbers, booleans, arrays or objects. The validation
//! therefore checks the content of a value, not its JSON type (`"42"` is an integer). The sender
//! receives validation errors. An error never repeats the value, because the value may be personal
//! and the error is written to logs.
//!
//! See [`crate::domain::flow`] for the fields of a form and for missing fields.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::{Date, Time};
use serde_json::Value;

use super::screen_data::NO_CHOICE_ID;
pub use super::validation::{FieldError, ValidationError};
pub use crate::domain::full_regex::FullRegex;

/// Maximum number of choices that an error lists.
const CHOICES_SHOWN: usize = 8;

/// Declared field of a screen.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Field name in `data`.
    pub name: String,
    /// Kind of the values.
    pub kind: FieldKind,
    /// `true` if the field must be present when its screen is submitted.
    pub is_required: bool,
    /// Regular expression that a text must also match. `None`: any text.
    pub pattern: Option<FullRegex>,
    /// Field name for customers. Default: the name.
    pub label: Option<String>,
    /// Error text for customers. Default: the error text of the flow.
    pub error: Option<String>,
}

/// Kind of the values of a field. Bounds are inclusive.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldKind {
    /// Any text, with a length in characters. Numbers and booleans count as their JSON text.
    Text {
        /// Minimum length in characters.
        min: Option<usize>,
        /// Maximum length in characters.
        max: Option<usize>,
    },
    /// E-mail address, checked loosely: at most 254 characters (RFC 5321), no spaces or control
    /// characters, one `@` with text on both sides. A domain without a dot is valid, a quoted local
    /// part with an `@` is not. Only a sent e-mail could prove that the address works.
    Email,
    /// Phone number: 5 to 15 digits (the maximum of E.164), an optional leading `+`, and the usual
    /// separators.
    Phone,
    /// Any finite number.
    Number {
        /// Minimum value.
        min: Option<f64>,
        /// Maximum value.
        max: Option<f64>,
    },
    /// Whole number. `42.0` is valid.
    Integer {
        /// Minimum value.
        min: Option<i64>,
        /// Maximum value.
        max: Option<i64>,
    },
    /// True or false. Also valid: the same words as text in upper or lower case, 1 and 0.
    Boolean,
    /// Date, `2027-01-04`, or a slot ID, which begins with a date.
    Date,
    /// Time of day, `09:00`, or a slot ID, which contains a time at its end.
    Time,
    /// A single choice among these texts.
    Choice(Vec<String>),
    /// Any number of choices among these texts, in an array. A single choice may be sent without an
    /// array.
    Choices(Vec<String>),
}

impl Field {
    /// Creates an optional field of this kind.
    #[must_use]
    pub fn new(name: &str, kind: FieldKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            is_required: false,
            pattern: None,
            label: None,
            error: None,
        }
    }

    /// Returns the field name for customers.
    #[must_use]
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }

    /// Validates `value`. Returns `None` if `value` is valid. A value that is missing, null or
    /// empty is invalid only with `is_required`.
    #[must_use]
    pub fn validate(&self, value: Option<&Value>, is_required: bool) -> Option<FieldError> {
        // The list item for "nothing is free" is neither a date nor a time.
        let is_time = matches!(self.kind, FieldKind::Date | FieldKind::Time);
        let error =
            match value.filter(|value| is_present(value) && !(is_time && *value == NO_CHOICE_ID)) {
                Some(value) => self.kind.check(value).or_else(|| {
                    let is_match = |pattern: &FullRegex| {
                        scalar_text(value).is_some_and(|text| pattern.is_match(&text))
                    };
                    let is_mismatch = self
                        .pattern
                        .as_ref()
                        .is_some_and(|pattern| !is_match(pattern));
                    is_mismatch.then_some(ValidationError::PatternMismatch)
                })?,
                None if is_required => ValidationError::Missing,
                None => return None,
            };
        Some(FieldError {
            field: self.name.clone(),
            error,
        })
    }
}

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

impl FieldKind {
    /// Returns the name of the kind in the config.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Number { .. } => "number",
            Self::Integer { .. } => "integer",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Time => "time",
            Self::Choice(_) => "choice",
            Self::Choices(_) => "choices",
        }
    }

    /// Returns the reason why `value` is invalid. Returns `None` if `value` is valid.
    fn check(&self, value: &Value) -> Option<ValidationError> {
        let error_unless = |fits: bool, error: ValidationError| (!fits).then_some(error);
        match self {
            Self::Text { min, max } => check_length(value, *min, *max),
            Self::Email => error_unless(
                scalar_text(value).is_some_and(|text| is_email(&text)),
                ValidationError::NotEmail,
            ),
            Self::Phone => error_unless(
                scalar_text(value).is_some_and(|text| is_phone(&text)),
                ValidationError::NotPhone,
            ),
            Self::Number { min, max } => {
                check_bounds(read_number(value), ValidationError::NotNumber, *min, *max)
            }
            Self::Integer { min, max } => {
                check_bounds(read_integer(value), ValidationError::NotInteger, *min, *max)
            }
            Self::Boolean => {
                error_unless(read_boolean(value).is_some(), ValidationError::NotBoolean)
            }
            Self::Date => error_unless(
                read_date(value).is_some() || read_slot_id(value).is_some(),
                ValidationError::NotDate,
            ),
            Self::Time => error_unless(
                read_time(value).is_some() || read_slot_id(value).is_some(),
                ValidationError::NotTime,
            ),
            Self::Choice(choices) => {
                (!is_choice(value, choices)).then(|| not_choice_error(choices))
            }
            Self::Choices(choices) => {
                let all_fit = match value {
                    Value::Array(items) => items.iter().all(|item| is_choice(item, choices)),
                    single => is_choice(single, choices),
                };
                (!all_fit).then(|| not_choice_error(choices))
            }
        }
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

fn check_length(value: &Value, min: Option<usize>, max: Option<usize>) -> Option<ValidationError> {
    let Some(text) = scalar_text(value) else {
        return Some(ValidationError::NotText);
    };
    let length = text.chars().count();
    match (min, max) {
        (Some(min), _) if length < min => Some(ValidationError::TooShort(min)),
        (_, Some(max)) if length > max => Some(ValidationError::TooLong(max)),
        _ => None,
    }
}

fn is_email(text: &str) -> bool {
    let has_no_spaces = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let halves = text
        .split_once('@')
        .filter(|(local_part, domain)| !local_part.is_empty() && !domain.is_empty());
    has_no_spaces
        && text.chars().count() <= 254
        && halves.is_some_and(|(_, domain)| !domain.contains('@'))
}

fn is_phone(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or(text);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    (5..=15).contains(&digits)
        && number
            .chars()
            .all(|c| c.is_ascii_digit() || " -.()/".contains(c))
}

/// Parses a boolean in one of the forms that [`FieldKind::Boolean`] accepts.
pub(crate) fn read_boolean(value: &Value) -> Option<bool> {
    let text = scalar_text(value)?;
    let is_any_of = |known: [&str; 2]| known.iter().any(|known| text.eq_ignore_ascii_case(known));
    if is_any_of(["true", "1"]) {
        Some(true)
    } else {
        is_any_of(["false", "0"]).then_some(false)
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
    let text = match value {
        Value::Number(_) | Value::String(_) => scalar_text(value)?,
        _ => return None,
    };
    // `42.0` and `1e3` are also whole numbers. The number is formatted and parsed again, because a
    // cast would silently truncate a value that does not fit.
    let reparsed = || {
        read_number(value)
            .filter(|number| number.fract() == 0.0)?
            .to_string()
            .parse()
            .ok()
    };
    text.parse().ok().or_else(reparsed)
}

fn check_bounds<N: PartialOrd + fmt::Display>(
    number: Option<N>,
    type_error: ValidationError,
    min: Option<N>,
    max: Option<N>,
) -> Option<ValidationError> {
    match (number, min, max) {
        (None, ..) => Some(type_error),
        (Some(number), Some(min), _) if number < min => {
            Some(ValidationError::TooSmall(min.to_string()))
        }
        (Some(number), _, Some(max)) if number > max => {
            Some(ValidationError::TooLarge(max.to_string()))
        }
        _ => None,
    }
}

fn is_choice(value: &Value, choices: &[String]) -> bool {
    scalar_text(value).is_some_and(|text| choices.iter().any(|choice| choice.trim() == text))
}

fn not_choice_error(choices: &[String]) -> ValidationError {
    let shown: Vec<&str> = choices
        .iter()
        .take(CHOICES_SHOWN)
        .map(String::as_str)
        .collect();
    let ellipsis = if choices.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    ValidationError::NotChoice(format!("{}{ellipsis}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assert_accepts(kind: &FieldKind, values: &[Value]) {
        for value in values {
            assert_eq!(kind.check(value), None, "{} {value}", kind.as_str());
        }
    }

    fn assert_rejects(kind: &FieldKind, why: &str, values: &[Value]) {
        for value in values {
            let error = kind.check(value).map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some(why), "{} {value}", kind.as_str());
        }
    }

    #[test]
    fn text_length_is_counted_in_characters() {
        let kind = FieldKind::Text {
            min: Some(2),
            max: Some(4),
        };
        assert_accepts(
            &kind,
            &[json!("Zoë"), json!("王小明"), json!(42), json!(true)],
        );
        assert_rejects(
            &kind,
            "is shorter than 2 characters",
            &[json!("é"), json!(" a ")],
        );
        assert_rejects(
            &kind,
            "is longer than 4 characters",
            &[json!("abcde"), json!(false)],
        );
        assert_rejects(&kind, "is not a text", &[json!(["ab"]), json!({"a": 1})]);
    }

    #[test]
    fn email_has_one_at_sign_and_no_spaces() {
        let why = "is not an e-mail address";
        assert_accepts(
            &FieldKind::Email,
            &[
                json!("user@example.com"),
                json!("a+b@localhost"),
                json!("  zoë@exämple.de "),
            ],
        );
        let long = format!("{}@example.com", "a".repeat(250));
        let bad = [
            "user",
            "@example.com",
            "user@",
            "a@b@c",
            "a b@c.de",
            "a\u{7}@c.de",
            &long,
        ];
        assert_rejects(&FieldKind::Email, why, &bad.map(Value::from));
        assert_rejects(&FieldKind::Email, why, &[json!(["a@b.de"]), json!(7)]);
    }

    #[test]
    fn phone_allows_digits_and_separators() {
        assert_accepts(
            &FieldKind::Phone,
            &[
                json!("+1 (650) 555-1234"),
                json!("16505551234"),
                json!(16_505_551_234_u64),
            ],
        );
        let bad = [
            "1234",
            "+1234567890123456",
            "call me",
            "++49301234",
            "030 12 34 ext 5",
        ];
        assert_rejects(
            &FieldKind::Phone,
            "is not a phone number",
            &bad.map(Value::from),
        );
    }

    #[test]
    fn numeric_text_is_checked_against_bounds() {
        let number = FieldKind::Number {
            min: Some(0.5),
            max: Some(1e6),
        };
        assert_accepts(
            &number,
            &[json!(0.5), json!("0.5"), json!(" 1000000 "), json!(250_000)],
        );
        assert_rejects(
            &number,
            "is not a number",
            &[
                json!("NaN"),
                json!("inf"),
                json!("1,5"),
                json!(true),
                json!([1]),
            ],
        );
        assert_rejects(&number, "is less than 0.5", &[json!(0.4), json!("-1")]);
        assert_rejects(&number, "is more than 1000000", &[json!(1_000_001)]);

        let integer = FieldKind::Integer {
            min: Some(1),
            max: Some(10),
        };
        assert_accepts(
            &integer,
            &[json!(1), json!("10"), json!(10.0), json!("1e1")],
        );
        assert_rejects(
            &integer,
            "is not a whole number",
            &[json!(1.5), json!("x"), json!(1e300), json!(u64::MAX)],
        );
        assert_rejects(&integer, "is more than 10", &[json!("11")]);
    }

    #[test]
    fn boolean_accepts_text_and_number() {
        assert_accepts(
            &FieldKind::Boolean,
            &[json!(true), json!("False"), json!(0), json!("1")],
        );
        assert_rejects(
            &FieldKind::Boolean,
            "is neither true nor false",
            &[json!("yes"), json!(2), json!([true])],
        );
    }

    #[test]
    fn date_and_time_accept_iso_form_or_slot_id() {
        assert_accepts(
            &FieldKind::Date,
            &[json!("2027-01-04"), json!("2027-01-04T09:00")],
        );
        let bad = [
            "2027-02-30",
            "04.01.2027",
            "20270104",
            "2027-1-4",
            "2027-01-04T9:00",
            "tomorrow",
        ];
        assert_rejects(
            &FieldKind::Date,
            "is not a date like 2027-01-04",
            &bad.map(Value::from),
        );
        assert_accepts(
            &FieldKind::Time,
            &[json!("09:00"), json!("23:59"), json!("2027-01-04T09:00")],
        );
        let bad = ["9:00", "24:00", "09:60", "09:00:00", "+9:00", "noon"];
        assert_rejects(
            &FieldKind::Time,
            "is not a time like 09:00",
            &bad.map(Value::from),
        );
    }

    #[test]
    fn choice_error_lists_choices() {
        let sizes = || ["s", "m", "42"].map(str::to_owned).to_vec();
        assert_accepts(&FieldKind::Choice(sizes()), &[json!("s"), json!(42)]);
        assert_rejects(
            &FieldKind::Choice(sizes()),
            "is not one of: s, m, 42",
            &[json!("xl"), json!(["s"])],
        );
        assert_accepts(
            &FieldKind::Choices(sizes()),
            &[json!(["s", "m"]), json!("s"), json!([42])],
        );
        assert_rejects(
            &FieldKind::Choices(sizes()),
            "is not one of: s, m, 42",
            &[json!(["s", "xl"]), json!({"s": 1})],
        );
        let many_choices = FieldKind::Choice((0..20).map(|number| format!("c{number}")).collect());
        assert_rejects(
            &many_choices,
            "is not one of: c0, c1, c2, c3, c4, c5, c6, c7, …",
            &[json!("x")],
        );
    }

    #[test]
    fn null_or_empty_counts_as_missing() {
        let field = Field::new("when", FieldKind::Date);
        for absent in [
            None,
            Some(json!(null)),
            Some(json!("")),
            Some(json!(" ")),
            Some(json!([])),
        ] {
            assert_eq!(field.validate(absent.as_ref(), false), None);
            assert_eq!(
                field.validate(absent.as_ref(), true).unwrap().to_string(),
                "when: is missing"
            );
        }
        let agree_field = Field::new("agree", FieldKind::Boolean);
        assert_eq!(
            agree_field.validate(Some(&json!(false)), true),
            None,
            "false is an answer"
        );
    }

    #[test]
    fn pattern_is_checked_last_and_only_for_present_values() {
        let pattern = FullRegex::new("[A-Z]{2}-[0-9]+").unwrap();
        let kind = FieldKind::Text {
            min: None,
            max: Some(6),
        };
        let field = Field {
            pattern: Some(pattern),
            ..Field::new("plate", kind)
        };
        let error = |value: &str| {
            field
                .validate(Some(&json!(value)), false)
                .map(|problem| problem.error)
        };
        assert_eq!(
            (error("AB-1"), error(" AB-1 "), error("")),
            (None, None, None)
        );
        assert_eq!(
            (error("x"), error("far too long")),
            (
                Some(ValidationError::PatternMismatch),
                Some(ValidationError::TooLong(6))
            )
        );
    }
}
