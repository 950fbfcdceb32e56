//! Defines the rows of flows: their config, their endpoint health, flow errors, and Meta's events.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stored_json;
use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::health::assessment::{Severity, assess};
use crate::domain::health::meta_event::ActiveEvent;
use crate::domain::health::window::{WINDOW_MINUTES, WindowStats};
use crate::domain::ids::{FlowName, FlowToken};
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::{Millis, Timestamp};

/// Suggestion that replaces the statistics if no server runs.
const NO_SERVER: &str = "no server runs on this data file, and only a running server has these statistics: start it with `flowgate serve`";

/// Response row of a flow of the config.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FlowRow {
    pub(crate) name: FlowName,
    pub(crate) path: String,
    pub(crate) encrypted: bool,
    /// Screen names in order. Empty if the flow accepts all screens.
    pub(crate) screens: Vec<String>,
}

impl From<&Flow> for FlowRow {
    fn from(flow: &Flow) -> Self {
        let screens = flow.screens.iter();
        Self {
            name: flow.name.clone(),
            path: flow.path.clone(),
            encrypted: flow.encryption == EncryptionMode::Required,
            screens: screens.map(|screen| screen.name.clone()).collect(),
        }
    }
}

/// Flow error: an error notification of a client, or a request that the config can't serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FlowErrorRow {
    pub(crate) at: Timestamp,
    pub(crate) flow: FlowName,
    pub(crate) screen: Option<Box<str>>,
    pub(crate) flow_token: Option<FlowToken>,
    pub(crate) error: Box<str>,
    pub(crate) message: Box<str>,
}

impl From<FlowError> for FlowErrorRow {
    fn from(flow_error: FlowError) -> Self {
        Self {
            at: flow_error.received_at,
            flow: flow_error.flow,
            screen: flow_error.screen,
            flow_token: flow_error.flow_token,
            error: flow_error.code,
            message: flow_error.message,
        }
    }
}

/// Row of `flowgate flows health`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub(crate) enum FlowHealthRow {
    /// Endpoint health of one flow.
    Endpoint(EndpointHealthRow),
    /// Active event of Meta's monitoring.
    Meta(MetaEventRow),
}

/// Endpoint health of one flow. The statistics are `None` or empty if no server runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EndpointHealthRow {
    pub(crate) flow: FlowName,
    /// Severity: `ok`, `warning` or `alert`. `None` if no server runs.
    pub(crate) severity: Option<Severity>,
    /// Problems of the endpoint, one text each.
    pub(crate) findings: Vec<String>,
    /// Suggestion for the operator, in one sentence.
    pub(crate) suggestion: String,
    /// Length of the health window in minutes. Availability covers only the last 10 minutes.
    pub(crate) minutes: u64,
    pub(crate) requests: Option<u32>,
    pub(crate) errors: Option<u32>,
    /// Error rate in percent. `None` if there were no requests.
    pub(crate) error_rate: Option<f64>,
    pub(crate) errors_by_kind: BTreeMap<Cow<'static, str>, u32>,
    /// Number of unverified requests by kind. They came from Meta or from a stranger, and no other
    /// number includes them.
    unverified_by_kind: BTreeMap<Cow<'static, str>, u32>,
    pub(crate) p50_ms: Option<u64>,
    pub(crate) p90_ms: Option<u64>,
    /// Availability in percent. `None` if there were no requests.
    pub(crate) availability: Option<f64>,
    /// Number of flow errors in the last hour.
    pub(crate) flow_errors: u64,
}

impl EndpointHealthRow {
    /// Creates the row of one flow. The statistics are `None` if no server runs.
    pub(crate) fn new(flow: FlowName, stats: Option<&WindowStats>, flow_errors: u64) -> Self {
        let assessment = stats.map(assess);
        let severity = assessment.as_ref().map(|assessment| assessment.severity);
        let (findings, suggestion) = match assessment {
            Some(assessment) => (assessment.findings, assessment.suggestion),
            None => (Vec::new(), NO_SERVER.to_owned()),
        };
        let by_kind = |counts: fn(&WindowStats) -> &BTreeMap<&'static str, u32>| {
            let counts = stats.into_iter().flat_map(counts);
            counts
                .map(|(kind, count)| (Cow::Borrowed(*kind), *count))
                .collect()
        };
        Self {
            flow,
            severity,
            findings,
            suggestion,
            minutes: WINDOW_MINUTES,
            requests: stats.map(|stats| stats.requests),
            errors: stats.map(WindowStats::error_count),
            error_rate: stats.and_then(WindowStats::error_rate).map(rounded),
            errors_by_kind: by_kind(|stats| &stats.errors),
            unverified_by_kind: by_kind(|stats| &stats.unverified),
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MetaEventRow {
    /// Meta's ID of the flow.
    pub(crate) flow_id: Box<str>,
    pub(crate) event: Box<str>,
    /// Severity: `ok`, `warning` or `alert`.
    pub(crate) severity: Severity,
    /// State of the alert, for example `ACTIVATED`, or status of the flow.
    pub(crate) state: Option<String>,
    /// Time of the event, in UTC.
    pub(crate) at: Timestamp,
    received_at: Timestamp,
    pub(crate) threshold: Option<f64>,
    pub(crate) message: Option<String>,
    /// Suggestion for the operator, in one sentence.
    pub(crate) suggestion: Cow<'static, str>,
    /// Event as received.
    value: Value,
}

impl From<ActiveEvent> for MetaEventRow {
    fn from(event: ActiveEvent) -> Self {
        Self {
            severity: event.severity(),
            state: event.state().map(str::to_owned),
            at: event.event.occurred_at(),
            received_at: event.event.received_at,
            threshold: event.parsed.threshold,
            suggestion: suggestion_for(&event).into(),
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
