//! Parses the fields of queries and forms (*URL*, `application/x-www-form-urlencoded`), strictly:
//! bad escapes, text that is not UTF-8 and too many fields are errors.

use std::borrow::Cow;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// Maximum number of fields of a query or form.
const FIELDS_MAX: usize = 1000;

/// Fields of a query or form, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

/// Reason why fields can't be parsed or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldError {
    #[error("the form is not encoded as application/x-www-form-urlencoded in UTF-8")]
    Encoding,
    #[error("the form has more than {FIELDS_MAX} fields")]
    TooMany,
    #[error("the field {0} is missing")]
    Missing(&'static str),
    #[error("the field {name} is invalid: {reason}")]
    Invalid { name: &'static str, reason: String },
}

impl Fields {
    /// Parses an encoded text.
    pub(super) fn parse(text: &str) -> Result<Self, FieldError> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let mut fields = Vec::new();
        for pair in pairs {
            if fields.len() == FIELDS_MAX {
                return Err(FieldError::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            fields.push((decode(name)?, decode(value)?));
        }
        Ok(Self(fields))
    }

    /// Creates fields from names and values.
    pub(super) fn from_pairs(pairs: Vec<(&'static str, String)>) -> Self {
        let named = |(name, value): (&str, String)| (name.to_owned(), value);
        Self(pairs.into_iter().map(named).collect())
    }

    /// Returns the first value of a field, trimmed, if the field is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.raw(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Returns the first value of a field as it was sent. Passwords and texts need this.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Parses a field. `None`: the field is missing or empty.
    pub(super) fn optional<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, FieldError> {
        let parse = |text: &str| {
            text.parse().map_err(|error: T::Err| FieldError::Invalid {
                name,
                reason: error.to_string(),
            })
        };
        self.get(name).map(parse).transpose()
    }

    /// Parses a field that must not be empty.
    pub(super) fn required<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &'static str,
    ) -> Result<T, FieldError> {
        self.optional(name)?.ok_or(FieldError::Missing(name))
    }
}

fn decode(text: &str) -> Result<String, FieldError> {
    let mut rest = text.split('%');
    let is_escape = |piece: &str| {
        let mut digits = piece.bytes();
        let mut is_digit = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        is_digit() && is_digit()
    };
    // The text before the first escape.
    rest.next();
    if !rest.all(is_escape) {
        return Err(FieldError::Encoding);
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    let decoded = decoded.map_err(|_| FieldError::Encoding)?;
    if decoded.contains('\0') {
        return Err(FieldError::Encoding);
    }
    Ok(decoded.into_owned())
}

/// Decodes one segment of a path.
pub(super) fn decode_segment(text: &str) -> Option<String> {
    let decoded: Cow<'_, str> = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::url_text::encode_value;

    #[test]
    fn fields_are_decoded() {
        let fields = Fields::parse("name=J%C3%BCrgen+M&empty=&n=7&n=8&&flag").unwrap();
        assert_eq!(fields.get("name"), Some("Jürgen M"));
        assert_eq!((fields.get("empty"), fields.raw("empty")), (None, Some("")));
        assert_eq!(fields.raw("flag"), Some(""));
        assert_eq!(fields.required::<u64>("n"), Ok(7));
        assert_eq!(fields.optional::<u64>("empty"), Ok(None));
        assert_eq!(
            fields.required::<u64>("empty"),
            Err(FieldError::Missing("empty"))
        );
        let error = fields.required::<u64>("name").unwrap_err();
        assert!(error.to_string().starts_with("the field name is invalid: "));
    }

    #[test]
    fn invalid_fields_are_refused() {
        for text in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "%C3=1"] {
            assert_eq!(Fields::parse(text), Err(FieldError::Encoding), "{text}");
        }
        let many = "a=1&".repeat(FIELDS_MAX);
        assert!(Fields::parse(&many).is_ok());
        assert_eq!(
            Fields::parse(&format!("{many}a=1")),
            Err(FieldError::TooMany)
        );
    }

    #[test]
    fn encoded_values_are_decoded_again() {
        for value in ["a b&c=d", "ü/?#%+", ""] {
            let text = format!("x={}", encode_value(value));
            assert_eq!(Fields::parse(&text).unwrap().raw("x"), Some(value));
            assert_eq!(decode_segment(&encode_value(value)).unwrap(), value);
        }
    }
}
