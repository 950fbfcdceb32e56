//! Defines the parts of `data` that only alerts have: dead letters, and the health of flows, phone
//! numbers, destinations, gateways and backups.

use serde::Serialize;

use crate::domain::gateway::SessionState as GatewaySessionState;
use crate::domain::health::assessment::Assessment;
use crate::domain::health::meta_event::ActiveEvent;
use crate::domain::health::number_traffic::NumberTraffic;
use crate::domain::ids::{DestinationName, GatewayName, JobId, SubmissionId};
use crate::domain::time::Timestamp;

/// Job that became a dead letter.
#[derive(Debug, Serialize)]
pub struct JobData<'a> {
    /// Job ID, as in `flowgate dead-letters show ID`.
    pub id: JobId,
    /// Kind of the job: `process`, `message` or `deliver`.
    pub kind: &'static str,
    /// Submission of the job.
    pub submission_id: Option<SubmissionId>,
    /// Destination of the delivery.
    pub destination: Option<&'a str>,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Reason why the job became a dead letter.
    pub reason: &'a str,
}

/// Health of a flow's endpoint.
#[derive(Debug, Serialize)]
pub struct HealthData<'a> {
    /// Source of the assessment: `meta`, or `flowgate` for an assessment of our own measurements.
    pub source: &'static str,
    /// Severity: `alert`, or `warning` for a warning of Meta.
    pub severity: &'static str,
    /// Meta's ID of the flow. The config does not contain this ID.
    pub meta_flow_id: Option<&'a str>,
    /// Name of the event at Meta.
    pub meta_event: Option<&'a str>,
    /// State of the event at Meta: `ACTIVATED` for an alert, `THROTTLED` for a flow.
    pub state: Option<&'a str>,
    /// Threshold of Meta's alert, in percent or, for latency, in milliseconds.
    pub threshold: Option<f64>,
    /// Findings, one phrase each: Meta's message, or the results of our own measurements.
    pub findings: Vec<&'a str>,
    /// Suggestion for the operator. `None`: no suggestion is known.
    pub suggestion: Option<&'a str>,
    /// Start of the problem.
    pub at: Timestamp,
}

/// Phone number of the owner that has been silent for an unusually long time.
#[derive(Debug, Serialize)]
pub struct NumberData<'a> {
    /// Meta's ID of the phone number.
    pub phone_number_id: &'a str,
    /// Phone number in digits, as people dial it.
    pub phone: Option<&'a str>,
    /// Time of the last received message.
    pub last_message_at: Timestamp,
    /// Number of minutes since the last message in which messages would usually have arrived.
    pub expected: u64,
    /// Suggestion for the operator, in one sentence.
    pub suggestion: &'static str,
}

/// Destination that no longer receives deliveries.
#[derive(Debug, Serialize)]
pub struct DestinationData<'a> {
    /// Destination name in the config.
    pub name: &'a DestinationName,
    /// Reason of the suspension.
    pub reason: &'a str,
}

/// Backup that failed or is late.
#[derive(Debug, Serialize)]
pub struct BackupData<'a> {
    /// Problem, in one sentence.
    pub reason: &'a str,
}

/// Gateway whose session has a problem.
#[derive(Debug, Serialize)]
pub struct GatewayData<'a> {
    /// Gateway name in the config, as in `flowgate gateways show NAME`.
    pub name: &'a GatewayName,
    /// Kind of the gateway: `wasender`, `waha` or `evolution`.
    pub kind: &'static str,
    /// Session state as the gateway names it. `refused` or `unreachable` if the gateway reports no
    /// state.
    pub state: &'a str,
    /// Time since which the session has this state.
    pub since: Timestamp,
    /// Suggestion for the operator, in one sentence.
    pub suggestion: &'static str,
}

impl<'a> GatewayData<'a> {
    /// Creates the data of the session state `session`.
    #[must_use]
    pub fn new(name: &'a GatewayName, session: &'a GatewaySessionState) -> Self {
        Self {
            name,
            kind: session.kind.as_str(),
            state: &session.state,
            since: session.since,
            suggestion: session.suggestion(),
        }
    }
}

impl<'a> NumberData<'a> {
    /// Creates the data of the phone number `id`.
    #[must_use]
    pub fn new(id: &'a str, traffic: &'a NumberTraffic) -> Self {
        Self {
            phone_number_id: id,
            phone: traffic.display_number(),
            last_message_at: traffic.last_message_at(),
            expected: traffic.expected_samples(),
            suggestion: "check in Meta's dashboard whether the app is still subscribed to `messages` and `standby`, the number is \
                     connected, and the callback URL is this server's",
        }
    }
}

impl<'a> HealthData<'a> {
    /// Creates the data of an event that Meta reported.
    #[must_use]
    pub fn from_meta_event(active: &'a ActiveEvent) -> Self {
        let (event, parsed) = (&active.event, &active.parsed);
        Self {
            source: "meta",
            severity: active.severity().as_str(),
            meta_flow_id: Some(&event.meta_flow_id),
            meta_event: Some(&event.name),
            state: active.state(),
            threshold: parsed.threshold,
            findings: parsed.message.as_deref().into_iter().collect(),
            suggestion: None,
            at: event.occurred_at(),
        }
    }

    /// Creates the data of an assessment of our own measurements at `at`.
    #[must_use]
    pub fn from_assessment(assessment: &'a Assessment, at: Timestamp) -> Self {
        Self {
            source: "flowgate",
            severity: assessment.severity.as_str(),
            meta_flow_id: None,
            meta_event: None,
            state: None,
            threshold: None,
            findings: assessment.findings.iter().map(String::as_str).collect(),
            suggestion: Some(&assessment.suggestion),
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gateway::{GatewayKind, SessionHealth};

    #[test]
    fn gateway_data_has_suggestion() {
        let name = GatewayName::new("shop").unwrap();
        let mut session = GatewaySessionState::unprobed(GatewayKind::Waha, Timestamp::ZERO);
        (session.state, session.health) = ("FAILED".into(), SessionHealth::Down);
        assert_eq!(
            serde_json::to_string(&GatewayData::new(&name, &session)).unwrap(),
            r#"{"name":"shop","kind":"waha","state":"FAILED","since":"1970-01-01T00:00:00.000Z","suggestion":"recovery is in progress: `flowgate gateways show NAME` shows the recovery actions so far"}"#
        );
    }
}
