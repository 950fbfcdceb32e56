//! Renders the subject and text of an e-mail about an event.
//!
//! The text comes from the owner's template (see
//! [`super::message::PlaceholderText`]). Without a template, each kind of event
//! has a default subject, and the text lists the event's `data`.
//!
//! Control characters are not allowed in either part (RFC 5322, 2.2 and 3.5). Line breaks in a
//! customer's answers therefore become spaces in the subject and `\n` in the text. See
//! [`crate::delivery`] for encoding and sending.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::message::PlaceholderText;
use crate::domain::event::EventKind;
use crate::domain::truncation::truncate_chars;

/// Maximum number of characters of a subject. Longer subjects are truncated. Most mail readers show
/// fewer.
pub const SUBJECT_CHARS_MAX: usize = 200;

/// Maximum number of characters of a text. Longer texts are truncated, with a note at the end.
pub const TEXT_CHARS_MAX: usize = 100_000;

/// Encryption of the connection to an SMTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS by `STARTTLS` (RFC 3207). Without it, nothing is sent.
    Starttls,
    /// TLS from the first byte (RFC 8314, 3.3).
    Implicit,
    /// No TLS, for connections in the owner's own network.
    None,
}

impl SmtpTls {
    /// Returns the usual port of such servers.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// Templates for one kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailTemplate {
    /// Template of the subject. `None`: default subject of the kind.
    pub subject: Option<PlaceholderText>,
    /// Template of the text. `None`: list of the event's data.
    pub text: Option<PlaceholderText>,
}

/// E-mail without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailText {
    /// Subject: one line, never empty.
    pub subject: String,
    /// Text, with lines that end with `\n`.
    pub text: String,
}

/// Renders the e-mail for `body`, the JSON text of an event or of a test. If a template of
/// `messages` is missing or renders to an empty text, the default applies. Without this, the event
/// would be lost.
#[must_use]
pub fn render_email(messages: &BTreeMap<EventKind, EmailTemplate>, body: &str) -> EmailText {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let data = body.get("data").unwrap_or(&Value::Null);
    let name = body.get("type").and_then(Value::as_str).unwrap_or_default();
    let kind = EventKind::from_name(name);
    let template = kind.and_then(|kind| messages.get(&kind));
    let rendered = |pattern: Option<&PlaceholderText>, clean: fn(&str) -> String| {
        pattern
            .map(|pattern| clean(&pattern.render(data)))
            .filter(|text| !text.trim().is_empty())
    };
    let (subject, text) = template
        .map(|template| (template.subject.as_ref(), template.text.as_ref()))
        .unwrap_or_default();
    let subject = rendered(subject, single_line);
    let text = rendered(text, normalize_lines);
    EmailText {
        subject: subject.unwrap_or_else(|| default_subject(kind, name, data)),
        text: truncate_text(&text.unwrap_or_else(|| default_text(name, &body, data))),
    }
}

/// Returns the default subject template of an event.
const fn subject_template(kind: EventKind) -> &'static str {
    match kind {
        EventKind::SubmissionAccepted => "{flow}: form {submission.id} was received",
        EventKind::SubmissionUpdated => "{flow}: the customer of form {submission.id} is known now",
        EventKind::LeadAssigned => "{flow}: lead {lead.id} is assigned to {lead.agent}",
        EventKind::LeadWaiting => "{flow}: lead {lead.id} is waiting, no agent is available",
        EventKind::LeadClosed => "{flow}: lead {lead.id} is closed",
        EventKind::BookingConfirmed => "{flow}: booked for {booking.date} at {booking.time}",
        EventKind::BookingCancelled => {
            "{flow}: the booking for {booking.date} at {booking.time} was cancelled"
        }
        EventKind::BookingConflict => "{flow}: the slot of form {submission.id} was already taken",
        EventKind::DraftAbandoned => "{flow}: a form was abandoned",
        EventKind::GatewayDown => "Gateway {gateway.name} is not connected",
        EventKind::GatewayNeedsPerson => "Gateway {gateway.name} needs a person",
        EventKind::FlowUnhealthy => "A flow is unhealthy: {flow}{health.meta_flow_id}",
        EventKind::NumberSilent => "Number {number.phone} receives no messages",
        EventKind::JobDead => "Job {job.id} has become a dead letter",
        EventKind::DestinationStopped => "Destination {destination.name} is stopped",
        EventKind::BackupFailed => "A backup failed or is late",
    }
}

fn default_subject(kind: Option<EventKind>, name: &str, data: &Value) -> String {
    let default_template =
        kind.and_then(|kind| PlaceholderText::parse(subject_template(kind)).ok());
    match default_template {
        Some(pattern) => single_line(&pattern.render(data)),
        None if name.trim().is_empty() => "flowgate".to_owned(),
        None => single_line(&format!("flowgate: {name}")),
    }
}

/// Returns the default text: a line for each value of `data`, then the kind and the time of the
/// event.
fn default_text(name: &str, body: &Value, data: &Value) -> String {
    let mut text = String::new();
    write_entries(&mut text, "", data);
    let at = body.get("timestamp").and_then(Value::as_str);
    let (name, at) = (single_line(name), single_line(at.unwrap_or_default()));
    // Mail readers show what follows "-- " as a signature (RFC 3676, 4.3).
    let _ = write!(text, "\n-- \n{name} {at}\n");
    text
}

/// Writes the entries of `value`, each on its own line after `indent`. The name of an object or of
/// a nested list stands above its entries. Null and empty values are omitted.
fn write_entries(text: &mut String, indent: &str, value: &Value) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(entries) => {
            let entries = entries.iter();
            entries
                .map(|(name, value)| (single_line(name), value))
                .collect()
        }
        Value::Array(items) => {
            let numbers = (1..).map(|number: u32| number.to_string());
            numbers.zip(items).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in entries {
        let deeper = format!("{indent}  ");
        let is_nested = |value: &Value| value.is_object() || value.is_array();
        let has_own_lines = match value {
            Value::Null => continue,
            Value::Object(fields) if fields.is_empty() => continue,
            Value::Array(items) if items.is_empty() => continue,
            Value::Array(items) => items.iter().any(is_nested),
            value => value.is_object(),
        };
        if has_own_lines {
            let _ = writeln!(text, "{indent}{name}");
            write_entries(text, &deeper, value);
        } else {
            let _ = writeln!(text, "{indent}{name}: {}", format_value(value, &deeper));
        }
    }
}

/// Returns a value as readable text. Further lines of the value begin with `indent` and a bar.
/// Without this, an answer could look like another entry.
fn format_value(value: &Value, indent: &str) -> String {
    match value {
        Value::String(text) => normalize_lines(text)
            .trim_end()
            .replace('\n', &format!("\n{indent}| ")),
        Value::Array(items) => {
            let items = items.iter().map(|item| format_value(item, indent));
            items.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// Returns `text` on one line, truncated to the maximum length of a subject.
fn single_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let words = text
        .split(|c: char| breaks(c) || c == ' ')
        .filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    truncate_chars(&line, SUBJECT_CHARS_MAX).into_owned()
}

/// Returns `text` with lines that end with `\n`. All control characters except tabs are removed.
fn normalize_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace(['\r', '\u{85}', '\u{2028}', '\u{2029}'], "\n")
        .replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "")
}

fn truncate_text(text: &str) -> String {
    let length = text.chars().count();
    if length <= TEXT_CHARS_MAX {
        return text.to_owned();
    }
    let head: String = text.chars().take(TEXT_CHARS_MAX).collect();
    format!("{head}…\n\n(Truncated: the full text has {length} characters.)\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::samples::{Completeness, sample_event};
    use crate::domain::time::Timestamp;

    fn render(rule: Option<(&str, &str)>, kind: &str, data: &Value) -> EmailText {
        let pattern = |text: &str| Some(PlaceholderText::parse(text).unwrap());
        let template = rule.map(|(subject, text)| EmailTemplate {
            subject: pattern(subject),
            text: pattern(text),
        });
        let messages = EventKind::from_name(kind)
            .zip(template)
            .into_iter()
            .collect();
        let body = json!({"type": kind, "timestamp": "2026-11-25T09:00:00.000Z", "data": data});
        render_email(&messages, &body.to_string())
    }

    fn lead_data(name: &str) -> Value {
        json!({"flow": "visit",
            "submission": {"id": 7, "customer": {"id": null, "phone": "491511234567"}, "answers": {"name": name}, "problems": []},
            "lead": {"id": 3, "agent": "Ann"}})
    }

    #[test]
    fn subject_has_no_line_breaks_of_answers() {
        let rule = Some((
            "New lead {lead.id}: {submission.answers.name}",
            "It is {submission.answers.name}.",
        ));
        let render = |name: &str| render(rule, "lead.assigned", &lead_data(name));
        assert_eq!(render("Bob").subject, "New lead 3: Bob");
        for line_break in ["\r\n", "\n", "\r", "\u{85}", "\u{2028}"] {
            let email = render(&format!("Bob{line_break}Bcc: thief@evil.example"));
            assert_eq!(email.subject, "New lead 3: Bob Bcc: thief@evil.example");
            assert_eq!(email.text, "It is Bob\nBcc: thief@evil.example.");
        }
        assert_eq!(render("a\0\u{7}\tb").text, "It is a\tb.");
    }

    #[test]
    fn default_email_lists_event_data() {
        let email = render(None, "lead.assigned", &lead_data("Bob\nlead\n  id: 99"));
        assert_eq!(email.subject, "visit: lead 3 is assigned to Ann");
        insta::assert_snapshot!(email.text, @r"
        flow: visit
        submission
          id: 7
          customer
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
    fn every_event_kind_has_subject() {
        for kind in EventKind::ALL {
            let pattern = PlaceholderText::parse(subject_template(kind)).unwrap();
            let data = &sample_event(kind, Timestamp::ZERO, Completeness::Full)["data"];
            let has = |path: &[String]| data.pointer(&format!("/{}", path.join("/"))).is_some();
            assert!(pattern.placeholders().all(has), "{kind}");
            let email = render(None, kind.as_str(), &json!({}));
            assert!(!email.subject.is_empty(), "{kind}");
        }
    }

    #[test]
    fn empty_template_falls_back_to_default() {
        let rule = Some(("{lead.gone}", "{lead.gone}"));
        let email = render(rule, "lead.assigned", &lead_data("Bob"));
        assert_eq!(email.subject, "visit: lead 3 is assigned to Ann");
        assert!(email.text.contains("agent: Ann"));
    }

    #[test]
    fn unknown_event_is_rendered() {
        let data = json!({"test": true, "list": ["a", 2], "nested": [{"x": 1}, {"x": "two"}]});
        let email = render(None, "test", &data);
        assert_eq!(email.subject, "flowgate: test");
        let expected = "test: true\nlist: a, 2\nnested\n  1\n    x: 1\n  2\n    x: two\n";
        assert!(email.text.starts_with(expected), "{}", email.text);
        let no_json = render_email(&BTreeMap::new(), "no JSON");
        assert_eq!(no_json.subject, "flowgate");
    }

    #[test]
    fn long_email_is_truncated() {
        let long = "é".repeat(TEXT_CHARS_MAX);
        let rule = Some(("{submission.answers.name}", "{submission.answers.name}!"));
        let email = render(rule, "lead.assigned", &lead_data(&long));
        assert_eq!(email.subject.chars().count(), SUBJECT_CHARS_MAX);
        assert!(email.subject.ends_with('…'));
        let note = "the full text has 100001 characters.)\n";
        assert!(email.text.ends_with(note));
    }
}
