//! Unofficial gateways: programs that carry a WhatsApp session of their own, as a browser does, and lose it now and then.
//!
//! What a gateway calls its states is in [`states`]; what follows from what it says, when it is called and when somebody is
//! told is in [`session`]; which text messages are forms is in [`form`], how one is asked to send a text in [`text`]. Asking and calling is `crate::gateways`', what its
//! webhook brings is read in `crate::intake`.

pub mod form;
pub mod session;
pub mod states;
pub mod text;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::time::Timestamp;

/// A session that was called so often while it was starting is told of as down.
const PUSHES_TOLD: u32 = 2;

/// The name of a session as it stands in a path.
#[must_use]
pub fn encoded(session: &str) -> String {
    utf8_percent_encode(session, NON_ALPHANUMERIC).to_string()
}

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayKind {
    /// `WASenderApi`, which is hosted.
    Wasender,
    /// WAHA, self-hosted.
    Waha,
    /// Evolution API v2, self-hosted.
    Evolution,
}

/// What a state comes to, whatever the gateway calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It was not asked yet.
    Unasked,
    /// The session is connected, or says so.
    Up,
    /// On its way to be: time cures it.
    Starting,
    /// Not connected: a call may bring it back.
    Down,
    /// Only somebody can bring it back: with a phone that scans a code, say.
    NeedsPerson,
    /// It gave its state a name that we don't know.
    Strange,
    /// It does not let us ask, or has no such session.
    Refused,
    /// It does not answer.
    Unreachable,
}

/// A call that may bring a session back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Connects a session that is not.
    Connect,
    /// Connects one anew that is.
    Restart,
    /// Starts one that was stopped.
    Start,
}

/// What was told of a trouble that is not over. The later one says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alert {
    /// `gateway.down`.
    Down,
    /// `gateway.needs_person`.
    NeedsPerson,
}

/// How a gateway stands: what is kept of it, so that a new start of ours neither forgets nor tells again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which program it is.
    pub kind: GatewayKind,
    /// What that program calls its state.
    pub state: Box<str>,
    /// What that comes to.
    pub condition: Condition,
    /// Since when.
    pub since: Timestamp,
    /// What was told of it.
    pub alert: Option<Alert>,
    /// A call was answered with a code to scan, or somebody is needed by its own word: until it is up, calling it again would
    /// only make new codes.
    pub waits_for_person: bool,
    /// How often it was restarted because nothing came, and nothing has come since.
    pub silences: u32,
    /// How often it was called because it had been starting for too long, and it has not been up since.
    pub pushes: u32,
}

/// One line of a gateway's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Its state then.
    pub state: Box<str>,
    /// What was done.
    pub did: Option<Call>,
    /// Why, or what came of it.
    pub note: Box<str>,
}

impl GatewayKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wasender, Self::Waha, Self::Evolution];

    /// The name that the config and lists have.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wasender => "wasender",
            Self::Waha => "waha",
            Self::Evolution => "evolution",
        }
    }

    /// The header that its key stands in, and what stands before the key.
    #[must_use]
    pub const fn key_header(self) -> (&'static str, &'static str) {
        match self {
            Self::Wasender => ("authorization", "Bearer "),
            Self::Waha => ("x-api-key", ""),
            Self::Evolution => ("apikey", ""),
        }
    }
}

impl Condition {
    /// The name that lists have.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unasked => "unasked",
            Self::Up => "up",
            Self::Starting => "starting",
            Self::Down => "down",
            Self::NeedsPerson => "needs_person",
            Self::Strange => "strange",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Call {
    /// The name that lists have.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Restart => "restart",
            Self::Start => "start",
        }
    }
}

impl Alert {
    /// The event that tells of it.
    #[must_use]
    pub const fn event(self) -> EventKind {
        match self {
            Self::Down => EventKind::GatewayDown,
            Self::NeedsPerson => EventKind::GatewayNeedsPerson,
        }
    }
}

impl Standing {
    /// One that was not asked yet.
    #[must_use]
    pub fn unasked(kind: GatewayKind, now: Timestamp) -> Self {
        Self {
            kind,
            state: Condition::Unasked.as_str().into(),
            condition: Condition::Unasked,
            since: now,
            alert: None,
            waits_for_person: false,
            silences: 0,
            pushes: 0,
        }
    }

    /// Whether it has been starting for so long that calls alone do not help.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        matches!(self.condition, Condition::Starting) && self.pushes >= PUSHES_TOLD
    }

    /// What to do about it; empty where nothing is wrong.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self.condition {
            Condition::Up if self.silences > 0 => {
                "it says that it is connected, but nothing comes: look whether the phone still lists it under linked \
                 devices, and whether its webhook points here"
            }
            Condition::Starting if self.is_stuck() => {
                "it has been starting for long, and calls do not help: look at the gateway's own dashboard, a code may \
                 wait there to be scanned"
            }
            Condition::Up | Condition::Unasked | Condition::Starting => "",
            Condition::NeedsPerson => {
                "somebody must link the phone: scan the code in the gateway's own dashboard (`flowgate gateways restart \
                 NAME` asks it for a new one)"
            }
            Condition::Down => "it is being brought back: `flowgate gateways show NAME` says what was tried",
            Condition::Strange => "flowgate does not know this state: look at the gateway's own dashboard",
            Condition::Refused => {
                "the gateway refuses to be asked: check the keys, the session's name and the url in the config"
            }
            Condition::Unreachable => "the gateway does not answer: look whether it runs, and whether the url is right",
        }
    }
}
