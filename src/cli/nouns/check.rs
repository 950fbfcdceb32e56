//! `flowgate check`: what must hold across all tables, told row by row.

use serde_json::Value;

/// One row of the answer, as a line: something that does not hold, or the sum.
#[must_use]
pub fn line(row: &Value) -> String {
    let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default();
    match row.get("rows").and_then(Value::as_u64) {
        Some(rows) if row.get("found").and_then(Value::as_u64) == Some(0) => {
            format!("{rows} rows looked at: all is well")
        }
        Some(rows) => format!("{rows} rows looked at"),
        None => format!("{}: {}", text("invariant"), text("place")),
    }
}
