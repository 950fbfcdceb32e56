//! What an e-mail says of an event: words of the owner's with places in them (see [`Pattern`]) or, where there are none, a
//! subject for each kind of event and a plain list of what its `data` holds.
//!
//! What a customer wrote never ends a line of the head, and in the text only as a line's end: control characters have no place
//! in either (RFC 5322, 2.2 and 3.5). How it is put into octets is `crate::courier`'s.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::event::EventKind;
use super::message::Pattern;

/// Characters of a subject at the most; what is more is cut. Most readers show fewer.
pub const SUBJECT_CHARS_MAX: usize = 200;

/// Characters of a text at the most; what is more is cut, and the text says so.
pub const TEXT_CHARS_MAX: usize = 100_000;

/// How the way to a mail server is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// By `STARTTLS` (RFC 3207), without which nothing goes.
    Starttls,
    /// By TLS from the first byte (RFC 8314, 3.3).
    Implicit,
    /// Not at all: the way is one's own.
    None,
}

impl MailTls {
    /// The port that such servers have.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// What is said of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRule {
    /// The subject; `None`: that of its kind.
    pub subject: Option<Pattern>,
    /// The text; `None`: the list of all there is.
    pub text: Option<Pattern>,
}

/// An e-mail, without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// One line, never empty.
    pub subject: String,
    /// Lines that end with `\n`.
    pub text: String,
}

/// What an e-mail says that tells of `body`, the JSON text of an event or of a test. Nothing is left untold for want of words:
/// where those of `messages` come to nothing, its own do.
#[must_use]
pub fn words(messages: &BTreeMap<EventKind, MailRule>, body: &str) -> Words {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let data = body.get("data").unwrap_or(&Value::Null);
    let name = body.get("type").and_then(Value::as_str).unwrap_or_default();
    let kind = EventKind::named(name);
    let rule = kind.and_then(|kind| messages.get(&kind));
    let said = |pattern: Option<&Pattern>, clean: fn(&str) -> String| {
        pattern.map(|pattern| clean(&pattern.render(data))).filter(|text| !text.trim().is_empty())
    };
    let subject = said(rule.and_then(|rule| rule.subject.as_ref()), one_line);
    let text = said(rule.and_then(|rule| rule.text.as_ref()), lines);
    Words {
        subject: subject.unwrap_or_else(|| own_subject(kind, name, data)),
        text: cut(&text.unwrap_or_else(|| own_text(name, &body, data))),
    }
}

/// The subject that an event has of its own.
const fn subject_of(kind: EventKind) -> &'static str {
    match kind {
        EventKind::SubmissionAccepted => "{flow}: form {submission.id} was taken",
        EventKind::SubmissionUpdated => "{flow}: who filled in form {submission.id} is known now",
        EventKind::LeadAssigned => "{flow}: lead {lead.id} is for {lead.agent}",
        EventKind::LeadWaiting => "{flow}: lead {lead.id} waits, nobody can take it",
        EventKind::BookingConfirmed => "{flow}: booked for {booking.date} at {booking.time}",
        EventKind::BookingCancelled => "{flow}: the booking for {booking.date} at {booking.time} was cancelled",
        EventKind::BookingConflict => "{flow}: form {submission.id} did not get its slot",
        EventKind::DraftAbandoned => "{flow}: a form was begun and left",
        EventKind::GatewayDown => "Gateway {gateway.name} is not connected",
        EventKind::GatewayNeedsPerson => "Gateway {gateway.name} needs somebody",
        EventKind::FlowUnhealthy => "A flow is in trouble: {flow}{health.meta_flow_id}",
        EventKind::NumberSilent => "Number {number.phone} receives no messages",
        EventKind::JobDead => "Job {job.id} has become a dead letter",
        EventKind::DestinationStopped => "Destination {destination.name} is told nothing any more",
    }
}

fn own_subject(kind: Option<EventKind>, name: &str, data: &Value) -> String {
    let own = kind.and_then(|kind| Pattern::parse(subject_of(kind)).ok());
    match own {
        Some(pattern) => one_line(&pattern.render(data)),
        None if name.trim().is_empty() => "flowgate".to_owned(),
        None => one_line(&format!("flowgate: {name}")),
    }
}

/// All that `data` holds, a line for each value, and what it is about.
fn own_text(name: &str, body: &Value, data: &Value) -> String {
    let mut text = String::new();
    list(&mut text, "", data);
    let at = body.get("timestamp").and_then(Value::as_str).unwrap_or_default();
    // "-- " begins what readers show as a signature (RFC 3676, 4.3).
    let _ = write!(text, "\n-- \n{} {}\n", one_line(name), one_line(at));
    text
}

/// The entries of `value`, each on a line of its own behind `indent`; what has entries itself stands above them. Nothing is
/// said of what is not known.
fn list(text: &mut String, indent: &str, value: &Value) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(entries) => entries.iter().map(|(name, value)| (one_line(name), value)).collect(),
        Value::Array(items) => (1..).zip(items).map(|(number, item)| (format!("{number}"), item)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in entries {
        let deeper = format!("{indent}  ");
        let is_flat = |items: &[Value]| items.iter().all(|item| !item.is_object() && !item.is_array());
        match value {
            Value::Null => {}
            Value::Object(inner) if inner.is_empty() => {}
            Value::Array(items) if items.is_empty() => {}
            Value::Object(_) => {
                let _ = writeln!(text, "{indent}{name}");
                list(text, &deeper, value);
            }
            Value::Array(items) if !is_flat(items) => {
                let _ = writeln!(text, "{indent}{name}");
                list(text, &deeper, value);
            }
            Value::Array(items) => {
                let all: Vec<String> = items.iter().map(|item| plain(item, &deeper)).collect();
                let _ = writeln!(text, "{indent}{name}: {}", all.join(", "));
            }
            value => {
                let _ = writeln!(text, "{indent}{name}: {}", plain(value, &deeper));
            }
        }
    }
}

/// A value as it is read. Its further lines stand behind `indent`: no answer looks like an entry of ours.
fn plain(value: &Value, indent: &str) -> String {
    match value {
        Value::String(text) => lines(text).trim_end().replace('\n', &format!("\n{indent}| ")),
        other => other.to_string(),
    }
}

/// `text` on one line, cut where it is too long for a subject.
fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let words = text.split(|c: char| breaks(c) || c == ' ').filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SUBJECT_CHARS_MAX {
        return line;
    }
    line.chars().take(SUBJECT_CHARS_MAX - 1).chain(['…']).collect()
}

/// `text` in lines that end with `\n`, without other control characters but tabs.
fn lines(text: &str) -> String {
    let ends = text.replace("\r\n", "\n").replace(['\r', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    ends.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn cut(text: &str) -> String {
    let length = text.chars().count();
    if length <= TEXT_CHARS_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(TEXT_CHARS_MAX).collect();
    format!("{kept}…\n\n(This is the beginning: the whole has {length} characters.)\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::example::{Extent, example};
    use crate::domain::time::Timestamp;

    fn told(rule: Option<(&str, &str)>, kind: &str, data: &Value) -> Words {
        let pattern = |text: &str| Some(Pattern::parse(text).unwrap());
        let rule = rule.map(|(subject, text)| MailRule { subject: pattern(subject), text: pattern(text) });
        let messages = EventKind::named(kind).zip(rule).into_iter().collect();
        let body = json!({"type": kind, "timestamp": "2026-11-25T09:00:00.000Z", "data": data});
        words(&messages, &body.to_string())
    }

    fn lead(name: &str) -> Value {
        json!({"flow": "visit",
            "submission": {"id": 7, "user": {"id": null, "phone": "491511234567"}, "answers": {"name": name}, "problems": []},
            "lead": {"id": 3, "agent": "Ann"}})
    }

    #[test]
    fn places_are_filled_and_a_line_break_of_an_answer_ends_no_subject() {
        let rule = Some(("New lead {lead.id}: {submission.answers.name}", "It is {submission.answers.name}."));
        assert_eq!(told(rule, "lead.assigned", &lead("Bob")).subject, "New lead 3: Bob");
        for evil in
            ["Bob\r\nBcc: thief@evil.example", "Bob\nBcc: x", "Bob\rBcc: x", "Bob\u{85}Bcc: x", "Bob\u{2028}Bcc: x"]
        {
            let words = told(rule, "lead.assigned", &lead(evil));
            assert!(words.subject.starts_with("New lead 3: Bob Bcc: "), "{:?}", words.subject);
            assert!(!words.subject.contains(char::is_control) && !words.text.contains('\r'), "{words:?}");
            assert!(words.text.starts_with("It is Bob\nBcc: "), "{:?}", words.text);
        }
        assert_eq!(told(rule, "lead.assigned", &lead("a\0\u{7}\tb")).text, "It is a\tb.");
    }

    #[test]
    fn without_words_of_the_owners_all_that_is_known_is_listed() {
        let words = told(None, "lead.assigned", &lead("Bob\nlead\n  id: 99"));
        assert_eq!(words.subject, "visit: lead 3 is for Ann");
        insta::assert_snapshot!(words.text, @r"
        flow: visit
        submission
          id: 7
          user
            phone: 491511234567
          answers
            name: Bob
              | lead
              |   id: 99
        lead
          id: 3
          agent: Ann

        -- 
        lead.assigned 2026-11-25T09:00:00.000Z
        ");
    }

    #[test]
    fn every_kind_of_event_has_a_subject_made_of_what_it_has() {
        for kind in EventKind::ALL {
            let pattern = Pattern::parse(subject_of(kind)).unwrap();
            let data = &example(kind, Timestamp::ZERO, Extent::All)["data"];
            let has = |path: &[String]| path.iter().try_fold(data, |value, name| value.get(name)).is_some();
            assert!(pattern.places().all(has), "{kind}");
            assert!(!told(None, kind.as_str(), &json!({})).subject.is_empty(), "{kind}");
        }
    }

    #[test]
    fn words_that_come_to_nothing_give_way_to_those_there_are() {
        let words = told(Some(("{lead.gone}", "{lead.gone}")), "lead.assigned", &lead("Bob"));
        assert_eq!(words.subject, "visit: lead 3 is for Ann");
        assert!(words.text.contains("agent: Ann"));
    }

    #[test]
    fn what_is_no_event_is_told_all_the_same() {
        let data = json!({"test": true, "list": ["a", 2], "nested": [{"x": 1}, {"x": "two"}]});
        let words = told(None, "test", &data);
        assert_eq!(words.subject, "flowgate: test");
        assert!(
            words.text.starts_with("test: true\nlist: a, 2\nnested\n  1\n    x: 1\n  2\n    x: two\n"),
            "{}",
            words.text
        );
        assert_eq!(super::words(&BTreeMap::new(), "no JSON").subject, "flowgate");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let long = "é".repeat(TEXT_CHARS_MAX);
        let words =
            told(Some(("{submission.answers.name}", "{submission.answers.name}!")), "lead.assigned", &lead(&long));
        assert_eq!(words.subject.chars().count(), SUBJECT_CHARS_MAX);
        assert!(words.subject.ends_with('…'));
        assert!(words.text.ends_with("the whole has 100001 characters.)\n"));
    }
}
