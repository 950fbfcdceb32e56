//! Tracks the position in a JSON text and formats a value for that position: text between quotes, a
//! JSON value elsewhere.
//!
//! A formatted value can't close a string or begin a field.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::delivery::message::display_value;

/// State of the JSON text up to the current position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JsonCursor {
    /// `true` between two quotes.
    is_quoted: bool,
    /// `true` directly after a backslash, which would change the meaning of the next character.
    pub(crate) is_escaping: bool,
}

impl JsonCursor {
    /// Advances the cursor over `text`.
    pub(crate) fn advance(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.is_escaping => self.is_escaping = false,
                b'\\' if self.is_quoted => self.is_escaping = true,
                b'"' => self.is_quoted = !self.is_quoted,
                _ => {}
            }
        }
    }

    /// Formats `value`, a JSON text, for the current position.
    pub(crate) fn format_value(self, value: &str) -> Cow<'_, str> {
        if !self.is_quoted {
            return Cow::Borrowed(value);
        }
        // Invalid JSON is not inserted.
        let value: Value = serde_json::from_str(value).unwrap_or_default();
        let text = Value::String(display_value(&value)).to_string();
        let inner = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or_default();
        Cow::Owned(inner.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor_after(text: &str) -> JsonCursor {
        let mut cursor = JsonCursor::default();
        cursor.advance(text);
        cursor
    }

    #[test]
    fn cursor_tracks_quotes() {
        for (text, is_quoted) in [
            ("{\"a\": ", false),
            ("{\"a", true),
            ("\"\\\"", true),
            ("\"\\\\\"", false),
            ("\"é\\u00e9", true),
            ("", false),
        ] {
            assert_eq!(cursor_after(text).is_quoted, is_quoted, "{text}");
        }
        for (text, is_escaping) in [("\"a\\", true), ("\"a\\\\", false), ("\\", false)] {
            assert_eq!(cursor_after(text).is_escaping, is_escaping, "{text}");
        }
    }

    #[test]
    fn value_is_formatted_by_position() {
        let (outside, inside) = (cursor_after("{\"a\": "), cursor_after("{\"a\": \""));
        for (value, text) in [
            ("null", ""),
            ("7", "7"),
            (r#""a\"b\n""#, r#"a\"b\n"#),
            (r#"["a",1]"#, "a, 1"),
            (r#"{"a":"b"}"#, r#"{\"a\":\"b\"}"#),
        ] {
            assert_eq!(outside.format_value(value), value);
            assert_eq!(inside.format_value(value), text);
        }
    }
}
