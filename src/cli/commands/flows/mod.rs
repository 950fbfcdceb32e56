//! Defines the command `flowgate flows`, which lists the flows of the config, their errors and the
//! health of their endpoints.

mod check;

use std::fmt::Write;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::AdminCall;
use crate::admin::{AdminRequest, ListFilter};
use crate::cli::args::{FlowFilter, ListOptions};
use crate::cli::output::{OutputFormat, format_cell};
use crate::domain::time::Timestamp;

pub use check::{FlowJsonCheck, FlowJsonCheckError};

/// List flows, their errors and their endpoint health, and check a Flow JSON
#[derive(Debug, Args)]
pub struct FlowsCommand {
    #[command(subcommand)]
    subcommand: Option<FlowsSubcommand>,
}

#[derive(Debug, Subcommand)]
enum FlowsSubcommand {
    /// List flows of the config
    List,
    Check(FlowJsonCheck),
    /// List flow errors, newest first: error notifications from clients, and requests that the
    /// config can't serve
    Errors {
        #[command(flatten)]
        options: ListOptions,
        #[command(flatten)]
        flow_filter: FlowFilter,
    },
    /// Compare the endpoint health of encrypted flows with Meta's thresholds, and show the latest
    /// messages from Meta
    Health {
        #[command(flatten)]
        flow_filter: FlowFilter,
    },
}

/// Action of a `flows` subcommand.
#[derive(Debug)]
pub enum FlowsAction {
    /// An admin request, for the server or its data file.
    Call(AdminCall),
    /// A check of a Flow JSON against the config.
    CheckFlowJson(FlowJsonCheck),
}

impl FlowsCommand {
    /// Converts the arguments to an action. A relative `--since` counts back from `now`.
    #[must_use]
    pub fn into_action(self, now: Timestamp) -> FlowsAction {
        FlowsAction::Call(match self.subcommand.unwrap_or(FlowsSubcommand::List) {
            FlowsSubcommand::Check(check) => return FlowsAction::CheckFlowJson(check),
            FlowsSubcommand::List => {
                let columns = &[
                    ("NAME", "name"),
                    ("PATH", "path"),
                    ("ENCRYPTED", "encrypted"),
                    ("SCREENS", "screens"),
                ];
                AdminCall {
                    request: AdminRequest::Flows,
                    format: OutputFormat::Table {
                        columns,
                        empty: "no flows in the config",
                    },
                }
            }
            FlowsSubcommand::Errors {
                options,
                flow_filter,
            } => {
                let filter = ListFilter {
                    flow: flow_filter.flow,
                    ..options.to_filter(now)
                };
                let columns = &[
                    ("AT", "at"),
                    ("FLOW", "flow"),
                    ("SCREEN", "screen"),
                    ("ERROR", "error"),
                    ("MESSAGE", "message"),
                    ("TOKEN", "flow_token"),
                ];
                let format = OutputFormat::Table {
                    columns,
                    empty: "no flow errors",
                };
                AdminCall {
                    request: AdminRequest::FlowErrors(filter),
                    format,
                }
            }
            FlowsSubcommand::Health { flow_filter } => {
                let empty = "no encrypted flow in the config, and no health event from Meta: Meta monitors only encrypted flows";
                AdminCall {
                    request: AdminRequest::FlowHealth {
                        flow: flow_filter.flow,
                    },
                    format: OutputFormat::Text {
                        text: format_health,
                        empty,
                    },
                }
            }
        })
    }
}

/// Formats the health of one flow, or one health event of Meta, in a few lines.
fn format_health(row: &Value) -> String {
    let field = |name: &str| format_cell(row.get(name).unwrap_or(&Value::Null));
    let mut text = String::new();
    let mut line = |indent: &str, line: &str| {
        // Writing to a `String` never fails.
        let _ = writeln!(text, "{indent}{line}");
    };
    if row.get("state").and_then(Value::as_str) == Some("unreadable") {
        return format!("{}  {}", format_severity(row), field("error"));
    }
    if row.get("source").and_then(Value::as_str) == Some("meta") {
        let state = row
            .get("state")
            .and_then(Value::as_str)
            .map(|_| format!(" {}", field("state")))
            .unwrap_or_default();
        let threshold = row
            .get("threshold")
            .filter(|threshold| !threshold.is_null());
        let threshold = threshold
            .map(|_| format!(", threshold {}", field("threshold")))
            .unwrap_or_default();
        let (flow, event, at) = (field("flow_id"), field("event"), field("at"));
        line(
            "",
            &format!(
                "{}  Meta's flow {flow}: {event}{state}{threshold}, since {at}",
                format_severity(row)
            ),
        );
        if row.get("message").is_some_and(|message| !message.is_null()) {
            line("       ", &format!("Meta says: {}", field("message")));
        }
    } else {
        line(
            "",
            &format!("{}  flow {}", format_severity(row), field("flow")),
        );
        if row
            .get("requests")
            .is_some_and(|requests| !requests.is_null())
        {
            line("       ", &format_stats(row));
        }
        for finding in row
            .get("findings")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            line("       ", &format_cell(finding));
        }
        if let Some(kinds) = row
            .get("errors_by_kind")
            .and_then(Value::as_object)
            .filter(|kinds| !kinds.is_empty())
        {
            let kinds: Vec<String> = kinds
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            line("       ", &format!("errors: {}", kinds.join(", ")));
        }
        if row
            .get("flow_errors")
            .and_then(Value::as_u64)
            .is_some_and(|flow_errors| flow_errors > 0)
        {
            let flow_errors = field("flow_errors");
            line(
                "       ",
                &format!(
                    "flow errors in the last hour: {flow_errors}, see `flowgate flows errors`"
                ),
            );
        }
    }
    line("       → ", &field("suggestion"));
    text.truncate(text.trim_end().len());
    text
}

/// Formats the severity of a row, padded to the width of the longest severity.
fn format_severity(row: &Value) -> String {
    let severity = row.get("severity").and_then(Value::as_str).unwrap_or("-");
    format!(
        "{:<5}",
        if severity == "alert" {
            "ALERT"
        } else {
            severity
        }
    )
}

fn format_stats(row: &Value) -> String {
    let field = |name: &str, unit: &str| match row.get(name) {
        Some(value) if !value.is_null() => format!("{} {unit}", format_cell(value)),
        _ => "-".to_owned(),
    };
    format!(
        "last {}: {}, {} ({}); p50 {}, p90 {}; available {}",
        field("minutes", "min"),
        field("requests", "requests"),
        field("errors", "errors"),
        field("error_rate", "%"),
        field("p50_ms", "ms"),
        field("p90_ms", "ms"),
        field("availability", "%")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failing_flow_is_formatted_in_a_few_lines() {
        let row = json!({"source": "endpoint", "flow": "home", "severity": "alert", "minutes": 30, "requests": 8,
            "errors": 1, "error_rate": 12.5, "errors_by_kind": {"bad_signature": 1}, "p50_ms": 3, "p90_ms": 4,
            "availability": null, "flow_errors": 2, "findings": ["error rate of 12.5 % is over"], "suggestion": "mend it"});
        insta::assert_snapshot!(format_health(&row), @r"
        ALERT  flow home
               last 30 min: 8 requests, 1 errors (12.5 %); p50 3 ms, p90 4 ms; available -
               error rate of 12.5 % is over
               errors: 1 bad_signature
               flow errors in the last hour: 2, see `flowgate flows errors`
               → mend it
        ");
        let stopped = json!({"source": "endpoint", "flow": "home", "severity": null, "requests": null, "suggestion": "serve"});
        insta::assert_snapshot!(format_health(&stopped), @r"
        -      flow home
               → serve
        ");
    }

    #[test]
    fn unreadable_row_shows_its_error() {
        let row = json!({"id": 1, "state": "unreadable", "error": "row 1 of table flow_errors is cut off"});
        assert_eq!(
            format_health(&row),
            "-      row 1 of table flow_errors is cut off"
        );
    }

    #[test]
    fn meta_message_is_shown_without_control_characters() {
        let row = json!({"source": "meta", "flow_id": "17", "event": "ENDPOINT_LATENCY", "severity": "alert",
            "state": "ACTIVATED", "threshold": 5000, "at": "2026-11-24T08:00:00.000Z", "message": "slow\u{1b}[2J",
            "suggestion": "mend it"});
        insta::assert_snapshot!(format_health(&row), @"
        ALERT  Meta's flow 17: ENDPOINT_LATENCY ACTIVATED, threshold 5000, since 2026-11-24 08:00:00Z
               Meta says: slow\u{fffd}[2J
               → mend it
        ");
    }
}
