//! Parses the events of Meta's flow monitoring.
//!
//! See [`crate::domain::health::meta_event`] for the meaning of an event.

use serde_json::value::RawValue;

use crate::domain::health::meta_event::HealthEvent;
use crate::domain::time::Timestamp;
use crate::intake::json::JsonFields;

/// Parses an event of Meta's monitoring (*Flows Webhooks*). Any content is accepted.
pub(super) fn parse_health_event(
    sent_at: Option<Timestamp>,
    value: Option<&RawValue>,
) -> HealthEvent {
    let text = value.map_or("null", RawValue::get);
    let fields = JsonFields::parse(text).unwrap_or_default();
    // Meta's samples contain the ID as a string of digits. A number is accepted too.
    let flow_id = fields
        .text("flow_id")
        .or_else(|| fields.get("flow_id").map(|id| id.get().to_owned()));
    HealthEvent::new(
        sent_at,
        &fields.text("event").unwrap_or_default(),
        &flow_id.unwrap_or_default(),
        text,
    )
}
