//! Defines the validation errors of form fields.
//!
//! See [`super::field`] for the validation of a value.

use std::fmt;

/// Validation error of one field. `Display` is for the sender: `user_email: is not an e-mail
/// address`. See [`super::customer_texts`] for the texts that customers see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {error}")]
pub struct FieldError {
    /// Field name.
    pub field: String,
    /// Reason why the value is invalid.
    pub error: ValidationError,
}

/// Reason why a value is invalid. Bounds are shown as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidationError {
    /// The value is missing.
    Missing,
    /// The value is an array or an object, not a text.
    NotText,
    /// The text has fewer characters than this minimum.
    TooShort(usize),
    /// The text has more characters than this maximum.
    TooLong(usize),
    /// The value is not an e-mail address.
    NotEmail,
    /// The value is not a phone number.
    NotPhone,
    /// The value is not a number.
    NotNumber,
    /// The value is not a whole number.
    NotInteger,
    /// The number is less than this minimum.
    TooSmall(String),
    /// The number is more than this maximum.
    TooLarge(String),
    /// The value is neither true nor false.
    NotBoolean,
    /// The value is not a date.
    NotDate,
    /// The value is not a time of day.
    NotTime,
    /// The value is none of these choices.
    NotChoice(String),
    /// The text does not match the pattern of the field.
    PatternMismatch,
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: &usize| if *count == 1 { "" } else { "s" };
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::NotText => f.write_str("is not a text"),
            Self::TooShort(min) => write!(f, "is shorter than {min} character{}", plural(min)),
            Self::TooLong(max) => write!(f, "is longer than {max} character{}", plural(max)),
            Self::NotEmail => f.write_str("is not an e-mail address"),
            Self::NotPhone => f.write_str("is not a phone number"),
            Self::NotNumber => f.write_str("is not a number"),
            Self::NotInteger => f.write_str("is not a whole number"),
            Self::TooSmall(min) => write!(f, "is less than {min}"),
            Self::TooLarge(max) => write!(f, "is more than {max}"),
            Self::NotBoolean => f.write_str("is neither true nor false"),
            Self::NotDate => f.write_str("is not a date like 2027-01-04"),
            Self::NotTime => f.write_str("is not a time like 09:00"),
            Self::NotChoice(choices) => write!(f, "is not one of: {choices}"),
            Self::PatternMismatch => f.write_str("does not match the pattern of this field"),
        }
    }
}
