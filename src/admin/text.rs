//! Formats counts and lists in warnings and errors.

/// Formats a count with the text for one or the text for several.
pub(super) fn pluralize(count: u64, singular: &str, plural: &str) -> String {
    format!("{count} {}", if count == 1 { singular } else { plural })
}

/// Joins the items of a list with commas. Returns `none` for an empty list.
pub(super) fn join_or_none(items: &[impl AsRef<str>]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
