//! What can be wrong with an answer. Which values are is `super::field`'s.

use std::fmt;

/// What is wrong with one field. `Display` is for the sender: `user_email: is not an e-mail address`. What customers are
/// told is in `super::texts`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {flaw}")]
pub struct FieldProblem {
    /// The field.
    pub field: String,
    /// Why it was refused.
    pub flaw: Flaw,
}

/// Why a value was refused. Bounds are shown as they were configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing came.
    Missing,
    /// An array or an object.
    NotText,
    /// Fewer characters than this.
    Shorter(usize),
    /// More characters than this.
    Longer(usize),
    /// No e-mail address.
    NotEmail,
    /// No phone number.
    NotPhone,
    /// No number.
    NotNumber,
    /// No whole number.
    NotInteger,
    /// Less than this.
    Below(String),
    /// More than this.
    Above(String),
    /// Neither true nor false.
    NotBoolean,
    /// No day.
    NotDate,
    /// No time of day.
    NotTime,
    /// None of these.
    NotChoice(String),
    /// It does not look as it must.
    OffPattern,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: &usize| if *count == 1 { "" } else { "s" };
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::NotText => f.write_str("is not a text"),
            Self::Shorter(min) => write!(f, "is shorter than {min} character{}", plural(min)),
            Self::Longer(max) => write!(f, "is longer than {max} character{}", plural(max)),
            Self::NotEmail => f.write_str("is not an e-mail address"),
            Self::NotPhone => f.write_str("is not a phone number"),
            Self::NotNumber => f.write_str("is not a number"),
            Self::NotInteger => f.write_str("is not a whole number"),
            Self::Below(min) => write!(f, "is less than {min}"),
            Self::Above(max) => write!(f, "is more than {max}"),
            Self::NotBoolean => f.write_str("is neither true nor false"),
            Self::NotDate => f.write_str("is not a date like 2027-01-04"),
            Self::NotTime => f.write_str("is not a time like 09:00"),
            Self::NotChoice(choices) => write!(f, "is not one of: {choices}"),
            Self::OffPattern => f.write_str("does not have the form that this field asks for"),
        }
    }
}
