//! Summarizes an event for people: a headline and facts.
//!
//! The summary is built from the event's body, which an admin may have corrected. Missing values
//! are omitted. See [`crate::domain::delivery::payload::chat`] for the format of chats.

use serde_json::{Map, Value};

use super::EventKind;
use crate::domain::delivery::message::display_value;

/// Summary of an event. Every text may contain what a customer wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSummary {
    /// Headline in one line.
    pub headline: String,
    /// Further facts as pairs of name and text.
    pub facts: Vec<(String, String)>,
}

impl EventSummary {
    /// Summarizes `event`, an object with the fields of an event's body.
    #[must_use]
    pub fn from_event(event: &Map<String, Value>) -> Self {
        let nothing = Value::Null;
        let data = DataReader(event.get("data").unwrap_or(&nothing));
        let kind = event.get("type").and_then(Value::as_str);
        let kind = kind.unwrap_or_default();
        let is_test = data.0.get("test") == Some(&Value::Bool(true));
        let headline = match EventKind::from_name(kind) {
            Some(kind) if is_test => format!("Test: {}", headline_of(kind, &data)),
            Some(kind) => headline_of(kind, &data),
            None => data.text_at("/message").unwrap_or_else(|| kind.to_owned()),
        };
        let mut summary = Self {
            headline: single_line(&headline),
            facts: Vec::new(),
        };
        summary.add_booking(&data);
        summary.add_form(&data);
        summary.add_trouble(&data);
        summary
    }

    /// Returns the summary as plain text, with a line for each fact. Further lines of a fact are
    /// indented. Without this, an answer could look like another fact.
    #[must_use]
    pub fn to_plain_text(&self) -> String {
        let mut text = self.headline.clone();
        for (name, fact) in &self.facts {
            let fact = split_lines(fact).collect::<Vec<_>>().join("\n  ");
            text.extend(["\n", name, ": ", &fact]);
        }
        text
    }

    fn add_fact(&mut self, name: &str, fact: Option<String>) {
        let fact = fact.filter(|fact| !fact.trim().is_empty());
        let fact = fact.map(|fact| (single_line(name), fact));
        self.facts.extend(fact);
    }

    fn add_booking(&mut self, data: &DataReader<'_>) {
        let time = |from: &str| {
            let day = data.text_at(&format!("{from}/date"))?;
            let time = data.text_at(&format!("{from}/time"))?;
            Some(format!("{day} at {time}"))
        };
        let calendar = data.text_at("/booking/calendar");
        let calendar = calendar.map_or_else(String::new, |name| format!(" ({name})"));
        let booked = time("/booking").map(|time| time + &calendar);
        self.add_fact("Booked", booked);
        self.add_fact("Before", time("/booking/moved_from"));
        self.add_fact("No booking", data.text_at("/conflict"));
    }

    fn add_form(&mut self, data: &DataReader<'_>) {
        for form in ["/submission", "/draft"] {
            let customer = |name: &str| data.text_at(&format!("{form}/customer/{name}"));
            self.add_fact("From", customer("phone").or_else(|| customer("id")));
            self.add_fact("Screen", data.text_at(&format!("{form}/screen")));
            let answers = data.0.pointer(&format!("{form}/answers"));
            let answers = answers.and_then(Value::as_object);
            for (name, value) in answers.into_iter().flatten() {
                self.add_fact(name, Some(display_value(value)));
            }
            for problem in data.items(&format!("{form}/problems")) {
                self.add_fact("Problem", Some(display_value(problem)));
            }
        }
    }

    fn add_trouble(&mut self, data: &DataReader<'_>) {
        let reasons = ["/job/reason", "/destination/reason", "/backup/reason"];
        self.add_fact("Why", reasons.iter().find_map(|path| data.text_at(path)));
        for finding in data.items("/health/findings") {
            self.add_fact("Found", Some(display_value(finding)));
        }
        let suggestions = ["/health", "/gateway", "/number"];
        let suggestion = |part: &&str| data.text_at(&format!("{part}/suggestion"));
        let job = data.text_at("/job/id");
        let destination = data.text_at("/destination/name");
        let backup = data.text_at("/backup/reason");
        for to_do in [
            suggestions.iter().find_map(suggestion),
            job.map(|id| format!("flowgate dead-letters show {id}")),
            destination.map(|name| format!("flowgate destinations resume {name}")),
            backup.map(|_| "flowgate status".to_owned()),
        ] {
            self.add_fact("To do", to_do);
        }
    }
}

/// Reader of the `data` of a body.
struct DataReader<'a>(&'a Value);

impl DataReader<'_> {
    /// Returns the value at `path` as text. `None` if the value is missing or null.
    fn text_at(&self, path: &str) -> Option<String> {
        let value = self.0.pointer(path).filter(|value| !value.is_null());
        value.map(display_value)
    }

    /// Returns the items of the list at `path`. The result is empty if there is no list.
    fn items(&self, path: &str) -> &[Value] {
        let list = self.0.pointer(path).and_then(Value::as_array);
        list.map_or(&[], Vec::as_slice)
    }

    /// Returns the value at `path` as text, or `unknown` if the value is missing.
    fn text_or(&self, path: &str, unknown: &str) -> String {
        self.text_at(path).unwrap_or_else(|| unknown.to_owned())
    }
}

fn headline_of(kind: EventKind, data: &DataReader<'_>) -> String {
    let text = |path: &str| data.text_or(path, "?");
    let flow = data.text_or("/flow", "a flow");
    let form = text("/submission/id");
    let lead = text("/lead/id");
    let slot = format!("{} at {}", text("/booking/date"), text("/booking/time"));
    let gateway = text("/gateway/name");
    let state = text("/gateway/state");
    match kind {
        EventKind::SubmissionAccepted => format!("New form of {flow}"),
        EventKind::SubmissionUpdated => format!("The customer is known now: form {form} of {flow}"),
        EventKind::LeadAssigned => {
            let agent = data.text_or("/lead/agent", "an agent");
            format!("Lead {lead} of {flow} is assigned to {agent}")
        }
        EventKind::LeadWaiting => {
            let team = data.text_or("/lead/team", "its team");
            format!("Lead {lead} of {flow} is waiting: no agent of {team} is available")
        }
        EventKind::LeadClosed => {
            let reason = data.text_or("/lead/close_reason", "an unknown reason");
            format!("Lead {lead} of {flow} is closed: {reason}")
        }
        EventKind::BookingConfirmed if data.text_at("/booking/moved_from").is_some() => {
            format!("Moved to {slot}")
        }
        EventKind::BookingConfirmed => format!("Booked for {slot}"),
        EventKind::BookingCancelled => format!("Cancelled: {slot}"),
        EventKind::BookingConflict => {
            format!("Please call: the slot that form {form} of {flow} requested was taken")
        }
        EventKind::DraftAbandoned => format!("A form of {flow} was abandoned"),
        EventKind::GatewayDown => format!("Gateway {gateway} is down: {state}"),
        EventKind::GatewayNeedsPerson => format!("Gateway {gateway} needs a person: {state}"),
        EventKind::FlowUnhealthy => {
            let flow = data.text_at("/flow");
            let source = text("/health/source");
            match flow.or_else(|| data.text_at("/health/meta_flow_id")) {
                Some(flow) => format!("Flow {flow} is unhealthy, reported by {source}"),
                None => "A flow is unhealthy".to_owned(),
            }
        }
        EventKind::NumberSilent => {
            let number = data.text_or("/number/phone", &text("/number/phone_number_id"));
            let since = text("/number/last_message_at");
            format!("Number {number} receives no messages, since {since}")
        }
        EventKind::JobDead => format!("Job {} failed and is a dead letter", text("/job/id")),
        EventKind::DestinationStopped => {
            format!("Destination {} is stopped", text("/destination/name"))
        }
        EventKind::BackupFailed => "A backup failed or is late".to_owned(),
    }
}

/// Splits a text into lines at any kind of line break.
pub(crate) fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split([
        '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ])
}

fn single_line(text: &str) -> String {
    split_lines(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::samples::{Completeness, sample_event};
    use crate::domain::time::Timestamp;

    fn sample_summary(kind: EventKind, completeness: Completeness) -> EventSummary {
        EventSummary::from_event(&sample_event(kind, Timestamp::ZERO, completeness))
    }

    fn typical_summary(kind: EventKind) -> EventSummary {
        sample_summary(kind, Completeness::Typical)
    }

    fn plain_text(event: &Value) -> String {
        EventSummary::from_event(event.as_object().unwrap()).to_plain_text()
    }

    #[test]
    fn every_event_has_headline_and_facts() {
        assert_eq!(
            EventKind::ALL.map(|kind| typical_summary(kind).headline),
            [
                "New form of appointment",
                "The customer is known now: form 1 of appointment",
                "Lead 1 of appointment is assigned to Ann",
                "Lead 1 of appointment is waiting: no agent of sales is available",
                "Lead 1 of appointment is closed: age",
                "Booked for 2027-01-04 at 09:00",
                "Cancelled: 2027-01-04 at 09:00",
                "Please call: the slot that form 1 of appointment requested was taken",
                "A form of appointment was abandoned",
                "Gateway office is down: STOPPED",
                "Gateway office needs a person: SCAN_QR_CODE",
                "Flow appointment is unhealthy, reported by meta",
                "Number 15550783881 receives no messages, since 1970-01-01T00:00:00.000Z",
                "Job 1 failed and is a dead letter",
                "Destination crm is stopped",
                "A backup failed or is late",
            ]
        );
        assert_eq!(
            typical_summary(EventKind::LeadAssigned).to_plain_text(),
            "Lead 1 of appointment is assigned to Ann\nBooked: 2027-01-04 at 09:00 (chair)\nFrom: 12025550123\nname: Test\n\
             message: No action is needed."
        );
        let all = sample_summary(EventKind::BookingConfirmed, Completeness::Full);
        assert_eq!(all.headline, "Moved to 2027-01-04 at 09:00");
        let before = ("Before".to_owned(), "2027-01-03 at 10:00".to_owned());
        assert!(all.facts.contains(&before), "{all:?}");
        for (kind, to_do) in [
            (EventKind::JobDead, "dead-letters show 1"),
            (EventKind::DestinationStopped, "destinations resume crm"),
        ] {
            let text = typical_summary(kind).to_plain_text();
            let to_do = format!("\nTo do: flowgate {to_do}");
            assert!(text.ends_with(&to_do), "{text}");
        }
    }

    #[test]
    fn missing_data_is_omitted() {
        for kind in EventKind::ALL {
            let summary = sample_summary(kind, Completeness::Minimal);
            assert!(!summary.headline.contains('?'), "{summary:?}");
            assert!(!summary.to_plain_text().contains("null"), "{summary:?}");
        }
        let corrected = plain_text(&json!({"type": "lead.assigned"}));
        assert_eq!(corrected, "Lead ? of a flow is assigned to an agent");
        let test = json!({"type": "test", "data": {"message": "This is a test."}});
        assert_eq!(plain_text(&test), "This is a test.");
        let example = json!({"type": "job.dead", "data": {"job": {"id": 7}, "test": true}});
        let headline = "Test: Job 7 failed and is a dead letter\n";
        assert!(plain_text(&example).starts_with(headline));
    }

    #[test]
    fn multiline_fact_is_indented() {
        let answers = json!({"name": "Ann\nTo do: pay 100\rnow\u{2028}then", "a\nb": "c"});
        let event = json!({"type": "submission.accepted", "data": {"flow": "a\nb", "submission": {"answers": answers}}});
        let expected = "New form of a b\nname: Ann\n  To do: pay 100\n  now\n  then\na b: c";
        assert_eq!(plain_text(&event), expected);
    }
}
