//! Texts in URLs: encoded values, and paths that have the form of a template.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that are encoded in a value: all but the unreserved ones (*RFC 3986*, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Field of a path: its name in the template, and its segment as it is written in the path.
pub type PathField<'a> = (&'static str, &'a str);

/// Encodes a value for a query or a segment of a path.
#[must_use]
pub fn encode_value(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

/// Returns the name of the field that a segment of a template stands for, as in `{id}`.
#[must_use]
pub fn field_of(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Returns the fields of a path. Returns `None` if the path does not have the form of the template.
#[must_use]
pub fn match_path<'a>(template: &'static str, path: &'a str) -> Option<Vec<PathField<'a>>> {
    let (mut template, mut segments) = (template.split('/'), path.split('/'));
    let mut fields = Vec::new();
    loop {
        match (template.next(), segments.next()) {
            (None, None) => return Some(fields),
            (Some(expected), Some(segment)) => match field_of(expected) {
                Some(field) if !segment.is_empty() => fields.push((field, segment)),
                None if expected == segment => {}
                _ => return None,
            },
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_has_the_form_of_a_template() {
        let matched = |path| match_path("/leads/{id}/close", path);
        assert_eq!(matched("/leads/a%20b/close"), Some(vec![("id", "a%20b")]));
        for other in [
            "/leads/7",
            "/leads//close",
            "/leads/7/close/",
            "/jobs/7/close",
            "",
        ] {
            assert_eq!(matched(other), None, "{other}");
        }
    }

    #[test]
    fn reserved_characters_are_encoded() {
        assert_eq!(encode_value("a-b.c_d~e f&/é"), "a-b.c_d~e%20f%26%2F%C3%A9");
    }
}
