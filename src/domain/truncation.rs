//! Shortens texts of unlimited length: for screens, messages, errors and stored rows.

use std::borrow::Cow;

/// Character at the end of a shortened text.
const MARK: &str = "…";

/// Maximum characters of an unknown name in an error.
const NAME_CHARS_MAX: usize = 64;

/// Returns `text` in at most `max_chars` characters. A shortened text ends with `…`.
pub(crate) fn truncate_chars(text: &str, max_chars: usize) -> Cow<'_, str> {
    if text.chars().count() <= max_chars {
        return text.into();
    }
    let head: String = text.chars().take(max_chars.saturating_sub(1)).collect();
    (head + MARK).into()
}

/// Returns `text` in at most `max_bytes` bytes. A shortened text ends with `…`.
pub(crate) fn truncate_bytes(text: &str, max_bytes: usize) -> Box<str> {
    if text.len() <= max_bytes {
        return text.into();
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub(MARK.len()));
    format!("{}{MARK}", text.get(..end).unwrap_or_default()).into()
}

/// Returns the first 64 characters of an unknown name, because the length of such a name has no
/// limit.
pub(crate) fn truncate_name(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}{MARK}", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_longer_text_is_truncated() {
        let text = "é".repeat(8);
        assert_eq!(truncate_chars(&text, 8), text);
        assert_eq!(truncate_chars(&text, 7), "éééééé…");
        assert_eq!(&*truncate_bytes(&text, 16), text);
        assert_eq!(&*truncate_bytes(&text, 15), "éééééé…");
        assert_eq!(&*truncate_bytes(&text, 14), "ééééé…", "between characters");
        let name = "é".repeat(64);
        assert_eq!(truncate_name(&name), name);
        assert_eq!(truncate_name(&format!("{name}é")), format!("{name}…"));
    }
}
