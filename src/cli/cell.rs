//! Formats one value of a row for people.

use jiff::tz::TimeZone;
use serde_json::Value;

/// Formats a value as the text of one cell, with times in `zone`.
pub(super) fn format_cell(value: &Value, zone: &TimeZone) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::String(text) => {
            format_timestamp(text, zone).unwrap_or_else(|| replace_control_chars(text))
        }
        other => replace_control_chars(&other.to_string()),
    }
}

/// Formats `2026-11-24T08:00:00.123Z` as `2026-11-24 09:00:00 CET`, or `2026-11-24 08:00:00Z` in
/// UTC. Only scripts get the milliseconds. Returns `None` for any other text.
fn format_timestamp(text: &str, zone: &TimeZone) -> Option<String> {
    let (seconds, fraction) = text.split_once('.')?;
    if fraction.len() != 4 || !fraction.ends_with('Z') {
        return None;
    }
    let at = text.parse::<jiff::Timestamp>().ok()?;
    // A machine without a time zone counts as UTC.
    if zone.is_unknown() || *zone == TimeZone::UTC || zone.iana_name() == Some("Etc/UTC") {
        return Some(format!("{}Z", seconds.replace('T', " ")));
    }
    let at = at.to_zoned_datetime(zone.clone());
    Some(at.strftime("%Y-%m-%d %H:%M:%S %Z").to_string())
}

/// Length of `2026-11-24T08:00:00.123Z`.
const TIMESTAMP_BYTES: usize = 24;

/// Formats each time in a text like [`format_cell`].
pub(super) fn format_times(text: &str, zone: &TimeZone) -> String {
    let (mut formatted, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let candidate = rest.split_at_checked(TIMESTAMP_BYTES);
        let time =
            candidate.and_then(|(time, behind)| Some((format_timestamp(time, zone)?, behind)));
        if let Some((time, behind)) = time {
            formatted.push_str(&time);
            rest = behind;
        } else {
            formatted.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    formatted
}

/// Replaces control characters. Without this, text that a customer typed could control the terminal
/// of an admin.
pub(super) fn replace_control_chars(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cell_replaces_control_characters() {
        let cell = format_cell(&json!("a\u{1b}[2Jb\nc"), &TimeZone::UTC);
        assert_eq!(cell, "a\u{fffd}[2Jb\u{fffd}c");
    }

    #[test]
    fn times_in_a_text_are_shown_in_the_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let text = "a gap since 2026-11-24T08:00:00.123Z: müde, 2026-11-24T08:00Z";
        assert_eq!(
            format_times(text, &zone),
            "a gap since 2026-11-24 09:00:00 CET: müde, 2026-11-24T08:00Z"
        );
    }

    #[test]
    fn time_is_shown_in_its_zone() {
        let time = |zone: &str| {
            let zone = TimeZone::get(zone).unwrap();
            format_cell(&json!("2026-11-24T08:00:00.123Z"), &zone)
        };
        assert_eq!(time("UTC"), "2026-11-24 08:00:00Z");
        assert_eq!(time("Europe/Berlin"), "2026-11-24 09:00:00 CET");
        assert_eq!(time("America/Sao_Paulo"), "2026-11-24 05:00:00 -03");
        let unknown = format_cell(&json!("2026-11-24T08:00:00.123Z"), &TimeZone::unknown());
        assert_eq!(unknown, "2026-11-24 08:00:00Z");
    }
}
