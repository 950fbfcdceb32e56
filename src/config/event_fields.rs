//! Checks the names of events. Checks that templates and placeholder texts use only names that
//! their events have. Samples of the events give the valid names.
//!
//! The check runs when the config is read. Without the check, a mistyped name would leave a gap in
//! the sent message.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::reader::value::ValueReader;
use super::suggest::suggestion;
use crate::domain::delivery::message::PlaceholderText;
use crate::domain::event::EventKind;
use crate::domain::event::samples::{Completeness, sample_event};
use crate::domain::time::Timestamp;

/// Parses the name of a kind of event. The error suggests a name of the `known` kinds.
pub(super) fn parse_event_kind(
    name: &str,
    known: impl Iterator<Item = EventKind> + Clone,
) -> Result<EventKind, String> {
    EventKind::from_name(name).ok_or_else(|| {
        let suggestion = suggestion(name, known.map(EventKind::as_str));
        format!("there is no event {name:?}{suggestion}")
    })
}

/// Reports placeholders that no event of this kind can fill.
pub(super) fn check_placeholders(
    item: &ValueReader<'_>,
    pattern: &PlaceholderText,
    kind: EventKind,
) {
    let event = sample_event(kind, Timestamp::ZERO, Completeness::Full);
    for placeholder in pattern.placeholders() {
        let data = event.get("data").into_iter().collect();
        if let Err(what) = resolve_path(placeholder.iter().map(String::as_str), data, kind.as_str())
        {
            item.error(format!("{{{}}}: {what}", placeholder.join(".")));
        }
    }
}

/// Follows `path` down from `candidates`, which messages call `root_name`. Returns an error text
/// for the first name that no candidate has. Names below `answers` are not checked, because answers
/// may have any name.
pub(super) fn resolve_path<'p>(
    path: impl IntoIterator<Item = &'p str>,
    mut candidates: Vec<&Value>,
    root_name: &str,
) -> Result<(), String> {
    let mut before = String::new();
    for name in path {
        let children: Vec<&Value> = candidates
            .iter()
            .filter_map(|value| value.get(name))
            .collect();
        if children.is_empty() {
            let names: BTreeSet<&str> = candidates
                .iter()
                .filter_map(|value| value.as_object())
                .flat_map(Map::keys)
                .map(String::as_str)
                .collect();
            let within = if before.is_empty() {
                root_name.to_owned()
            } else {
                format!("`{before}`")
            };
            let suggestion = if names.is_empty() {
                ": it has no fields".to_owned()
            } else {
                suggestion(name, names)
            };
            return Err(format!("{within} has no {name:?}{suggestion}"));
        }
        if name == "answers" {
            break;
        }
        candidates = children;
        before = if before.is_empty() {
            name.to_owned()
        } else {
            format!("{before}.{name}")
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_error, parse_valid};

    /// Returns a config for each way to send `message`, which is `KIND: TEXT`.
    fn texts(message: &str) -> [String; 4] {
        let (kind, text) = message.trim().split_once(": ").unwrap();
        let wa = "[destinations.a]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\nto = \"customer\"";
        let gateway = "[gateways.main]\nkind = \"waha\"\nurl = \"http://localhost:3000\"\nallow_private = true\n\
                       api_key = \"env:K\"\nwebhook_secret = \"env:W\"\n[destinations.a]\nkind = \"gateway\"\n\
                       gateway = \"main\"\nto = \"customer\"";
        let smtp = "[destinations.a]\nkind = \"smtp\"\nhost = \"a\"\nfrom = \"a@b.example\"\nto = \"a@b.example\"";
        let template =
            format!("template = {{ name = \"a\", language = \"en\", parameters = [\"{text}\"] }}");
        let text = format!("text = \"{text}\"");
        [
            (wa, &text),
            (wa, &template),
            (gateway, &text),
            (smtp, &text),
        ]
        .map(|(head, message)| format!("{head}\nmessages = {{ \"{kind}\" = {{ {message} }} }}"))
    }

    #[test]
    fn unknown_event_field_is_refused_at_any_depth() {
        let cases = r#"
            booking.confirmed: On {booking.dat} => {booking.dat}: `booking` has no "dat": did you mean `date`?
            booking.confirmed: {submission.customer.fone} => `submission.customer` has no "fone": expected one of `id`, `phone`
            booking.confirmed: {booking.moved_from.tim} => `booking.moved_from` has no "tim": did you mean `time`?
            booking.confirmed: {booking.date.day} => `booking.date` has no "day": it has no fields
            booking.confirmed: {submission.problems.0} => `submission.problems` has no "0": it has no fields
            booking.confirmed: {booking.answers} => `booking` has no "answers"
            booking.confirmed: {conflict} => booking.confirmed has no "conflict"
            draft.abandoned: {draft.answer.name} => `draft` has no "answer": did you mean `answers`?
        "#;
        for case in cases.trim().lines() {
            let (message, why) = case.split_once(" => ").unwrap();
            for config in texts(message) {
                assert_error(&config, why);
            }
        }
        let located = "6:41: destinations.a.messages.lead.assigned.text: {lead.agnt}: `lead`";
        assert_error(&texts("lead.assigned: {lead.agnt}")[3], located);
    }

    #[test]
    fn optional_fields_and_answers_are_allowed() {
        for message in [
            "submission.accepted: {submission.customer.phone}{submission.message_id}{booking.date}",
            "submission.accepted: {conflict}",
            "submission.updated: {flow}{submission.flow_token}{submission.problems}",
            "lead.assigned: {lead.agent}{lead.reason}{booking.moved_from.date}{conflict}",
            "lead.waiting: {lead.agent}{lead.team}",
            "booking.cancelled: {booking.state}{submission.answers}{submission.answers.a.it.is}",
            "draft.abandoned: {draft.screen}{draft.answers.name}",
        ] {
            for config in texts(message) {
                parse_valid(&config);
            }
        }
    }
}
