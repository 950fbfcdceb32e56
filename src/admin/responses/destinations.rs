//! Defines the rows of destinations with their statistics, and the row of a test.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ids::DestinationName;
use crate::domain::time::Timestamp;

/// Response row of a destination.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DestinationRow {
    pub name: DestinationName,
    /// State of the destination:
    ///
    /// - `ok`
    /// - `paused`: by an admin
    /// - `disabled`: because of a response
    /// - `failing`: the circuit breaker is open
    /// - `held`: the destination asked for a pause
    /// - `unknown`: not in the config
    pub state: String,
    /// Host of the destination. `None` if the destination is not in the config.
    pub host: Option<String>,
    /// Number of waiting deliveries.
    pub waiting: u64,
    /// Earliest due time of the waiting deliveries, in UTC.
    pub next_due: Option<Timestamp>,
    /// Time when an admin paused the destination, in UTC. `None`: not paused.
    pub paused_at: Option<Timestamp>,
    /// Time when a response caused the suspension, in UTC. `None`: not disabled.
    pub disabled_at: Option<Timestamp>,
    /// Reason of this suspension.
    pub disabled_reason: Option<String>,
    /// Statistics of the destination worker. All fields are `None` if no worker runs.
    #[serde(flatten)]
    pub stats: DestinationStatsRow,
}

/// Statistics of a destination worker since the start of the server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DestinationStatsRow {
    /// Number of deliveries in flight, including delivered ones whose result is not yet committed.
    /// `None` if no server or no destination worker runs.
    pub in_flight: Option<usize>,
    /// Time in UTC until which the circuit breaker is open. `None`: closed.
    pub open_until: Option<Timestamp>,
    /// End of the pause that the destination asked for, in UTC.
    pub paused_until: Option<Timestamp>,
    /// Number of successful deliveries.
    pub delivered: Option<u64>,
    /// Number of failed attempts.
    pub failed: Option<u64>,
    /// Number of deliveries that expired before they were sent.
    pub expired: Option<u64>,
    /// Time of the last expiry, in UTC.
    pub last_expired_at: Option<Timestamp>,
    /// Time of the last successful attempt, in UTC.
    pub last_success_at: Option<Timestamp>,
    /// Time of the last failed attempt, in UTC.
    pub last_failure_at: Option<Timestamp>,
    /// Reason of the last failure.
    pub last_failure: Option<String>,
}

/// Result of a test: the whole exchange with the destination, without secrets.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationTestRow {
    pub destination: DestinationName,
    /// Host of the destination.
    pub host: String,
    /// Request line, for example `POST /v26.0/106540352242922/messages`. `None` if it contains
    /// secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// `true` if the destination accepted the test. `None` if the test sent nothing and only
    /// queried the destination.
    pub delivered: Option<bool>,
    /// HTTP status or SMTP code of the response. `None` if there was no response.
    pub status: Option<u16>,
    /// Duration of the exchange, in milliseconds.
    pub duration_ms: u64,
    /// Reason of the failure. `None` if the test succeeded.
    pub error: Option<String>,
    /// Note for the admin about a successful test. `None` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub request_headers: Vec<HeaderRow>,
    /// Body of the request. Null if the test only queried the destination.
    pub body: Value,
    pub response_headers: Vec<HeaderRow>,
    /// Beginning of the response body.
    pub response: String,
}

/// HTTP or mail header.
#[derive(Clone, Debug, Serialize)]
pub struct HeaderRow {
    /// Header name, in lower case.
    pub name: String,
    /// Header value, with `…` in place of a secret.
    pub value: String,
}
