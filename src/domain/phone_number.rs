//! A phone number as somebody types it: with its country code, `+491511234567`.
//!
//! It is somebody's: neither errors nor `Debug` repeat it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A phone number of 7 to 15 digits (ITU-T E.164), with its `+` if one was typed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PhoneNumber(Box<str>);

/// A text that is no phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no phone number: write it with its country code, as \"+491511234567\"")]
pub struct InvalidPhoneNumber;

impl PhoneNumber {
    /// Reads `+491511234567`.
    ///
    /// # Errors
    /// [`InvalidPhoneNumber`].
    pub fn parse(text: &str) -> Result<Self, InvalidPhoneNumber> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let fits = (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if fits { Ok(Self(text.into())) } else { Err(InvalidPhoneNumber) }
    }

    /// As it was typed.
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
    fn a_number_has_its_country_code_and_digits_and_is_not_shown_by_accident() {
        for text in ["+491511234567", "491511234567", "+1234567", "123456789012345"] {
            let number = PhoneNumber::parse(text).unwrap();
            assert_eq!(number.as_str(), text);
            assert!(!format!("{number:?}").contains("1234567"));
        }
        for bad in ["", "+", "+49 151 1234567", "0151/1234567", "+12345", "+1234567890123456", "++491511234567", "Ann"]
        {
            assert_eq!(PhoneNumber::parse(bad), Err(InvalidPhoneNumber), "{bad}");
        }
    }
}
