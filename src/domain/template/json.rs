//! Where a JSON text stands, and how a value is written there so that the text stays JSON: between quotes as a part of the
//! text, elsewhere as a value of its own. Nothing that stands in a value can end a text or begin a field.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::message::shown;

/// How far a text has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Between two quotes.
    is_quoted: bool,
    /// Right behind a backslash: what comes next would get another meaning.
    pub(super) is_escaping: bool,
}

impl Cursor {
    /// Goes on over `text`.
    pub(super) fn pass(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.is_escaping => self.is_escaping = false,
                b'\\' if self.is_quoted => self.is_escaping = true,
                b'"' => self.is_quoted = !self.is_quoted,
                _ => {}
            }
        }
    }

    /// `value`, which is JSON, as it is to be written here.
    pub(super) fn fit(self, value: &str) -> Cow<'_, str> {
        if !self.is_quoted {
            return Cow::Borrowed(value);
        }
        // What is no JSON stays out.
        let value: Value = serde_json::from_str(value).unwrap_or_default();
        let text = Value::String(shown(&value)).to_string();
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
        Cow::Owned(inner.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Cursor {
        let mut cursor = Cursor::default();
        cursor.pass(text);
        cursor
    }

    #[test]
    fn it_knows_whether_it_is_in_a_text() {
        for (text, is_quoted) in [
            ("{\"a\": ", false),
            ("{\"a", true),
            ("\"\\\"", true),
            ("\"\\\\\"", false),
            ("\"é\\u00e9", true),
            ("", false),
        ] {
            assert_eq!(after(text).is_quoted, is_quoted, "{text}");
        }
        assert!(after("\"a\\").is_escaping && !after("\"a\\\\").is_escaping && !after("\\").is_escaping);
    }

    #[test]
    fn a_value_is_written_as_such_and_in_a_text_as_a_part_of_it() {
        let (outside, inside) = (after("{\"a\": "), after("{\"a\": \""));
        for (value, text) in [
            ("null", ""),
            ("7", "7"),
            (r#""a\"b\n""#, r#"a\"b\n"#),
            (r#"["a",1]"#, "a, 1"),
            (r#"{"a":"b"}"#, r#"{\"a\":\"b\"}"#),
        ] {
            assert_eq!(outside.fit(value), value);
            assert_eq!(inside.fit(value), text);
        }
    }
}
