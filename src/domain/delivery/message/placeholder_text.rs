//! Parses and fills texts with placeholders for the values of an event's `data`.
//!
//! A placeholder is a dotted path in braces, `{booking.date}`. `{{` and `}}` are literal braces.
//! Texts and numbers are inserted unchanged, lists with commas. Nothing replaces a missing or null
//! value, so customers read no note about missing data.

use serde_json::Value;

/// Maximum number of characters of a text (*Messages*).
pub const TEXT_CHARS_MAX: usize = 4096;

/// Text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceholderText(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Placeholder(Vec<String>),
}

/// Error for an invalid text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlaceholderText {
    /// The text is empty. A message must not be empty.
    #[error("is empty")]
    Empty,
    /// The text has more characters than the maximum. Values: actual and maximum number of
    /// characters.
    #[error("has {0} characters, the maximum is {1}")]
    TooLong(usize, usize),
    /// `{` without `}`, or `}` without `{`.
    #[error("has an unpaired brace: write {{{{ or }}}} for a literal brace")]
    UnbalancedBrace,
    /// Invalid path, such as `{}` or `{a..b}`.
    #[error("has {0:?}, which is not a placeholder: write one like {{booking.date}}")]
    InvalidPath(String),
}

impl PlaceholderText {
    /// Parses a text such as `Hello {submission.answers.name}`, with at most as many characters as
    /// WhatsApp allows.
    ///
    /// # Errors
    /// [`InvalidPlaceholderText`] if the text is empty, too long, or has an invalid placeholder.
    pub fn parse(text: &str) -> Result<Self, InvalidPlaceholderText> {
        Self::parse_with_limit(text, TEXT_CHARS_MAX)
    }

    /// Parses a text with at most `max_chars` characters.
    ///
    /// # Errors
    /// [`InvalidPlaceholderText`] if the text is empty, too long, or has an invalid placeholder.
    pub fn parse_with_limit(text: &str, max_chars: usize) -> Result<Self, InvalidPlaceholderText> {
        let length = text.chars().count();
        if text.trim().is_empty() {
            return Err(InvalidPlaceholderText::Empty);
        }
        if length > max_chars {
            return Err(InvalidPlaceholderText::TooLong(length, max_chars));
        }
        let (mut segments, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let inner = from
                    .strip_prefix('{')
                    .and_then(|inner| inner.split_once('}'));
                let (path, after) = inner.ok_or(InvalidPlaceholderText::UnbalancedBrace)?;
                let names: Vec<String> = path.split('.').map(str::to_owned).collect();
                let is_invalid = |name: &String| name.is_empty() || name.contains(['{', ' ']);
                if names.iter().any(is_invalid) {
                    return Err(InvalidPlaceholderText::InvalidPath(format!("{{{path}}}")));
                }
                if !plain.is_empty() {
                    segments.push(Segment::Text(std::mem::take(&mut plain)));
                }
                segments.push(Segment::Placeholder(names));
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            segments.push(Segment::Text(plain));
        }
        Ok(Self(segments))
    }

    /// Returns the placeholders, each as a path into `data`.
    pub fn placeholders(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Placeholder(path) => Some(path.as_slice()),
            Segment::Text(_) => None,
        })
    }

    /// Fills the placeholders with the values of `data`.
    #[must_use]
    pub fn render(&self, data: &Value) -> String {
        let mut text = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Text(plain) => text.push_str(plain),
                Segment::Placeholder(path) => {
                    let found = path.iter().try_fold(data, |value, name| value.get(name));
                    text.push_str(&found.map(display_value).unwrap_or_default());
                }
            }
        }
        text
    }
}

/// Returns a value as readable text: nothing for null, the items of a list with commas.
pub(crate) fn display_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(display_value).collect();
            items.join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn placeholder_text(text: &str) -> PlaceholderText {
        PlaceholderText::parse(text).unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_missing_values_are_empty() {
        let data = json!({
            "answers": {"name": "Ann", "count": 2, "days": ["mon", "tue"], "none": null,
                "braces": "{booking.date}"},
            "booking": {"date": "2027-01-04", "time": "09:00"},
        });
        for (text, expected) in [
            (
                "Hello {answers.name}: {booking.date}!",
                "Hello Ann: 2027-01-04!",
            ),
            ("{answers.count} on {answers.days}", "2 on mon, tue"),
            ("[{answers.none}{answers.gone}{booking.a.b}]", "[]"),
            ("{{{booking.time}}} {{x}}", "{09:00} {x}"),
            // Braces in answers are not expanded.
            ("{answers.braces}", "{booking.date}"),
        ] {
            assert_eq!(placeholder_text(text).render(&data), expected, "{text}");
        }
    }

    #[test]
    fn invalid_placeholder_text_is_rejected() {
        for (text, why) in [
            ("", "is empty"),
            (" ", "is empty"),
            ("a { b", "an unpaired brace"),
            ("a } b", "an unpaired brace"),
            ("{}", "not a placeholder"),
            ("{a..b}", "not a placeholder"),
            ("{a b}", "not a placeholder"),
        ] {
            let error = PlaceholderText::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(PlaceholderText::parse(&"é".repeat(4096)).is_ok());
        let too_long = PlaceholderText::parse(&"é".repeat(4097));
        assert_eq!(too_long, Err(InvalidPlaceholderText::TooLong(4097, 4096)));
        let text = placeholder_text("{a.b} {c} {{d}}");
        let placeholders = text.placeholders().map(|placeholder| placeholder.join("."));
        assert_eq!(placeholders.collect::<Vec<_>>(), ["a.b", "c"]);
    }
}
