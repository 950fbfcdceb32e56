//! Formats counts in the texts of warnings.

/// Formats a count with the text for one or the text for several.
pub(super) fn pluralize(count: u64, singular: &str, plural: &str) -> String {
    format!("{count} {}", if count == 1 { singular } else { plural })
}
