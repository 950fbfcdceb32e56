//! The shape of what scripts read: one object a row. Names that are here stay as they are; more may come.

mod bookings;
mod flows;
mod jobs;
mod leads;
mod reload;
mod status;
mod submissions;

use serde_json::Value;

pub(in crate::admin) use bookings::{BookingView, SlotView};
pub(in crate::admin) use flows::{ComplaintView, EndpointView, FlowView, MetaView};
pub(in crate::admin) use jobs::AttemptView;
pub use jobs::{DeadView, JobView};
pub use leads::LeadView;
pub(in crate::admin) use leads::{AgentView, ConsideredView};
pub use reload::ReloadView;
pub use status::{JobCounts, LeadCounts, StatusView, WriterView};
pub use submissions::SubmissionView;
pub(in crate::admin) use submissions::{DraftView, JoinView};

/// The value of a stored JSON text; the text itself where it is none (a message that could not be read).
pub(in crate::admin) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
