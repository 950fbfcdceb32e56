//! Defines the rows of unofficial gateways: session states, history, and the result of a restart.

use serde::{Deserialize, Serialize};

use super::QueryRow;
use crate::domain::gateway::{
    GatewayAlert, GatewayKind, HistoryEntry, RecoveryAction, SessionHealth, SessionState,
};
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;
use crate::gateways::RestartResult;

/// Gateway with the state of its session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GatewayRow {
    pub(crate) name: GatewayName,
    pub(crate) kind: GatewayKind,
    /// State name that the gateway reports.
    pub(crate) state: Box<str>,
    /// Health of the session: `up`, `starting`, `down`, `needs_person`, `unrecognized`, `refused`
    /// or `unreachable`. `unknown` if the gateway was not probed yet.
    pub(crate) health: SessionHealth,
    pub(crate) since: Timestamp,
    /// Alert for a problem that still exists: `down` or `needs_person`.
    alert: Option<GatewayAlert>,
    /// Number of restarts for inactivity since the last activity.
    silences: u32,
    /// Time of the last event from WhatsApp through this gateway, in UTC.
    pub(crate) last_event_at: Option<Timestamp>,
    /// Time of the last probe, in UTC. `None` if no server runs.
    probed_at: Option<Timestamp>,
    /// Suggestion for the operator. Empty if there is no problem.
    pub(crate) suggestion: String,
}

/// Gateway with its history.
#[derive(Debug, Serialize)]
pub(crate) struct GatewayDetails {
    #[serde(flatten)]
    pub(crate) gateway: QueryRow<GatewayRow>,
    pub(crate) history: Vec<QueryRow<HistoryEntry>>,
}

/// Result of a requested recovery action.
#[derive(Debug, Serialize)]
pub(crate) struct RestartRow {
    name: GatewayName,
    action: RecoveryAction,
    /// Response of the gateway.
    response: String,
    state: Box<str>,
    health: SessionHealth,
    suggestion: String,
}

impl GatewayRow {
    pub(crate) fn new(
        name: GatewayName,
        session: SessionState,
        last_event_at: Option<Timestamp>,
        probed_at: Option<Timestamp>,
    ) -> Self {
        Self {
            suggestion: suggestion_for(&name, &session),
            name,
            kind: session.kind,
            state: session.state,
            health: session.health,
            since: session.since,
            alert: session.alert,
            silences: session.silence_restarts,
            last_event_at,
            probed_at,
        }
    }
}

impl RestartRow {
    /// Creates the row of a recovery action. Returns `None` if no action was performed.
    pub(crate) fn new(name: GatewayName, result: RestartResult) -> Option<Self> {
        Some(Self {
            suggestion: suggestion_for(&name, &result.session),
            name,
            action: result.action?,
            response: result.detail,
            state: result.session.state,
            health: result.session.health,
        })
    }
}

/// Returns the suggestion for the operator, with the name of the gateway in its commands.
pub(crate) fn suggestion_for(name: &GatewayName, session: &SessionState) -> String {
    session.suggestion().replace("NAME", name.as_str())
}
