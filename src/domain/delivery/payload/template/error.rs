//! Describes errors in templates by line and column.

use minijinja::ErrorKind;

/// Error in a template, or in its result for an event. The error contains no values of the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TemplateError {
    /// Line of the template, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Description of the error.
    pub message: String,
}

impl TemplateError {
    /// Creates an error at a byte offset of `text`.
    pub(super) fn at_offset(text: &str, offset: usize, message: String) -> Self {
        let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: last_line.chars().count() + 1,
            message,
        }
    }

    /// Converts an error of the template engine, with its position. The engine's whole text is not
    /// used, because it may contain values of the event.
    pub(super) fn from_engine(text: &str, error: &minijinja::Error) -> Self {
        let what = match (error.kind(), error.detail()) {
            (ErrorKind::OutOfFuel, _) => {
                "the template takes too long, or its result is too large".to_owned()
            }
            // The detail would contain the numbers.
            (_, Some(detail)) if detail.starts_with("unable to calculate") => {
                "this can't be calculated".to_owned()
            }
            (ErrorKind::SyntaxError | ErrorKind::BadSerialization, Some(detail)) => {
                detail.to_owned()
            }
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        let line = || byte_offset(text, error.line().unwrap_or(1), 1);
        let offset = error.range().map_or_else(line, |range| range.start);
        Self::at_offset(text, offset, what)
    }
}

/// Returns a description of a JSON error, without the position in the JSON text.
pub(super) fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text
        .split_once(" at line ")
        .map_or(text.as_str(), |(what, _)| what);
    format!("the result is not valid JSON: {what}")
}

/// Returns the byte offset of a line and a column. Both count from 1, columns in bytes.
pub(super) fn byte_offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    before + column.saturating_sub(1)
}
