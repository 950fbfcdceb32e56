//! Formats the output of `flowgate check`, the integrity check.

use serde_json::Value;

/// Formats one row of the response as a line: a violated invariant, or the summary.
#[must_use]
pub fn format_row(row: &Value) -> String {
    let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default();
    match row.get("rows").and_then(Value::as_u64) {
        Some(rows) if row.get("violations").and_then(Value::as_u64) == Some(0) => {
            format!("{rows} rows checked: no violations")
        }
        Some(rows) => format!("{rows} rows checked"),
        None => format!("{}: {}", text("invariant"), text("location")),
    }
}
