//! Defines the inputs of a session's state machine: probes and the results of recovery actions.

use std::time::Duration;

use crate::domain::gateway::{GatewayKind, states};
use crate::domain::time::Timestamp;

/// Time of an input, with jitter.
#[derive(Clone, Copy, Debug)]
pub struct SessionTick {
    /// Wall-clock time, in UTC.
    pub at: Timestamp,
    /// Elapsed time of the process clock.
    pub elapsed: Duration,
    /// Jitter, from 0 to 1.
    pub jitter: f64,
}

/// Result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// State name that the gateway reports.
    State(String),
    /// Reason why the gateway refused the probe, or has no such session.
    Refused(String),
    /// Reason why no response arrived.
    Unanswered(String),
}

/// Result of a recovery action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionResult {
    /// State name that the gateway reported after the action.
    State(String),
    /// The gateway accepted the action.
    Accepted,
    /// A person must scan a code.
    NeedsScan,
    /// Reason why the action failed.
    Failed(String),
}

impl ActionResult {
    /// Describes the result in a few words. `kind` selects the table of state names.
    #[must_use]
    pub fn describe(&self, kind: GatewayKind) -> String {
        match self {
            Self::State(word) => format!("reported {}", states::parse_state(kind, word).1),
            Self::Accepted => "accepted".to_owned(),
            Self::NeedsScan => "responded with a code that a person must scan".to_owned(),
            Self::Failed(why) => why.clone(),
        }
    }
}
