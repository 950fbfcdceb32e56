//! Defines the JSON rows of responses, one object per row. Scripts read them: existing field names
//! must not change, but new fields may be added.

mod access;
mod bookings;
mod copy;
mod deliveries;
mod destinations;
mod feeds;
mod flows;
mod forget;
mod gateways;
mod imports;
mod jobs;
mod leads;
mod people;
mod server;
mod status;
mod submissions;
mod unreadable;

use serde_json::Value;

pub(crate) use access::{AccountRow, AuditRow, InviteRow, SHELL, SignOutRow};
pub(crate) use bookings::{BookingRow, SlotRow};
pub(crate) use copy::CopyRow;
pub(crate) use deliveries::{DeliveryAttemptRow, DeliveryDetails, DeliveryRow};
pub(crate) use destinations::{DestinationRow, DestinationStatsRow, DestinationTestRow, HeaderRow};
pub(crate) use feeds::{CalendarRow, FeedRow};
pub(crate) use flows::{EndpointHealthRow, FlowErrorRow, FlowHealthRow, FlowRow, MetaEventRow};
pub(crate) use forget::ForgetRow;
pub(crate) use gateways::{GatewayDetails, GatewayRow, RestartRow, suggestion_for};
pub(crate) use imports::{ImportProblem, ImportRow};
pub(crate) use jobs::{
    AttemptRow, DeadLetterDetails, DeadLetterRow, DryRunRow, JobChangeRow, JobDetails, JobRow,
    MessageStatusRow,
};
pub(crate) use leads::{AgentRow, CandidateRow, LeadDetails, LeadRow};
pub(crate) use people::{CustomerAgentRow, CustomerDetails, CustomerRow, TraceRow};
pub(crate) use server::{LogLevelRow, PublicKeyRow, ReloadRow, SignatureRow};
pub(crate) use status::{CheckRow, JobCounts, LeadCounts, StatusRow, WriterStatus};
pub(crate) use submissions::{DraftRow, LateArrivalRow, SubmissionDetails, SubmissionRow};
pub(crate) use unreadable::{QueryRow, RowKey, UnreadableRow};

/// Maximum nesting depth of a JSON value in a row. JSON parsers stop at about 100 levels, ours at
/// 128. The row around the value adds levels.
const DEPTH_MAX: u32 = 64;

/// Parses a stored JSON text. Returns the text itself if it is not JSON (an unparsable message), or
/// nested so deeply that readers of the row could not parse it.
pub(in crate::admin) fn stored_json(text: &str) -> Value {
    let value = serde_json::from_str(text)
        .ok()
        .filter(|value| is_nested_within(value, DEPTH_MAX));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Returns `true` if a value has at most `levels` levels.
fn is_nested_within(value: &Value, levels: u32) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => items.iter().all(|item| is_nested_within(item, below)),
        Value::Object(fields) => fields.values().all(|field| is_nested_within(field, below)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeply_nested_json_is_shown_as_text() {
        let nested = |deep: usize| format!("{}1{}", "[".repeat(deep), "]".repeat(deep));
        assert!(stored_json(&nested(63)).is_array());
        for text in [nested(64), nested(1000), "{".to_owned()] {
            assert_eq!(stored_json(&text), Value::String(text.clone()));
        }
    }
}
