//! Defines the rows of unofficial gateways: session states, history, and the result of a restart.

use serde::Serialize;

use crate::domain::gateway::{
    GatewayAlert, GatewayKind, HistoryEntry, RecoveryAction, SessionHealth, SessionState,
};
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;
use crate::gateways::RestartResult;

/// Gateway with the state of its session.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GatewayRow {
    name: GatewayName,
    kind: GatewayKind,
    /// State name that the gateway reports.
    state: Box<str>,
    /// Health of the session: `up`, `starting`, `down`, `needs_person`, `unrecognized`, `refused`
    /// or `unreachable`. `unknown` if the gateway was not probed yet.
    health: SessionHealth,
    since: Timestamp,
    /// Alert for a problem that still exists: `down` or `needs_person`.
    alert: Option<GatewayAlert>,
    /// Number of restarts for inactivity since the last activity.
    silences: u32,
    /// Time of the last event from WhatsApp through this gateway, in UTC.
    last_event_at: Option<Timestamp>,
    /// Time of the last probe, in UTC. `None` if no server runs.
    probed_at: Option<Timestamp>,
    /// Suggestion for the operator. Empty if there is no problem.
    suggestion: String,
}

/// Entry of a gateway's history.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HistoryRow {
    at: Timestamp,
    state: Box<str>,
    action: Option<&'static str>,
    detail: Box<str>,
}

/// Result of a requested recovery action.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestartRow {
    name: GatewayName,
    /// Recovery action: `connect`, `restart` or `start`.
    action: &'static str,
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
        let suggestion = suggestion_for(&name, &session);
        let SessionState {
            kind,
            state,
            health: condition,
            since,
            alert,
            silence_restarts: silences,
            ..
        } = session;
        Self {
            name,
            kind,
            state,
            health: condition,
            since,
            alert,
            silences,
            last_event_at,
            probed_at,
            suggestion,
        }
    }
}

impl From<HistoryEntry> for HistoryRow {
    fn from(
        HistoryEntry {
            at,
            state,
            action: did,
            detail,
        }: HistoryEntry,
    ) -> Self {
        Self {
            at,
            state,
            action: did.map(RecoveryAction::as_str),
            detail,
        }
    }
}

impl RestartRow {
    /// Creates the row of a recovery action. Returns `None` if no action was performed.
    pub(crate) fn new(name: GatewayName, result: RestartResult) -> Option<Self> {
        let RestartResult {
            action: call,
            detail,
            session,
        } = result;
        let suggestion = suggestion_for(&name, &session);
        let SessionState {
            state,
            health: condition,
            ..
        } = session;
        Some(Self {
            name,
            action: call?.as_str(),
            response: detail,
            state,
            health: condition,
            suggestion,
        })
    }
}

/// Returns the suggestion for the operator, with the name of the gateway in its commands.
pub(crate) fn suggestion_for(name: &GatewayName, session: &SessionState) -> String {
    session.suggestion().replace("NAME", name.as_str())
}
