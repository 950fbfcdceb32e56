//! Defines the fields of a form: the kinds of values, and the validation of one value.
//!
//! The sender receives validation errors. An error never repeats the value, because the value may
//! be personal and the error is written to logs.
//!
//! See `super::value` for the forms of a value and [`super::validation`] for the fields of a form.

use std::fmt;

use serde_json::Value;

use super::choice_list::NO_CHOICE_ID;
pub use super::field_error::{FieldError, ValidationError};
use super::value::{
    is_present, read_boolean, read_date, read_integer, read_number, read_slot_id, read_time,
    scalar_text,
};
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
        let is_given = |value: &&Value| is_present(value) && !(is_time && **value == NO_CHOICE_ID);
        let error = match value.filter(is_given) {
            Some(value) => self.kind.check(value).or_else(|| self.check_pattern(value)),
            None => is_required.then_some(ValidationError::Missing),
        };
        Some(FieldError {
            field: self.name.clone(),
            error: error?,
        })
    }

    fn check_pattern(&self, value: &Value) -> Option<ValidationError> {
        let pattern = self.pattern.as_ref()?;
        let is_match = scalar_text(value).is_some_and(|text| pattern.is_match(&text));
        (!is_match).then_some(ValidationError::PatternMismatch)
    }
}

impl FieldKind {
    /// Text of any length.
    pub const ANY_TEXT: Self = Self::Text {
        min: None,
        max: None,
    };

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
        let is_text = |fits: fn(&str) -> bool| scalar_text(value).is_some_and(|text| fits(&text));
        let is_slot_id = || read_slot_id(value).is_some();
        let (fits, error) = match self {
            Self::Text { min, max } => return check_length(value, *min, *max),
            Self::Number { min, max } => {
                return check_bounds(read_number(value), ValidationError::NotNumber, *min, *max);
            }
            Self::Integer { min, max } => {
                return check_bounds(read_integer(value), ValidationError::NotInteger, *min, *max);
            }
            Self::Choice(choices) => return check_choices(&[value], choices),
            Self::Choices(choices) => {
                let items = value.as_array().map(|items| items.iter().collect());
                return check_choices(&items.unwrap_or_else(|| vec![value]), choices);
            }
            Self::Email => (is_text(is_email), ValidationError::NotEmail),
            Self::Phone => (is_text(is_phone), ValidationError::NotPhone),
            Self::Boolean => (read_boolean(value).is_some(), ValidationError::NotBoolean),
            Self::Date => (
                read_date(value).is_some() || is_slot_id(),
                ValidationError::NotDate,
            ),
            Self::Time => (
                read_time(value).is_some() || is_slot_id(),
                ValidationError::NotTime,
            ),
        };
        (!fits).then_some(error)
    }
}

fn check_length(value: &Value, min: Option<usize>, max: Option<usize>) -> Option<ValidationError> {
    let length = scalar_text(value).map(|text| text.chars().count());
    match (length, min, max) {
        (None, ..) => Some(ValidationError::NotText),
        (Some(length), Some(min), _) if length < min => Some(ValidationError::TooShort(min)),
        (Some(length), _, Some(max)) if length > max => Some(ValidationError::TooLong(max)),
        _ => None,
    }
}

fn is_email(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    parts.len() == 2
        && parts.iter().all(|part| !part.is_empty())
        && text.chars().count() <= 254
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn is_phone(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or(text);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    (5..=15).contains(&digits)
        && number
            .chars()
            .all(|c| c.is_ascii_digit() || " -.()/".contains(c))
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

/// Returns an error that lists the choices, unless each of `values` is one of `choices`.
fn check_choices(values: &[&Value], choices: &[String]) -> Option<ValidationError> {
    let is_known = |text: &str| choices.iter().any(|choice| choice.trim() == text);
    let is_choice = |value: &&Value| scalar_text(value).is_some_and(|text| is_known(&text));
    if values.iter().all(is_choice) {
        return None;
    }
    let mut shown: Vec<&str> = choices.iter().map(String::as_str).collect();
    if shown.len() > CHOICES_SHOWN {
        shown.truncate(CHOICES_SHOWN);
        shown.push("…");
    }
    Some(ValidationError::NotChoice(shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Asserts that `kind` accepts the values of the JSON array `valid`, and rejects those of
    /// `invalid` because of `why`.
    fn assert_checks(kind: &FieldKind, valid: &str, why: &str, invalid: &str) {
        let values = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap();
        let error = |value: &Value| kind.check(value).map(|error| error.to_string());
        let name = kind.as_str();
        for value in values(valid) {
            assert_eq!(error(&value), None, "{name} {value}");
        }
        for value in values(invalid) {
            assert_eq!(error(&value).as_deref(), Some(why), "{name} {value}");
        }
    }

    #[test]
    fn text_length_is_counted_in_characters() {
        let kind = FieldKind::Text {
            min: Some(2),
            max: Some(4),
        };
        let valid = r#"["Zoë", "王小明", 42, true]"#;
        let why = "is shorter than 2 characters";
        assert_checks(&kind, valid, why, r#"["é", " a "]"#);
        let why = "is longer than 4 characters";
        assert_checks(&kind, "[]", why, r#"["abcde", false]"#);
        assert_checks(&kind, "[]", "is not a text", r#"[["ab"], {"a": 1}]"#);
    }

    #[test]
    fn email_has_one_at_sign_and_no_spaces() {
        let why = "is not an e-mail address";
        let valid = r#"["user@example.com", "a+b@localhost", "  zoë@exämple.de "]"#;
        let invalid = r#"["user", "@example.com", "user@", "a@b@c", "a b@c.de", "a\u0007@c.de", ["a@b.de"], 7]"#;
        assert_checks(&FieldKind::Email, valid, why, invalid);
        let long = format!(r#"["{}@example.com"]"#, "a".repeat(250));
        assert_checks(&FieldKind::Email, "[]", why, &long);
    }

    #[test]
    fn phone_allows_digits_and_separators() {
        let valid = r#"["+1 (650) 555-1234", "16505551234", 16505551234]"#;
        let invalid =
            r#"["1234", "+1234567890123456", "call me", "++49301234", "030 12 34 ext 5"]"#;
        assert_checks(&FieldKind::Phone, valid, "is not a phone number", invalid);
    }

    #[test]
    fn numeric_text_is_checked_against_bounds() {
        let number = FieldKind::Number {
            min: Some(0.5),
            max: Some(1e6),
        };
        let valid = r#"[0.5, "0.5", " 1000000 ", 250000]"#;
        let invalid = r#"["NaN", "inf", "1,5", true, [1]]"#;
        assert_checks(&number, valid, "is not a number", invalid);
        assert_checks(&number, "[]", "is less than 0.5", r#"[0.4, "-1"]"#);
        assert_checks(&number, "[]", "is more than 1000000", "[1000001]");

        let integer = FieldKind::Integer {
            min: Some(1),
            max: Some(10),
        };
        let valid = r#"[1, "10", 10.0, "1e1"]"#;
        let invalid = r#"[1.5, "x", 1e300, 18446744073709551615]"#;
        assert_checks(&integer, valid, "is not a whole number", invalid);
        assert_checks(&integer, "[]", "is more than 10", r#"["11"]"#);
    }

    #[test]
    fn boolean_accepts_text_and_number() {
        let valid = r#"[true, "False", 0, "1"]"#;
        let why = "is neither true nor false";
        assert_checks(&FieldKind::Boolean, valid, why, r#"["yes", 2, [true]]"#);
    }

    #[test]
    fn date_and_time_accept_iso_form_or_slot_id() {
        let valid = r#"["2027-01-04", "2027-01-04T09:00"]"#;
        let invalid = r#"["2027-02-30", "04.01.2027", "20270104", "2027-1-4", "2027-01-04T9:00", "tomorrow"]"#;
        let why = "is not a date like 2027-01-04";
        assert_checks(&FieldKind::Date, valid, why, invalid);
        let valid = r#"["09:00", "23:59", "2027-01-04T09:00"]"#;
        let invalid = r#"["9:00", "24:00", "09:60", "09:00:00", "+9:00", "noon"]"#;
        assert_checks(&FieldKind::Time, valid, "is not a time like 09:00", invalid);
    }

    #[test]
    fn choice_error_lists_choices() {
        let sizes = || ["s", "m", "42"].map(str::to_owned).to_vec();
        let why = "is not one of: s, m, 42";
        let choice = FieldKind::Choice(sizes());
        assert_checks(&choice, r#"["s", 42]"#, why, r#"["xl", ["s"]]"#);
        let choices = FieldKind::Choices(sizes());
        let invalid = r#"[["s", "xl"], {"s": 1}]"#;
        assert_checks(&choices, r#"[["s", "m"], "s", [42]]"#, why, invalid);
        let many = FieldKind::Choice((0..20).map(|number| format!("c{number}")).collect());
        let why = "is not one of: c0, c1, c2, c3, c4, c5, c6, c7, …";
        assert_checks(&many, "[]", why, r#"["x"]"#);
    }

    #[test]
    fn null_or_empty_counts_as_missing() {
        let field = Field::new("when", FieldKind::Date);
        let absent = [json!(null), json!(""), json!(" "), json!([])];
        for absent in absent.iter().map(Some).chain([None]) {
            assert_eq!(field.validate(absent, false), None);
            let error = field.validate(absent, true).unwrap();
            assert_eq!(error.to_string(), "when: is missing");
        }
        // False is an answer.
        let agree = Field::new("agree", FieldKind::Boolean);
        assert_eq!(agree.validate(Some(&json!(false)), true), None);
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
            let error = field.validate(Some(&json!(value)), false);
            error.map(|error| error.error)
        };
        for valid in ["AB-1", " AB-1 ", ""] {
            assert_eq!(error(valid), None, "{valid}");
        }
        assert_eq!(error("x"), Some(ValidationError::PatternMismatch));
        assert_eq!(error("far too long"), Some(ValidationError::TooLong(6)));
    }
}
