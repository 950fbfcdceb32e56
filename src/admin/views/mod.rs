//! The shape of what scripts read: one object a row. Names that are here stay as they are; more may come.

mod bookings;
mod deliveries;
mod destinations;
mod flows;
mod gateways;
mod jobs;
mod leads;
mod reload;
mod status;
mod submissions;
mod unreadable;

use serde_json::Value;

pub(in crate::admin) use bookings::{BookingView, SlotView};
pub(in crate::admin) use deliveries::{DeliveryAttemptView, DeliveryView};
pub use destinations::{DestinationView, HeaderView, LaneView, TestView};
pub(in crate::admin) use flows::{ComplaintView, EndpointView, FlowView, MetaView};
pub(in crate::admin) use gateways::{CalledView, EntryView, GatewayView, advice};
pub(in crate::admin) use jobs::{AttemptView, MessageView};
pub use jobs::{DeadView, JobView};
pub use leads::LeadView;
pub(in crate::admin) use leads::{AgentView, ConsideredView};
pub use reload::ReloadView;
pub use status::{JobCounts, LeadCounts, StatusView, WriterView};
pub use submissions::SubmissionView;
pub(in crate::admin) use submissions::{DraftView, JoinView};
pub(in crate::admin) use unreadable::{RowKey, Seen, Unreadable};

/// Levels of a value that is shown as one. Parsers stop at about a hundred, ours at 128, and a row is around it.
const DEPTH_MAX: u32 = 64;

/// The value of a stored JSON text; the text itself where it is none (a message that could not be read), or is nested so
/// deep that those who read the row could not.
pub(in crate::admin) fn json(text: &str) -> Value {
    let value = serde_json::from_str(text).ok().filter(|value| is_within(value, DEPTH_MAX));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Whether a value has no more than so many levels.
fn is_within(value: &Value, levels: u32) -> bool {
    let Some(below) = levels.checked_sub(1) else { return false };
    match value {
        Value::Array(items) => items.iter().all(|item| is_within(item, below)),
        Value::Object(fields) => fields.values().all(|field| is_within(field, below)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_to_be_read_again_is_shown_as_its_text() {
        let nested = |deep: usize| format!("{}1{}", "[".repeat(deep), "]".repeat(deep));
        assert!(json(&nested(63)).is_array());
        for text in [nested(64), nested(1000), "{".to_owned()] {
            assert_eq!(json(&text), Value::String(text.clone()));
        }
    }
}
