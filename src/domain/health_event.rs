//! What Meta's monitoring says of a flow: status changes, alerts, warnings.
//!
//! An event is kept as the text that came; what is read out of it here is read loosely, as more events and fields will
//! come than are known (*Flows Webhooks*, *Flow Health and Monitoring*). Which of them still stand is [`standing`]'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::complaint::cut;
use super::submission::IdempotencyKey;
use super::time::Timestamp;
use super::verdict::Verdict;

/// Bytes of an event's text at the most. Meta's own have a few hundred.
const VALUE_BYTES: usize = 64 << 10;
/// Bytes of its names at the most.
const NAME_BYTES: usize = 256;

/// The events that Meta's documentation names. Figures know these; others are counted together.
const KNOWN: [&str; 6] = [
    "FLOW_STATUS_CHANGE",
    "CLIENT_ERROR_RATE",
    "ENDPOINT_ERROR_RATE",
    "ENDPOINT_LATENCY",
    AVAILABILITY,
    "FLOW_VERSION_EXPIRY_WARNING",
];
const AVAILABILITY: &str = "ENDPOINT_AVAILABILITY";

/// One event, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEvent {
    /// When it came.
    pub received_at: Timestamp,
    /// When Meta made it, if it says so.
    pub sent_at: Option<Timestamp>,
    /// What it is called; empty where it has no name.
    pub event: Box<str>,
    /// Meta's number of the flow, which no config knows; empty where it names none.
    pub flow_id: Box<str>,
    /// All of it: JSON text. Of one that is larger than 64 KiB, a note that says so.
    pub value: Box<str>,
    /// The same for the same event sent again.
    pub print: [u8; 16],
}

/// What can be read out of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// `ACTIVATED` or `DEACTIVATED`, in upper case.
    pub alert_state: Option<String>,
    /// The threshold that it is about: percent or, for latency, milliseconds.
    pub threshold: Option<f64>,
    /// What the flow's status has become, in upper case.
    pub new_status: Option<String>,
    /// Meta's own words.
    pub message: Option<String>,
}

/// An event that still says how things are.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The event.
    pub event: HealthEvent,
    /// What it says.
    pub said: Said,
}

impl HealthEvent {
    /// An event with this name, of this flow; `value` is all of it. When it came is set by whoever keeps it.
    #[must_use]
    pub fn new(sent_at: Option<Timestamp>, event: &str, flow_id: &str, value: &str) -> Self {
        let sent = sent_at.map(|at| at.as_millis().to_string()).unwrap_or_default();
        let print = *IdempotencyKey::of_health_event([flow_id, event, &sent, value]).as_bytes();
        let kept = if value.len() <= VALUE_BYTES {
            value.into()
        } else {
            format!(r#"{{"not_kept":"this event had {} bytes, {VALUE_BYTES} are kept at the most"}}"#, value.len())
                .into()
        };
        Self {
            received_at: Timestamp::ZERO,
            sent_at,
            event: cut(event, NAME_BYTES),
            flow_id: cut(flow_id, NAME_BYTES),
            value: kept,
            print,
        }
    }

    /// When it happened, as well as that is known.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.sent_at.unwrap_or(self.received_at)
    }

    /// Its name for figures: what a sender makes up must not make new ones.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        KNOWN.into_iter().find(|known| *known == &*self.event).unwrap_or("other")
    }

    /// What it says.
    #[must_use]
    pub fn said(&self) -> Said {
        let fields: Map<String, Value> = serde_json::from_str(&self.value).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
        Said {
            alert_state: text("alert_state").map(|state| state.to_uppercase()),
            threshold: fields.get("threshold").and_then(number).filter(|threshold| threshold.is_finite()),
            new_status: text("new_status").map(|status| status.to_uppercase()),
            // Warnings have their words in a field of their own.
            message: text("warning").or_else(|| text("message")),
        }
    }
}

impl Standing {
    /// The event and what it says.
    #[must_use]
    pub fn of(event: HealthEvent) -> Self {
        let said = event.said();
        Self { event, said }
    }

    /// The state that it speaks of: an alert's, or the flow's own.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.said.alert_state.as_deref().or(self.said.new_status.as_deref())
    }

    /// Whether it is an alert that Meta raised.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.said.alert_state.as_deref() == Some("ACTIVATED")
    }

    /// Whether Meta holds the flow back: `THROTTLED` (ten new messages an hour) or `BLOCKED` (none, and none is opened).
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        matches!(self.said.new_status.as_deref(), Some("THROTTLED" | "BLOCKED"))
    }

    /// How bad it is.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.is_alert() || self.is_held_back() {
            Verdict::Alert
        } else if self.event.event.ends_with("WARNING") {
            Verdict::Watch
        } else {
            Verdict::Ok
        }
    }
}

/// What still holds of `events`, in whatever order they are: for each flow and kind of event the last one and, of alerts,
/// the last one that was raised and not taken back. Ordered by flow, then kind.
#[must_use]
pub fn standing(mut events: Vec<HealthEvent>) -> Vec<Standing> {
    // Meta sends again for days: what comes late is not what happened last.
    events.sort_by_key(HealthEvent::at);
    let mut found: BTreeMap<(Box<str>, Box<str>), Vec<Standing>> = BTreeMap::new();
    for event in events.into_iter().map(Standing::of) {
        let stand = found.entry((event.event.flow_id.clone(), event.event.event.clone())).or_default();
        match event.said.alert_state.as_deref() {
            Some("DEACTIVATED") => stand.retain(|raised| outlasts(raised, &event)),
            // One alert for each threshold: 5 % and 10 % are raised one after the other.
            Some(_) => {
                stand.retain(|raised| raised.said.threshold != event.said.threshold);
                stand.push(event);
            }
            None => *stand = vec![event],
        }
    }
    found.into_values().filter_map(|mut stand| stand.pop()).collect()
}

/// Whether `raised` is still true when `ended` has been taken back: rates and latencies that are below a threshold again
/// are below every higher one, too.
fn outlasts(raised: &Standing, ended: &Standing) -> bool {
    match (raised.said.threshold, ended.said.threshold) {
        (Some(raised), Some(back)) if &*ended.event.event != AVAILABILITY => raised < back,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(at: u64, flow: &str, name: &str, fields: &Value) -> HealthEvent {
        HealthEvent::new(Some(Timestamp::from_millis(at)), name, flow, &fields.to_string())
    }

    fn rate(at: u64, state: &str, threshold: impl Into<Value>) -> HealthEvent {
        event(at, "1", "ENDPOINT_ERROR_RATE", &json!({"alert_state": state, "threshold": threshold.into()}))
    }

    fn thresholds(events: &[HealthEvent]) -> Vec<Option<f64>> {
        standing(events.to_vec()).iter().map(|stand| stand.said.threshold).collect()
    }

    #[test]
    fn an_alert_stands_until_it_is_taken_back_whatever_comes_late() {
        let raised = rate(1, "ACTIVATED", 5);
        let back = rate(3, "deactivated", 5);
        assert_eq!(thresholds(std::slice::from_ref(&raised)), [Some(5.0)]);
        assert_eq!(thresholds(&[raised.clone(), back.clone()]), []);
        assert_eq!(thresholds(&[back.clone(), raised.clone()]), [], "the older one came late");
        assert_eq!(thresholds(&[raised, back, rate(4, "ACTIVATED", "10.5")]), [Some(10.5)]);
    }

    #[test]
    fn what_is_below_a_threshold_is_below_the_higher_ones() {
        let raised = [rate(1, "ACTIVATED", 5), rate(2, "ACTIVATED", 10), rate(3, "ACTIVATED", 50)];
        assert_eq!(thresholds(&raised), [Some(50.0)]);
        assert_eq!(thresholds(&[&raised[..], &[rate(4, "DEACTIVATED", 50)]].concat()), [Some(10.0)]);
        assert_eq!(thresholds(&[&raised[..], &[rate(4, "DEACTIVATED", 5)]].concat()), []);
    }

    #[test]
    fn the_last_status_of_each_flow_stands_and_being_held_back_is_bad() {
        let status = |at, flow, to: &str| event(at, flow, "FLOW_STATUS_CHANGE", &json!({"new_status": to}));
        let stand = standing(vec![status(1, "1", "THROTTLED"), status(3, "1", "PUBLISHED"), status(2, "2", "Blocked")]);
        let told: Vec<_> = stand.iter().map(|stand| (stand.said.new_status.as_deref(), stand.verdict())).collect();
        assert_eq!(told, [(Some("PUBLISHED"), Verdict::Ok), (Some("BLOCKED"), Verdict::Alert)]);
    }

    #[test]
    fn events_that_nobody_knows_yet_are_kept_and_shown() {
        let unknown = event(1, "", "FLOW_HICCUP", &json!({"message": "hic", "threshold": [], "more": {}}));
        assert_eq!(unknown.kind(), "other");
        let stand = standing(vec![unknown, event(2, "1", "FLOW_VERSION_EXPIRY_WARNING", &json!({"warning": "soon"}))]);
        assert_eq!((stand[0].said.message.as_deref(), stand[0].verdict()), (Some("hic"), Verdict::Ok));
        assert_eq!((stand[1].said.message.as_deref(), stand[1].verdict()), (Some("soon"), Verdict::Watch));
    }

    #[test]
    fn the_same_event_has_the_same_print_and_a_large_one_leaves_a_note() {
        let one = rate(1, "ACTIVATED", 5);
        assert_eq!(one.print, rate(1, "ACTIVATED", 5).print);
        assert_ne!(one.print, rate(2, "ACTIVATED", 5).print);
        let large = |end| event(1, "1", "X", &json!({"message": "x".repeat(VALUE_BYTES), "end": end}));
        let (a, b) = (large("a"), large("b"));
        assert!(a.value.len() < 200 && a.value.contains("65560 bytes"), "{}", a.value);
        assert_ne!(a.print, b.print, "of all that came, not of what is kept");
    }
}
