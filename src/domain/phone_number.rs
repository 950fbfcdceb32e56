//! Parses phone numbers that people type with the country code, such as `+491511234567`.
//!
//! A phone number is personal data, so neither errors nor `Debug` show it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Phone number of 7 to 15 digits (ITU-T E.164), with `+` if the user typed one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PhoneNumber(Box<str>);

/// Error for a text that is not a phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a phone number: write it with its country code, as \"+491511234567\"")]
pub struct InvalidPhoneNumber;

impl PhoneNumber {
    /// Parses a phone number such as `+491511234567`.
    ///
    /// # Errors
    /// [`InvalidPhoneNumber`] if the text is not 7 to 15 digits with an optional `+`.
    pub fn parse(text: &str) -> Result<Self, InvalidPhoneNumber> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let is_valid =
            (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPhoneNumber)
        }
    }

    /// Returns the phone number as typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PhoneNumber> for Box<str> {
    fn from(number: PhoneNumber) -> Self {
        number.0
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = InvalidPhoneNumber;

    fn try_from(text: String) -> Result<Self, InvalidPhoneNumber> {
        Self::parse(&text)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phone_number_is_validated_and_hidden_in_debug() {
        let (short, long) = ("+1234567", "123456789012345");
        for text in ["+491511234567", "491511234567", short, long] {
            let number = PhoneNumber::parse(text).unwrap();
            assert_eq!(number.as_str(), text);
            assert!(!format!("{number:?}").contains("1234567"));
        }
        let separated = ["+49 151 1234567", "0151/1234567", "++491511234567"];
        let too_short_or_long = ["", "+", "+12345", "+1234567890123456"];
        for bad in separated.iter().chain(&too_short_or_long).chain(&["Ann"]) {
            assert_eq!(PhoneNumber::parse(bad), Err(InvalidPhoneNumber), "{bad}");
        }
    }
}
