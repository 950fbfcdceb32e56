//! Destinations, how their lanes do, and what came of a test.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ids::DestinationName;
use crate::domain::time::Timestamp;

/// A destination.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DestinationView {
    /// Its name.
    pub name: DestinationName,
    /// `ok`, `paused`, `disabled`, `failing` (its breaker is open), `held` (it asked for quiet), `unknown` (not in the config).
    pub state: String,
    /// Where it is; null where the config does not know it.
    pub host: Option<String>,
    /// Deliveries that wait for it.
    pub waiting: u64,
    /// When the one that is due soonest is due.
    pub next_due: Option<Timestamp>,
    /// Since when an admin has it paused.
    pub paused_at: Option<Timestamp>,
    /// Since when it is left alone because of what it answered.
    pub disabled_at: Option<Timestamp>,
    /// What that was.
    pub disabled_reason: Option<String>,
    /// How its lane does; null where none runs.
    #[serde(flatten)]
    pub lane: LaneView,
}

/// How the lane of a destination does, since the start of the server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LaneView {
    /// Deliveries under way, those included that were taken and are about to be noted; null: no server runs, or none that tells it.
    pub in_flight: Option<usize>,
    /// Its breaker is open: until when it is left alone.
    pub open_until: Option<Timestamp>,
    /// It asked to be left alone until then.
    pub held_until: Option<Timestamp>,
    /// Deliveries that it took.
    pub delivered: Option<u64>,
    /// Attempts that failed.
    pub failed: Option<u64>,
    /// Deliveries that were closed unsent, because they had become too late.
    pub expired: Option<u64>,
    /// When that happened last.
    pub last_expired_at: Option<Timestamp>,
    /// The last attempt that succeeded.
    pub last_success_at: Option<Timestamp>,
    /// The last attempt that failed,
    pub last_failure_at: Option<Timestamp>,
    /// and why.
    pub last_failure: Option<String>,
}

/// A test that was sent to a destination: the whole exchange, without its secrets.
#[derive(Clone, Debug, Serialize)]
pub struct TestView {
    /// Which.
    pub destination: DestinationName,
    /// Where it is.
    pub host: String,
    /// What is asked of it, `POST /v26.0/106540352242922/messages`, where that is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Whether it took it; null: nothing was to be taken, it was only asked about itself.
    pub delivered: Option<bool>,
    /// What it answered with.
    pub status: Option<u16>,
    /// How long that took.
    pub took_ms: u64,
    /// Why it did not take it.
    pub error: Option<String>,
    /// What else is to be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it was sent.
    pub request_headers: Vec<HeaderView>,
    /// Likewise; null: it was only asked.
    pub body: Value,
    /// What it answered.
    pub answer_headers: Vec<HeaderView>,
    /// The beginning of that.
    pub answer: String,
}

/// A header.
#[derive(Clone, Debug, Serialize)]
pub struct HeaderView {
    /// Its name, in lower case.
    pub name: String,
    /// Its value; `…` in place of a secret.
    pub value: String,
}
