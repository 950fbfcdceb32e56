//! Flows: what the config says of them, how their endpoints do, what clients and Meta say of them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::json;
use crate::domain::complaint::Complaint;
use crate::domain::flow::{Encryption, Flow};
use crate::domain::gauge::Reading;
use crate::domain::health_event::Standing;
use crate::domain::ids::{FlowName, FlowToken};
use crate::domain::time::{Millis, Timestamp};
use crate::domain::verdict::{Verdict, judge};

/// A flow of the config.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct FlowView {
    name: FlowName,
    path: String,
    encrypted: bool,
    /// In order; none: the flow takes whatever comes.
    screens: Vec<String>,
}

impl From<&Flow> for FlowView {
    fn from(flow: &Flow) -> Self {
        Self {
            name: flow.name.clone(),
            path: flow.path.clone(),
            encrypted: flow.encryption == Encryption::Required,
            screens: flow.screens.iter().map(|screen| screen.name.clone()).collect(),
        }
    }
}

/// What a client did not like, or what did not fit in what it sent.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct ComplaintView {
    at: Timestamp,
    flow: FlowName,
    screen: Option<Box<str>>,
    flow_token: Option<FlowToken>,
    error: Box<str>,
    message: Box<str>,
}

impl From<Complaint> for ComplaintView {
    fn from(complaint: Complaint) -> Self {
        let Complaint { at, flow, screen, flow_token, error, message } = complaint;
        Self { at, flow, screen, flow_token, error, message }
    }
}

/// How the endpoint of one flow does. Figures are null where no server runs that has counted.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct EndpointView {
    /// `endpoint`: tells these rows from Meta's.
    source: &'static str,
    flow: FlowName,
    /// `ok`, `watch`, `alert`; null where nothing was counted.
    verdict: Option<Verdict>,
    /// What is not as it should be.
    findings: Vec<String>,
    /// What to do, in one sentence.
    advice: String,
    /// Minutes that the figures are of; availability is of the last ten.
    minutes: u64,
    requests: Option<u32>,
    errors: Option<u32>,
    /// In percent; null without requests.
    error_rate: Option<f64>,
    errors_by_kind: BTreeMap<&'static str, u32>,
    /// Requests that are in no other figure: Meta's or a stranger's.
    doubtful_by_kind: BTreeMap<&'static str, u32>,
    p50_ms: Option<u64>,
    p90_ms: Option<u64>,
    /// In percent; null without requests.
    availability: Option<f64>,
    /// What went wrong with phones in the last hour.
    complaints: u64,
}

impl EndpointView {
    /// The view of one flow. `reading`: `None` where no server runs.
    pub(in crate::admin) fn new(flow: FlowName, reading: Option<&Reading>, minutes: u64, complaints: u64) -> Self {
        let judgement = reading.map(judge);
        Self {
            source: "endpoint",
            flow,
            verdict: judgement.as_ref().map(|judgement| judgement.verdict),
            findings: judgement.as_ref().map(|judgement| judgement.findings.clone()).unwrap_or_default(),
            advice: judgement.map_or_else(
                || {
                    "no server runs on this file, and only a running one counts its answers: `flowgate serve`"
                        .to_owned()
                },
                |judgement| judgement.advice,
            ),
            minutes,
            requests: reading.map(|reading| reading.requests),
            errors: reading.map(Reading::failed),
            error_rate: reading.and_then(Reading::error_rate).map(rounded),
            errors_by_kind: reading.map(|reading| reading.errors.clone()).unwrap_or_default(),
            doubtful_by_kind: reading.map(|reading| reading.doubtful.clone()).unwrap_or_default(),
            p50_ms: reading.and_then(|reading| reading.p50).map(Millis::get),
            p90_ms: reading.and_then(|reading| reading.p90).map(Millis::get),
            availability: reading.and_then(Reading::availability).map(rounded),
            complaints,
        }
    }
}

/// To two digits behind the point, as Meta writes percents.
fn rounded(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

/// Something that Meta's monitoring said and that still stands.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct MetaView {
    /// `meta`: tells these rows from our own.
    source: &'static str,
    /// Meta's number of the flow.
    flow_id: Box<str>,
    event: Box<str>,
    /// `ok`, `watch`, `alert`.
    verdict: Verdict,
    /// `ACTIVATED`, or the flow's status.
    state: Option<String>,
    /// When it happened.
    at: Timestamp,
    received_at: Timestamp,
    threshold: Option<f64>,
    message: Option<String>,
    /// What to do, in one sentence.
    advice: &'static str,
    /// The event as it came.
    value: Value,
}

impl From<Standing> for MetaView {
    fn from(stand: Standing) -> Self {
        Self {
            source: "meta",
            verdict: stand.verdict(),
            state: stand.state().map(str::to_owned),
            at: stand.event.at(),
            received_at: stand.event.received_at,
            threshold: stand.said.threshold,
            advice: advice(&stand),
            value: json(&stand.event.value),
            message: stand.said.message,
            flow_id: stand.event.flow_id,
            event: stand.event.event,
        }
    }
}

/// What to do about an event.
fn advice(stand: &Standing) -> &'static str {
    match (stand.said.new_status.as_deref(), &*stand.event.event) {
        (Some("THROTTLED"), _) => {
            "mend what the alerts name: the flow gets ten new messages an hour, and is let go by itself when the figures \
             are well again"
        }
        (Some("BLOCKED"), _) => {
            "mend what the alerts name at once: the flow can neither be sent nor opened until the figures are well again"
        }
        (_, "FLOW_VERSION_EXPIRY_WARNING") => "publish the flow again under a newer version of Flow JSON",
        (_, "CLIENT_ERROR_RATE") if stand.is_alert() => {
            "see in `flowgate flows errors` what the clients could not take, and hold the Flow JSON against `screens`"
        }
        _ if stand.is_alert() => {
            "hold it against this server's own figures; what they do not show, the proxy in front may"
        }
        _ => "nothing to do",
    }
}
