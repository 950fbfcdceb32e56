//! An event in words, for people: a headline and what belongs to it. How it looks in a chat is `super::chat`'s.
//!
//! It is made from the event's body, which an admin may have corrected: what is missing there is left out.

use serde_json::{Map, Value};

use super::event::EventKind;
use super::message::shown;

/// An event in words. Every text may hold what a customer wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// What happened, in one line.
    pub headline: String,
    /// What else is known, each under a name.
    pub facts: Vec<(String, String)>,
}

impl Notice {
    /// What `event` tells, which has the fields of a body.
    #[must_use]
    pub fn of(event: &Map<String, Value>) -> Self {
        let nothing = Value::Null;
        let data = Data(event.get("data").unwrap_or(&nothing));
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_test = data.0.get("test").and_then(Value::as_bool).unwrap_or_default();
        let headline = match EventKind::named(kind) {
            Some(kind) if is_test => format!("Test: {}", headline(kind, &data)),
            Some(kind) => headline(kind, &data),
            None => data.at("/message").unwrap_or_else(|| kind.to_owned()),
        };
        let mut notice = Self { headline: one_line(&headline), facts: Vec::new() };
        notice.tell_booking(&data);
        notice.tell_form(&data);
        notice.tell_trouble(&data);
        notice
    }

    /// As plain text, a line for each fact. Further lines of a fact are indented, so that none looks like another fact.
    #[must_use]
    pub fn plain(&self) -> String {
        let fact =
            |(name, fact): &(String, String)| format!("\n{name}: {}", lines(fact).collect::<Vec<_>>().join("\n  "));
        std::iter::once(self.headline.clone()).chain(self.facts.iter().map(fact)).collect()
    }

    fn tell(&mut self, name: &str, fact: Option<String>) {
        self.facts.extend(fact.filter(|fact| !fact.trim().is_empty()).map(|fact| (one_line(name), fact)));
    }

    fn tell_booking(&mut self, data: &Data<'_>) {
        let time = |from: &str| {
            Some(format!("{} at {}", data.at(&format!("{from}/date"))?, data.at(&format!("{from}/time"))?))
        };
        let calendar = data.at("/booking/calendar").map(|name| format!(" ({name})")).unwrap_or_default();
        self.tell("Booked", time("/booking").map(|time| format!("{time}{calendar}")));
        self.tell("Before", time("/booking/moved_from"));
        self.tell("No booking", data.at("/conflict"));
    }

    fn tell_form(&mut self, data: &Data<'_>) {
        for form in ["/submission", "/draft"] {
            let user = |name: &str| data.at(&format!("{form}/user/{name}"));
            self.tell("From", user("phone").or_else(|| user("id")));
            self.tell("Screen", data.at(&format!("{form}/screen")));
            let answers = data.0.pointer(&format!("{form}/answers")).and_then(Value::as_object);
            for (name, answer) in answers.into_iter().flatten() {
                self.tell(name, Some(shown(answer)));
            }
            for problem in data.0.pointer(&format!("{form}/problems")).and_then(Value::as_array).into_iter().flatten() {
                self.tell("Problem", Some(shown(problem)));
            }
        }
    }

    fn tell_trouble(&mut self, data: &Data<'_>) {
        self.tell("Why", data.at("/job/reason").or_else(|| data.at("/destination/reason")));
        for finding in data.0.pointer("/health/findings").and_then(Value::as_array).into_iter().flatten() {
            self.tell("Found", Some(shown(finding)));
        }
        self.tell(
            "To do",
            ["/health", "/gateway", "/number"].iter().find_map(|part| data.at(&format!("{part}/advice"))),
        );
        self.tell("To do", data.at("/job/id").map(|id| format!("flowgate dead show {id}")));
        self.tell("To do", data.at("/destination/name").map(|name| format!("flowgate destinations resume {name}")));
    }
}

/// The `data` of a body.
struct Data<'a>(&'a Value);

impl Data<'_> {
    /// What stands there, if anything does.
    fn at(&self, path: &str) -> Option<String> {
        self.0.pointer(path).filter(|value| !value.is_null()).map(shown)
    }

    /// The same, with a word for what is not there.
    fn or(&self, path: &str, unknown: &str) -> String {
        self.at(path).unwrap_or_else(|| unknown.to_owned())
    }
}

fn headline(kind: EventKind, data: &Data<'_>) -> String {
    let flow = || data.or("/flow", "a flow");
    let when = || format!("{} at {}", data.or("/booking/date", "?"), data.or("/booking/time", "?"));
    let gateway = || format!("Gateway {}", data.or("/gateway/name", "?"));
    match kind {
        EventKind::SubmissionAccepted => format!("New form of {}", flow()),
        EventKind::SubmissionUpdated => {
            format!("Known now: who filled in form {} of {}", data.or("/submission/id", "?"), flow())
        }
        EventKind::LeadAssigned => {
            format!("Lead {} of {} goes to {}", data.or("/lead/id", "?"), flow(), data.or("/lead/agent", "somebody"))
        }
        EventKind::LeadWaiting => {
            format!(
                "Lead {} of {} waits: nobody of {} can take it",
                data.or("/lead/id", "?"),
                flow(),
                data.or("/lead/team", "its team")
            )
        }
        EventKind::BookingConfirmed if data.at("/booking/moved_from").is_some() => format!("Moved to {}", when()),
        EventKind::BookingConfirmed => format!("Booked for {}", when()),
        EventKind::BookingCancelled => format!("Cancelled: {}", when()),
        EventKind::BookingConflict => {
            format!("Please call: what form {} of {} wished to book was gone", data.or("/submission/id", "?"), flow())
        }
        EventKind::DraftAbandoned => format!("A form of {} was begun and left", flow()),
        EventKind::GatewayDown => format!("{} is down: {}", gateway(), data.or("/gateway/state", "?")),
        EventKind::GatewayNeedsPerson => format!("{} needs somebody: {}", gateway(), data.or("/gateway/state", "?")),
        EventKind::FlowUnhealthy => match data.at("/flow").or_else(|| data.at("/health/meta_flow_id")) {
            Some(flow) => format!("Flow {flow} is in trouble, says {}", data.or("/health/source", "?")),
            None => "A flow is in trouble".to_owned(),
        },
        EventKind::NumberSilent => format!(
            "Number {} receives no messages, since {}",
            data.at("/number/phone").unwrap_or_else(|| data.or("/number/phone_number_id", "?")),
            data.or("/number/last_message_at", "?")
        ),
        EventKind::JobDead => format!("Job {} can't be done and is a dead letter now", data.or("/job/id", "?")),
        EventKind::DestinationStopped => {
            format!("Destination {} is told nothing any more", data.or("/destination/name", "?"))
        }
    }
}

/// The lines of a text, by whatever ends them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
}

fn one_line(text: &str) -> String {
    lines(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::example::{Extent, example};
    use crate::domain::time::Timestamp;

    fn usual(kind: EventKind) -> Notice {
        Notice::of(&example(kind, Timestamp::ZERO, Extent::Usual))
    }

    #[test]
    fn each_event_is_told_in_a_line_of_its_own_and_with_what_belongs_to_it() {
        let headlines: Vec<String> = EventKind::ALL.into_iter().map(|kind| usual(kind).headline).collect();
        assert_eq!(
            headlines,
            [
                "New form of appointment",
                "Known now: who filled in form 1 of appointment",
                "Lead 1 of appointment goes to Ann",
                "Lead 1 of appointment waits: nobody of sales can take it",
                "Booked for 2027-01-04 at 09:00",
                "Cancelled: 2027-01-04 at 09:00",
                "Please call: what form 1 of appointment wished to book was gone",
                "A form of appointment was begun and left",
                "Gateway office is down: STOPPED",
                "Gateway office needs somebody: SCAN_QR_CODE",
                "Flow appointment is in trouble, says meta",
                "Number 15550783881 receives no messages, since 1970-01-01T00:00:00.000Z",
                "Job 1 can't be done and is a dead letter now",
                "Destination crm is told nothing any more",
            ]
        );
        assert_eq!(
            usual(EventKind::LeadAssigned).plain(),
            "Lead 1 of appointment goes to Ann\nBooked: 2027-01-04 at 09:00 (chair)\nFrom: 12025550123\nname: Test\n\
             message: Nothing is to be done."
        );
        let all = Notice::of(&example(EventKind::BookingConfirmed, Timestamp::ZERO, Extent::All));
        assert_eq!(all.headline, "Moved to 2027-01-04 at 09:00");
        assert!(all.plain().contains("\nBefore: 2027-01-03 at 10:00\n"), "{}", all.plain());
        assert!(usual(EventKind::JobDead).plain().ends_with("\nTo do: flowgate dead show 1"));
        assert!(usual(EventKind::DestinationStopped).plain().ends_with("\nTo do: flowgate destinations resume crm"));
    }

    #[test]
    fn what_is_missing_is_left_out() {
        for kind in EventKind::ALL {
            let notice = Notice::of(&example(kind, Timestamp::ZERO, Extent::Least));
            assert!(!notice.headline.contains('?') && !notice.plain().contains("null"), "{notice:?}");
        }
        let corrected = json!({"type": "lead.assigned"});
        assert_eq!(Notice::of(corrected.as_object().unwrap()).plain(), "Lead ? of a flow goes to somebody");
        let test = json!({"type": "test", "data": {"message": "This is a test."}});
        assert_eq!(Notice::of(test.as_object().unwrap()).plain(), "This is a test.");
        let example = json!({"type": "job.dead", "data": {"job": {"id": 7}, "test": true}});
        let headline = Notice::of(example.as_object().unwrap()).headline;
        assert_eq!(headline, "Test: Job 7 can't be done and is a dead letter now");
    }

    #[test]
    fn no_answer_looks_like_a_fact_of_its_own() {
        let answers = json!({"name": "Ann\nTo do: pay 100\rnow\u{2028}then", "a\nb": "c"});
        let event =
            json!({"type": "submission.accepted", "data": {"flow": "a\nb", "submission": {"answers": answers}}});
        let plain = Notice::of(event.as_object().unwrap()).plain();
        assert_eq!(plain, "New form of a b\nname: Ann\n  To do: pay 100\n  now\n  then\na b: c");
    }
}
