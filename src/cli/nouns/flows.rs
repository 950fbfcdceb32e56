//! `flowgate flows`: the flows of the config, and how they do.

mod check;

use std::fmt::Write;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Asked;
use crate::admin::{Filter, Question};
use crate::cli::args::{OfFlow, Window};
use crate::cli::show::{Look, short};
use crate::domain::time::Timestamp;

pub use check::{Check, CheckError};

/// Flows: the config's, and how they do
#[derive(Debug, Args)]
pub struct Flows {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists those of the config
    List,
    Check(Check),
    /// Lists what clients did not like about our answers, newest first
    Errors {
        #[command(flatten)]
        window: Window,
        #[command(flatten)]
        of: OfFlow,
    },
    /// Holds the endpoints' figures against Meta's thresholds, and shows what Meta said last
    Health {
        #[command(flatten)]
        of: OfFlow,
    },
}

/// What it comes to.
#[derive(Debug)]
pub enum Does {
    /// A question to the server, or to its file.
    Asks(Asked),
    /// A look at a Flow JSON and the config.
    Checks(Check),
}

impl Flows {
    /// What is to be done.
    #[must_use]
    pub fn does(self, now: Timestamp) -> Does {
        Does::Asks(match self.verb.unwrap_or(Verb::List) {
            Verb::Check(check) => return Does::Checks(check),
            Verb::List => {
                let columns = &[("NAME", "name"), ("PATH", "path"), ("ENCRYPTED", "encrypted"), ("SCREENS", "screens")];
                Asked { question: Question::Flows, look: Look::Table { columns, empty: "no flows in the config" } }
            }
            Verb::Errors { window, of } => {
                let filter = Filter { flow: of.flow, ..window.filter(now) };
                let columns = &[
                    ("AT", "at"),
                    ("FLOW", "flow"),
                    ("SCREEN", "screen"),
                    ("ERROR", "error"),
                    ("MESSAGE", "message"),
                    ("TOKEN", "flow_token"),
                ];
                let look = Look::Table { columns, empty: "no client has complained" };
                Asked { question: Question::FlowErrors(filter), look }
            }
            Verb::Health { of } => {
                let empty =
                    "no flow of the config is encrypted, and Meta said nothing: Meta watches encrypted flows only";
                Asked { question: Question::FlowHealth { flow: of.flow }, look: Look::Told { text: health, empty } }
            }
        })
    }
}

/// How one flow does, or one thing that Meta said, in a few lines.
fn health(row: &Value) -> String {
    let field = |name: &str| short(row.get(name).unwrap_or(&Value::Null));
    let mut text = String::new();
    let mut line = |indent: &str, line: &str| {
        // Writing into a text never fails.
        let _ = writeln!(text, "{indent}{line}");
    };
    if row.get("state").and_then(Value::as_str) == Some("unreadable") {
        return format!("{}  {}", mark(row), field("error"));
    }
    if row.get("source").and_then(Value::as_str) == Some("meta") {
        let state =
            row.get("state").and_then(Value::as_str).map(|_| format!(" {}", field("state"))).unwrap_or_default();
        let threshold = row.get("threshold").filter(|threshold| !threshold.is_null());
        let threshold = threshold.map(|_| format!(", threshold {}", field("threshold"))).unwrap_or_default();
        let (flow, event, at) = (field("flow_id"), field("event"), field("at"));
        line("", &format!("{}  Meta's flow {flow}: {event}{state}{threshold}, since {at}", mark(row)));
        if row.get("message").is_some_and(|message| !message.is_null()) {
            line("       ", &format!("Meta says: {}", field("message")));
        }
    } else {
        line("", &format!("{}  flow {}", mark(row), field("flow")));
        if row.get("requests").is_some_and(|requests| !requests.is_null()) {
            line("       ", &figures(row));
        }
        for finding in row.get("findings").and_then(Value::as_array).into_iter().flatten() {
            line("       ", &short(finding));
        }
        if let Some(kinds) = row.get("errors_by_kind").and_then(Value::as_object).filter(|kinds| !kinds.is_empty()) {
            let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            line("       ", &format!("errors: {}", kinds.join(", ")));
        }
        if row.get("complaints").and_then(Value::as_u64).is_some_and(|complaints| complaints > 0) {
            let complaints = field("complaints");
            line(
                "       ",
                &format!("errors between phones and it in the last hour: {complaints}, see `flowgate flows errors`"),
            );
        }
    }
    line("       → ", &field("advice"));
    text.truncate(text.trim_end().len());
    text
}

/// The verdict, as wide as the widest.
fn mark(row: &Value) -> String {
    let verdict = row.get("verdict").and_then(Value::as_str).unwrap_or("-");
    format!("{:<5}", if verdict == "alert" { "ALERT" } else { verdict })
}

fn figures(row: &Value) -> String {
    let field = |name: &str, unit: &str| match row.get(name) {
        Some(value) if !value.is_null() => format!("{} {unit}", short(value)),
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
    fn a_flow_in_trouble_is_told_in_a_few_lines() {
        let row = json!({"source": "endpoint", "flow": "home", "verdict": "alert", "minutes": 30, "requests": 8,
            "errors": 1, "error_rate": 12.5, "errors_by_kind": {"bad_signature": 1}, "p50_ms": 3, "p90_ms": 4,
            "availability": null, "complaints": 2, "findings": ["error rate of 12.5 % is over"], "advice": "mend it"});
        insta::assert_snapshot!(health(&row), @r"
        ALERT  flow home
               last 30 min: 8 requests, 1 errors (12.5 %); p50 3 ms, p90 4 ms; available -
               error rate of 12.5 % is over
               errors: 1 bad_signature
               errors between phones and it in the last hour: 2, see `flowgate flows errors`
               → mend it
        ");
        let stopped =
            json!({"source": "endpoint", "flow": "home", "verdict": null, "requests": null, "advice": "serve"});
        insta::assert_snapshot!(health(&stopped), @r"
        -      flow home
               → serve
        ");
    }

    #[test]
    fn a_row_that_can_not_be_read_is_told_as_that() {
        let row = json!({"id": 1, "state": "unreadable", "error": "row 1 of table complaints is cut off"});
        assert_eq!(health(&row), "-      row 1 of table complaints is cut off");
    }

    #[test]
    fn what_meta_said_is_told_with_its_own_words_but_does_not_steer_the_terminal() {
        let row = json!({"source": "meta", "flow_id": "17", "event": "ENDPOINT_LATENCY", "verdict": "alert",
            "state": "ACTIVATED", "threshold": 5000, "at": "2026-11-24T08:00:00.000Z", "message": "slow\u{1b}[2J",
            "advice": "mend it"});
        insta::assert_snapshot!(health(&row), @"
        ALERT  Meta's flow 17: ENDPOINT_LATENCY ACTIVATED, threshold 5000, since 2026-11-24 08:00:00Z
               Meta says: slow\u{fffd}[2J
               → mend it
        ");
    }
}
