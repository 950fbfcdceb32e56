//! Defines the states of unofficial gateways: programs that hold a WhatsApp session, as a browser
//! does, and may lose it.
//!
//! See [`self::states`] for the state names of each gateway and
//! [`self::session`] for recovery actions and alerts. See
//! [`self::text_form`] for text messages that are forms and
//! [`self::text`] for requests that send a text. See [`crate::gateways`] for the
//! calls to gateways and [`crate::intake`] for their webhooks.

pub mod session;
pub mod states;
pub mod text;
pub mod text_form;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::time::Timestamp;

/// Number of recovery actions in the state `starting` after which the session raises an alert.
const STUCK_ATTEMPTS_BEFORE_ALERT: u32 = 2;

/// Percent-encodes the name of a session for use in a URL path.
#[must_use]
pub fn encode_session(session: &str) -> String {
    utf8_percent_encode(session, NON_ALPHANUMERIC).to_string()
}

named_enum! {
    /// Gateway program.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum GatewayKind {
        /// `WASenderApi`, a hosted service.
        Wasender = "wasender",
        /// WAHA, self-hosted.
        Waha = "waha",
        /// Evolution API v2, self-hosted.
        Evolution = "evolution",
    }
}

named_enum! {
    /// Health of a session, independent of the gateway's own state name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum SessionHealth {
        /// No probe has finished yet.
        Unknown = "unknown",
        /// The session is connected according to the gateway.
        Up = "up",
        /// The session is connecting. No recovery action is needed at first.
        Starting = "starting",
        /// The session is not connected. A recovery action may reconnect it.
        Down = "down",
        /// Only a person can reconnect the session, for example with a phone that scans a code.
        NeedsPerson = "needs_person",
        /// The gateway reports a state name that flowgate does not know.
        Unrecognized = "unrecognized",
        /// The gateway refuses the probe or has no such session.
        Refused = "refused",
        /// The gateway does not respond.
        Unreachable = "unreachable",
    }
}

named_enum! {
    /// Call to a gateway that may reconnect a session.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum RecoveryAction {
        /// Connects a session that is not connected.
        Connect = "connect",
        /// Reconnects a session that is connected.
        Restart = "restart",
        /// Starts a session that was stopped.
        Start = "start",
    }
}

/// Alert that was raised for a problem that still exists. Later variants are more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayAlert {
    /// The event `gateway.down`.
    Down,
    /// The event `gateway.needs_person`.
    NeedsPerson,
}

/// Stored state of a gateway's session. After a restart of flowgate, the stored state prevents
/// repeated alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionState {
    /// Gateway program.
    pub kind: GatewayKind,
    /// State name that the gateway reports.
    pub state: Box<str>,
    /// Health that the state name means.
    pub health: SessionHealth,
    /// Time when the session entered this health, in UTC.
    pub since: Timestamp,
    /// Alert that was raised for the current problem. `None` if there was no alert.
    pub alert: Option<GatewayAlert>,
    /// `true` if the session needs a person until it is up again. Either a recovery action returned
    /// a code to scan, or the gateway reports such a state. Further recovery actions would only
    /// create new codes.
    pub awaits_person: bool,
    /// Number of restarts for inactivity since the last activity.
    pub silence_restarts: u32,
    /// Number of recovery actions for a session that stayed in the state `starting`, since the
    /// session was last up.
    pub stuck_attempts: u32,
}

/// Entry of the session's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Time of the entry, in UTC.
    pub at: Timestamp,
    /// State of the session at that time.
    pub state: Box<str>,
    /// Recovery action that was performed. `None` if the entry records only a change.
    pub action: Option<RecoveryAction>,
    /// Reason of the change, or result of the action.
    pub detail: Box<str>,
}

impl GatewayKind {
    /// Returns the header that contains the API key, and the prefix of its value.
    #[must_use]
    pub const fn key_header(self) -> (&'static str, &'static str) {
        match self {
            Self::Wasender => ("authorization", "Bearer "),
            Self::Waha => ("x-api-key", ""),
            Self::Evolution => ("apikey", ""),
        }
    }
}

impl GatewayAlert {
    /// Returns the event that reports this alert.
    #[must_use]
    pub const fn event(self) -> EventKind {
        match self {
            Self::Down => EventKind::GatewayDown,
            Self::NeedsPerson => EventKind::GatewayNeedsPerson,
        }
    }
}

impl SessionState {
    /// Creates the state of a session that was not probed yet.
    #[must_use]
    pub fn unprobed(kind: GatewayKind, now: Timestamp) -> Self {
        Self {
            kind,
            state: SessionHealth::Unknown.as_str().into(),
            health: SessionHealth::Unknown,
            since: now,
            alert: None,
            awaits_person: false,
            silence_restarts: 0,
            stuck_attempts: 0,
        }
    }

    /// Returns `true` if the session has been starting for so long that recovery actions alone do
    /// not help.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        matches!(self.health, SessionHealth::Starting)
            && self.stuck_attempts >= STUCK_ATTEMPTS_BEFORE_ALERT
    }

    /// Returns a suggestion for the operator. The text is empty if nothing is wrong.
    #[must_use]
    pub const fn suggestion(&self) -> &'static str {
        match self.health {
            SessionHealth::Up if self.silence_restarts > 0 => {
                "its state is connected, but no messages arrive: check whether the phone still lists it under linked \
                 devices, and whether its webhook points to this server"
            }
            SessionHealth::Starting if self.is_stuck() => {
                "it has been starting for a long time, and recovery actions do not help: check the gateway's dashboard, a code may \
                 have to be scanned"
            }
            SessionHealth::Up | SessionHealth::Unknown | SessionHealth::Starting => "",
            SessionHealth::NeedsPerson => {
                "link the phone: scan the code in the gateway's dashboard (`flowgate gateways restart \
                 NAME` requests a new code)"
            }
            SessionHealth::Down => {
                "recovery is in progress: `flowgate gateways show NAME` shows the recovery actions so far"
            }
            SessionHealth::Unrecognized => {
                "flowgate does not know this state: check the gateway's dashboard"
            }
            SessionHealth::Refused => {
                "the gateway refuses requests: check the keys, the session's name and the url in the config"
            }
            SessionHealth::Unreachable => {
                "the gateway does not respond: check whether it runs, and whether the url is right"
            }
        }
    }
}
