//! Parses the events of Meta's flow monitoring: status changes, alerts and warnings.
//!
//! An event is stored as the received text. Parsing is lenient, because Meta may add events and
//! fields (*Flows Webhooks*, *Flow Health and Monitoring*). See [`active_events`] for the events
//! that are still active.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::assessment::Severity;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Timestamp;
use crate::domain::truncation::truncate_bytes;

/// Maximum size of an event's text, in bytes. Meta's own events have a few hundred bytes.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Maximum size of an event's names, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Events that Meta's documentation names. Metrics count each of them, and all others together.
const KNOWN_EVENTS: [&str; 6] = [
    "FLOW_STATUS_CHANGE",
    "CLIENT_ERROR_RATE",
    "ENDPOINT_ERROR_RATE",
    "ENDPOINT_LATENCY",
    AVAILABILITY_EVENT,
    "FLOW_VERSION_EXPIRY_WARNING",
];
const AVAILABILITY_EVENT: &str = "ENDPOINT_AVAILABILITY";

/// Event as received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEvent {
    /// Time when the event was received, in UTC.
    pub received_at: Timestamp,
    /// Time when Meta created the event, in UTC. `None` if the event has no such time.
    pub sent_at: Option<Timestamp>,
    /// Name of the event. Empty if the event has no name.
    pub name: Box<str>,
    /// Meta's ID of the flow, which no config contains. Empty if the event names no flow.
    pub meta_flow_id: Box<str>,
    /// Whole event as JSON text. An event larger than 64 KiB is replaced by a note with its size.
    pub payload: Box<str>,
    /// Fingerprint of the event. The same event has the same fingerprint when Meta sends it again.
    pub fingerprint: [u8; 16],
}

/// Fields that flowgate reads from an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParsedEvent {
    /// State of an alert in upper case, for example `ACTIVATED` or `DEACTIVATED`.
    pub alert_state: Option<String>,
    /// Threshold of the alert, in percent or, for latency, in milliseconds.
    pub threshold: Option<f64>,
    /// New status of the flow, in upper case.
    pub new_status: Option<String>,
    /// Meta's message about the event.
    pub message: Option<String>,
}

/// Event that still describes the current state.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveEvent {
    /// Event as received.
    pub event: HealthEvent,
    /// Fields read from the event.
    pub parsed: ParsedEvent,
}

impl HealthEvent {
    /// Creates an event from its name, the flow's ID at Meta and the whole payload. The transaction
    /// that stores the event sets `received_at`.
    #[must_use]
    pub fn new(sent_at: Option<Timestamp>, name: &str, meta_flow_id: &str, payload: &str) -> Self {
        let sent_ms = sent_at.map_or_else(String::new, |at| at.as_millis().to_string());
        let fingerprint =
            *IdempotencyKey::for_health_event([meta_flow_id, name, &sent_ms, payload]).as_bytes();
        let length = payload.len();
        let note = || {
            format!(
                r#"{{"not_stored":"the event has {length} bytes, the maximum is {PAYLOAD_BYTES_MAX}"}}"#
            )
        };
        let is_stored = length <= PAYLOAD_BYTES_MAX;
        Self {
            received_at: Timestamp::ZERO,
            sent_at,
            name: truncate_bytes(name, NAME_BYTES_MAX),
            meta_flow_id: truncate_bytes(meta_flow_id, NAME_BYTES_MAX),
            payload: if is_stored {
                payload.into()
            } else {
                note().into()
            },
            fingerprint,
        }
    }

    /// Returns the time of the event: Meta's time, or the time of arrival if Meta's is missing.
    #[must_use]
    pub fn occurred_at(&self) -> Timestamp {
        self.sent_at.unwrap_or(self.received_at)
    }

    /// Returns the event's label for metrics. Unknown names get a common label, so that a sender
    /// can't create new labels.
    #[must_use]
    pub fn metric_label(&self) -> &'static str {
        let known = KNOWN_EVENTS.into_iter().find(|known| *known == &*self.name);
        known.unwrap_or("other")
    }

    /// Parses the fields of the event.
    #[must_use]
    pub fn parse(&self) -> ParsedEvent {
        let fields: Map<String, Value> = serde_json::from_str(&self.payload).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
        let threshold = fields.get("threshold").and_then(number);
        ParsedEvent {
            alert_state: text("alert_state").map(|state| state.to_uppercase()),
            threshold: threshold.filter(|threshold| threshold.is_finite()),
            new_status: text("new_status").map(|status| status.to_uppercase()),
            // Warnings have their message in a separate field.
            message: text("warning").or_else(|| text("message")),
        }
    }
}

impl ActiveEvent {
    /// Parses the event.
    #[must_use]
    pub fn new(event: HealthEvent) -> Self {
        let parsed = event.parse();
        Self { event, parsed }
    }

    /// Returns the state that the event reports: that of an alert, or that of the flow.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        let parsed = &self.parsed;
        let alert_state = parsed.alert_state.as_deref();
        alert_state.or(parsed.new_status.as_deref())
    }

    /// Returns `true` if the event is an alert that Meta raised.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.parsed.alert_state.as_deref() == Some("ACTIVATED")
    }

    /// Returns `true` if Meta restricts the flow. `THROTTLED` allows ten new messages an hour;
    /// `BLOCKED` allows none, and customers can't open the flow.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        let status = self.parsed.new_status.as_deref();
        matches!(status, Some("THROTTLED" | "BLOCKED"))
    }

    /// Returns the severity of the event.
    #[must_use]
    pub fn severity(&self) -> Severity {
        if self.is_alert() || self.is_restricted() {
            Severity::Alert
        } else if self.event.name.ends_with("WARNING") {
            Severity::Warning
        } else {
            Severity::Ok
        }
    }
}

/// Returns the events that are still active, from `events` in any order. For each flow and kind of
/// event this is the last event. For alerts, this is the last one that was raised and not lifted.
/// The result is ordered by flow, then by kind.
#[must_use]
pub fn active_events(mut events: Vec<HealthEvent>) -> Vec<ActiveEvent> {
    // Meta resends events for days, so the last to arrive need not be the last that happened.
    events.sort_by_key(HealthEvent::occurred_at);
    let mut active_by_kind: BTreeMap<(Box<str>, Box<str>), Vec<ActiveEvent>> = BTreeMap::new();
    for event in events.into_iter().map(ActiveEvent::new) {
        let kind = (event.event.meta_flow_id.clone(), event.event.name.clone());
        let active = active_by_kind.entry(kind).or_default();
        match event.parsed.alert_state.as_deref() {
            Some("DEACTIVATED") => active.retain(|raised| remains_active(raised, &event)),
            // Each threshold has its own alert: Meta raises 5 % and 10 % one after the other.
            Some(_) => {
                active.retain(|raised| raised.parsed.threshold != event.parsed.threshold);
                active.push(event);
            }
            None => *active = vec![event],
        }
    }
    let active = active_by_kind.into_values();
    active.filter_map(|mut active| active.pop()).collect()
}

/// Returns `true` if the alert `raised` is still active after the alert `ended` was lifted. A rate
/// or latency below one threshold is also below every higher threshold.
fn remains_active(raised: &ActiveEvent, ended: &ActiveEvent) -> bool {
    let thresholds = raised.parsed.threshold.zip(ended.parsed.threshold);
    &*ended.event.name != AVAILABILITY_EVENT
        && thresholds.is_some_and(|(raised, ended)| raised < ended)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event_named(at: u64, flow: &str, name: &str, fields: &Value) -> HealthEvent {
        let at = Timestamp::from_millis(at);
        HealthEvent::new(Some(at), name, flow, &fields.to_string())
    }

    fn error_rate_alert(at: u64, state: &str, threshold: impl Into<Value>) -> HealthEvent {
        let fields = json!({"alert_state": state, "threshold": threshold.into()});
        event_named(at, "1", "ENDPOINT_ERROR_RATE", &fields)
    }

    fn active_thresholds(events: &[&HealthEvent]) -> Vec<f64> {
        let events = events.iter().copied().cloned().collect();
        let active = active_events(events);
        let thresholds = active.iter().map(|event| event.parsed.threshold);
        thresholds.map(Option::unwrap).collect()
    }

    #[test]
    fn alert_is_active_until_deactivated() {
        let raised = error_rate_alert(1, "ACTIVATED", 5);
        let cleared = error_rate_alert(3, "deactivated", 5);
        let again = error_rate_alert(4, "ACTIVATED", "10.5");
        assert_eq!(active_thresholds(&[&raised]), [5.0]);
        assert_eq!(active_thresholds(&[&raised, &cleared]), [0.0; 0]);
        // The older event came late.
        assert_eq!(active_thresholds(&[&cleared, &raised]), [0.0; 0]);
        assert_eq!(active_thresholds(&[&raised, &cleared, &again]), [10.5]);
    }

    #[test]
    fn deactivation_clears_higher_thresholds() {
        let [low, middle, high] =
            [5, 10, 50].map(|threshold| error_rate_alert(threshold, "ACTIVATED", threshold));
        let [low_cleared, high_cleared] =
            [5, 50].map(|threshold| error_rate_alert(60, "DEACTIVATED", threshold));
        let active = |more: &[&HealthEvent]| {
            active_thresholds(&[&[&low, &middle, &high][..], more].concat())
        };
        assert_eq!(active(&[]), [50.0]);
        assert_eq!(active(&[&high_cleared]), [10.0]);
        assert_eq!(active(&[&low_cleared]), [0.0; 0]);
    }

    #[test]
    fn latest_flow_status_is_active_and_restriction_is_alert() {
        let status = |at, flow, to: &str| {
            event_named(at, flow, "FLOW_STATUS_CHANGE", &json!({"new_status": to}))
        };
        let active = active_events(vec![
            status(1, "1", "THROTTLED"),
            status(3, "1", "PUBLISHED"),
            status(2, "2", "Blocked"),
        ]);
        let outcomes = active
            .iter()
            .map(|event| (event.state().unwrap(), event.severity()));
        let expected = [("PUBLISHED", Severity::Ok), ("BLOCKED", Severity::Alert)];
        assert!(outcomes.eq(expected), "{active:?}");
    }

    #[test]
    fn unknown_event_is_stored_and_shown() {
        let fields = json!({"message": "hic", "threshold": [], "more": {}});
        let unknown = event_named(1, "", "FLOW_HICCUP", &fields);
        assert_eq!(unknown.metric_label(), "other");
        let fields = json!({"warning": "soon"});
        let warning = event_named(2, "1", "FLOW_VERSION_EXPIRY_WARNING", &fields);
        let active = active_events(vec![unknown, warning]);
        let message = |event: &ActiveEvent| event.parsed.message.clone().unwrap();
        let shown: Vec<_> = active
            .iter()
            .map(|event| (message(event), event.severity()))
            .collect();
        let expected = [("hic", Severity::Ok), ("soon", Severity::Warning)];
        assert_eq!(
            shown,
            expected.map(|(text, severity)| (text.to_owned(), severity))
        );
    }

    #[test]
    fn fingerprint_is_stable_and_large_payload_is_replaced() {
        let fingerprint = |at| error_rate_alert(at, "ACTIVATED", 5).fingerprint;
        assert_eq!(fingerprint(1), fingerprint(1));
        assert_ne!(fingerprint(1), fingerprint(2));
        let large = |end| {
            let fields = json!({"message": "x".repeat(PAYLOAD_BYTES_MAX), "end": end});
            event_named(1, "1", "X", &fields)
        };
        let payload = large("a").payload;
        assert!(payload.len() < 200, "{payload}");
        assert!(payload.contains("65560 bytes"), "{payload}");
        assert_ne!(large("a").fingerprint, large("b").fingerprint);
    }
}
