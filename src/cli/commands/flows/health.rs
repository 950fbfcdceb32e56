//! Formats the output of `flowgate flows health`.

use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::{EndpointHealthRow, FlowHealthRow, MetaEventRow, QueryRow};
use crate::cli::cell::{format_cell, replace_control_chars};
use crate::domain::health::assessment::Severity;
use crate::domain::health::refusal_counters::format_counts;

/// Health of one flow, or one health event of Meta, in a few lines.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct HealthText(QueryRow<FlowHealthRow>);

impl fmt::Display for HealthText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut lines, suggestion) = match &self.0 {
            QueryRow::Row(FlowHealthRow::Endpoint(row)) => (endpoint_lines(row), &*row.suggestion),
            QueryRow::Row(FlowHealthRow::Meta(row)) => (event_lines(row), &*row.suggestion),
            QueryRow::Unreadable(row) => {
                return write!(f, "{}  {}", severity_text(None), cell(&row.error));
            }
        };
        lines.push(format!("→ {}", cell(suggestion)));
        f.write_str(&lines.join("\n       "))
    }
}

fn endpoint_lines(row: &EndpointHealthRow) -> Vec<String> {
    let severity = severity_text(row.severity);
    let mut lines = vec![format!("{severity}  flow {}", row.flow)];
    if let Some(requests) = row.requests {
        let with_unit = |value: Option<String>, unit: &str| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value} {unit}"))
        };
        lines.push(format!(
            "last {} min: {requests} requests, {} ({}); p50 {}, p90 {}; available {}",
            row.minutes,
            with_unit(row.errors.map(cell), "errors"),
            with_unit(row.error_rate.map(cell), "%"),
            with_unit(row.p50_ms.map(cell), "ms"),
            with_unit(row.p90_ms.map(cell), "ms"),
            with_unit(row.availability.map(cell), "%")
        ));
    }
    lines.extend(row.findings.iter().map(cell));
    if !row.errors_by_kind.is_empty() {
        lines.push(format!("errors: {}", format_counts(&row.errors_by_kind)));
    }
    if row.flow_errors > 0 {
        lines.push(format!(
            "flow errors in the last hour: {}, see `flowgate flows errors`",
            row.flow_errors
        ));
    }
    lines
}

fn event_lines(row: &MetaEventRow) -> Vec<String> {
    let state = row.state.as_ref().map(|state| format!(" {}", cell(state)));
    let threshold = row.threshold;
    let threshold = threshold.map(|value| format!(", threshold {}", cell(value)));
    let event = format!(
        "{}  Meta's flow {}: {}{}{}, since {}",
        severity_text(Some(row.severity)),
        cell(&row.flow_id),
        cell(&row.event),
        state.unwrap_or_default(),
        threshold.unwrap_or_default(),
        cell(row.at)
    );
    let message = row.message.as_ref();
    let message = message.map(|message| format!("Meta says: {}", cell(message)));
    [event].into_iter().chain(message).collect()
}

/// Formats a severity, padded to the width of the longest one that is common.
fn severity_text(severity: Option<Severity>) -> String {
    let name = match severity {
        Some(Severity::Alert) => "ALERT",
        severity => severity.map_or("-", Severity::as_str),
    };
    format!("{name:<5}")
}

fn cell(value: impl Serialize) -> String {
    match json!(value) {
        // The writer of the output formats times.
        Value::String(text) => replace_control_chars(&text),
        other => format_cell(&other, &TimeZone::UTC),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_health(row: &Value) -> String {
        HealthText::deserialize(row).unwrap().to_string()
    }

    #[test]
    fn failing_flow_is_formatted_in_a_few_lines() {
        let row = json!({"source": "endpoint", "flow": "home", "severity": "alert", "minutes": 30, "requests": 8,
            "errors": 1, "error_rate": 12.5, "errors_by_kind": {"bad_signature": 1}, "unverified_by_kind": {}, "p50_ms": 3,
            "p90_ms": 4, "availability": null, "flow_errors": 2, "findings": ["error rate of 12.5 % is over"], "suggestion": "mend it"});
        insta::assert_snapshot!(format_health(&row), @r"
        ALERT  flow home
               last 30 min: 8 requests, 1 errors (12.5 %); p50 3 ms, p90 4 ms; available -
               error rate of 12.5 % is over
               errors: 1 bad_signature
               flow errors in the last hour: 2, see `flowgate flows errors`
               → mend it
        ");
        let stopped = json!({"source": "endpoint", "flow": "home", "severity": null, "minutes": 30, "requests": null,
            "errors_by_kind": {}, "unverified_by_kind": {}, "flow_errors": 0, "findings": [], "suggestion": "serve"});
        insta::assert_snapshot!(format_health(&stopped), @r"
        -      flow home
               → serve
        ");
    }

    #[test]
    fn unreadable_row_shows_its_error() {
        let row = json!({"id": 1, "state": "unreadable", "error": "row 1 of table flow_errors is cut off"});
        let expected = "-      row 1 of table flow_errors is cut off";
        assert_eq!(format_health(&row), expected);
    }

    #[test]
    fn meta_message_is_shown_without_control_characters() {
        let row = json!({"source": "meta", "flow_id": "17", "event": "ENDPOINT_LATENCY", "severity": "alert",
            "state": "ACTIVATED", "threshold": 5000.5, "at": "2026-11-24T08:00:00.000Z",
            "received_at": "2026-11-24T08:00:01.000Z", "message": "slow\u{1b}[2J", "value": {}, "suggestion": "mend it"});
        insta::assert_snapshot!(format_health(&row), @"
        ALERT  Meta's flow 17: ENDPOINT_LATENCY ACTIVATED, threshold 5000.5, since 2026-11-24T08:00:00.000Z
               Meta says: slow\u{fffd}[2J
               → mend it
        ");
    }
}
