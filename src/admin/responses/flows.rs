//! Defines the rows of flows: their config, their endpoint health, flow errors, and Meta's events.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::stored_json;
use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::health::assessment::{Severity, assess};
use crate::domain::health::meta_event::ActiveEvent;
use crate::domain::health::window::WindowStats;
use crate::domain::ids::{FlowName, FlowToken};
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::{Millis, Timestamp};

/// Response row of a flow of the config.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FlowRow {
    name: FlowName,
    path: String,
    encrypted: bool,
    /// Screen names in order. Empty if the flow accepts all screens.
    screens: Vec<String>,
}

impl From<&Flow> for FlowRow {
    fn from(flow: &Flow) -> Self {
        Self {
            name: flow.name.clone(),
            path: flow.path.clone(),
            encrypted: flow.encryption == EncryptionMode::Required,
            screens: flow
                .screens
                .iter()
                .map(|screen| screen.name.clone())
                .collect(),
        }
    }
}

/// Flow error: an error notification of a client, or a request that the config can't serve.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FlowErrorRow {
    at: Timestamp,
    flow: FlowName,
    screen: Option<Box<str>>,
    flow_token: Option<FlowToken>,
    error: Box<str>,
    message: Box<str>,
}

impl From<FlowError> for FlowErrorRow {
    fn from(flow_error: FlowError) -> Self {
        let FlowError {
            received_at: at,
            flow,
            screen,
            flow_token,
            code: error,
            message,
        } = flow_error;
        Self {
            at,
            flow,
            screen,
            flow_token,
            error,
            message,
        }
    }
}

/// Endpoint health of one flow. The statistics are `None` or empty if no server runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndpointHealthRow {
    /// Always `endpoint`, which distinguishes these rows from [`MetaEventRow`].
    source: &'static str,
    flow: FlowName,
    /// Severity: `ok`, `warning` or `alert`. `None` if no server runs.
    severity: Option<Severity>,
    /// Problems of the endpoint, one text each.
    findings: Vec<String>,
    /// Suggestion for the operator, in one sentence.
    suggestion: String,
    /// Length of the health window in minutes. Availability covers only the last 10 minutes.
    minutes: u64,
    requests: Option<u32>,
    errors: Option<u32>,
    /// Error rate in percent. `None` if there were no requests.
    error_rate: Option<f64>,
    errors_by_kind: BTreeMap<&'static str, u32>,
    /// Number of unverified requests by kind. They came from Meta or from a stranger, and no other
    /// number includes them.
    unverified_by_kind: BTreeMap<&'static str, u32>,
    p50_ms: Option<u64>,
    p90_ms: Option<u64>,
    /// Availability in percent. `None` if there were no requests.
    availability: Option<f64>,
    /// Number of flow errors in the last hour.
    flow_errors: u64,
}

impl EndpointHealthRow {
    /// Creates the row of one flow. The statistics are `None` if no server runs.
    pub(crate) fn new(
        flow: FlowName,
        stats: Option<&WindowStats>,
        minutes: u64,
        flow_errors: u64,
    ) -> Self {
        let assessment = stats.map(assess);
        Self {
            source: "endpoint",
            flow,
            severity: assessment.as_ref().map(|assessment| assessment.severity),
            findings: assessment.as_ref().map(|assessment| assessment.findings.clone()).unwrap_or_default(),
            suggestion: assessment.map_or_else(
                || {
                    "no server runs on this data file, and only a running server has these statistics: start it with `flowgate serve`"
                        .to_owned()
                },
                |assessment| assessment.suggestion,
            ),
            minutes,
            requests: stats.map(|stats| stats.requests),
            errors: stats.map(WindowStats::error_count),
            error_rate: stats.and_then(WindowStats::error_rate).map(rounded),
            errors_by_kind: stats.map(|stats| stats.errors.clone()).unwrap_or_default(),
            unverified_by_kind: stats.map(|stats| stats.unverified.clone()).unwrap_or_default(),
            p50_ms: stats.and_then(|stats| stats.p50).map(Millis::get),
            p90_ms: stats.and_then(|stats| stats.p90).map(Millis::get),
            availability: stats.and_then(WindowStats::availability).map(rounded),
            flow_errors,
        }
    }
}

/// Rounds to two decimal places, as Meta writes percentages.
fn rounded(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

/// Active event of Meta's monitoring.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MetaEventRow {
    /// Always `meta`, which distinguishes these rows from [`EndpointHealthRow`].
    source: &'static str,
    /// Meta's ID of the flow.
    flow_id: Box<str>,
    event: Box<str>,
    /// Severity: `ok`, `warning` or `alert`.
    severity: Severity,
    /// State of the alert, for example `ACTIVATED`, or status of the flow.
    state: Option<String>,
    /// Time of the event, in UTC.
    at: Timestamp,
    received_at: Timestamp,
    threshold: Option<f64>,
    message: Option<String>,
    /// Suggestion for the operator, in one sentence.
    suggestion: &'static str,
    /// Event as received.
    value: Value,
}

impl From<ActiveEvent> for MetaEventRow {
    fn from(event: ActiveEvent) -> Self {
        Self {
            source: "meta",
            severity: event.severity(),
            state: event.state().map(str::to_owned),
            at: event.event.occurred_at(),
            received_at: event.event.received_at,
            threshold: event.parsed.threshold,
            suggestion: suggestion_for(&event),
            value: stored_json(&event.event.payload),
            message: event.parsed.message,
            flow_id: event.event.meta_flow_id,
            event: event.event.name,
        }
    }
}

/// Returns the suggestion for an event.
fn suggestion_for(event: &ActiveEvent) -> &'static str {
    match (event.parsed.new_status.as_deref(), &*event.event.name) {
        (Some("THROTTLED"), _) => {
            "fix the causes named in the alerts: Meta limits the flow to ten new messages an hour until its statistics \
             are good again"
        }
        (Some("BLOCKED"), _) => {
            "fix the causes named in the alerts now: the flow can't be sent or opened until its statistics are good again"
        }
        (_, "FLOW_VERSION_EXPIRY_WARNING") => {
            "publish the flow again with a newer version of Flow JSON"
        }
        (_, "CLIENT_ERROR_RATE") if event.is_alert() => {
            "check the errors of clients with `flowgate flows errors`, and the Flow JSON with `flowgate flows check FLOW.json`"
        }
        _ if event.is_alert() => {
            "compare it with the statistics of this server; if they show no problem, check the reverse proxy"
        }
        _ => "nothing to do",
    }
}
