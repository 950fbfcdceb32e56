//! Which names an event has: what a template or a pattern looks up is held against examples of the events that it is for, so that
//! a mistyped name is told when the config is read, rather than as a gap in what is sent.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::nearest::hint;
use super::value::Item;
use crate::domain::event::EventKind;
use crate::domain::event::example::{Extent, example};
use crate::domain::message::Pattern;
use crate::domain::time::Timestamp;

/// Refuses places that no event of this kind fills.
pub(super) fn refuse_places(item: &Item<'_>, pattern: &Pattern, kind: EventKind) {
    let event = example(kind, Timestamp::ZERO, Extent::All);
    for place in pattern.places() {
        let data = event.get("data").into_iter().collect();
        if let Err(what) = follow(place.iter().map(String::as_str), data, kind.as_str()) {
            item.refuse(format!("{{{}}}: {what}", place.join(".")));
        }
    }
}

/// Follows `path` down from `known`, which are called `whole`, and gives the first name that none of them has, in words. What
/// customers answer may have any name.
pub(super) fn follow<'p>(
    path: impl IntoIterator<Item = &'p str>,
    mut known: Vec<&Value>,
    whole: &str,
) -> Result<(), String> {
    let mut before = String::new();
    for name in path {
        let below: Vec<&Value> = known.iter().filter_map(|value| value.get(name)).collect();
        if below.is_empty() {
            let names: BTreeSet<&str> =
                known.iter().filter_map(|value| value.as_object()).flat_map(Map::keys).map(String::as_str).collect();
            let within = if before.is_empty() { whole.to_owned() } else { format!("`{before}`") };
            let hint = if names.is_empty() { ": nothing is below it".to_owned() } else { hint(name, names) };
            return Err(format!("{within} has no {name:?}{hint}"));
        }
        if name == "answers" {
            break;
        }
        known = below;
        before = if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, refused};

    fn texts(kind: &str, text: &str) -> [String; 4] {
        let wa = "[destinations.a]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\nto = \"customer\"";
        let gateway = "[gateways.main]\nkind = \"waha\"\nurl = \"http://localhost:3000\"\nallow_private = true\n\
                       api_key = \"env:K\"\nwebhook_secret = \"env:W\"\n[destinations.a]\nkind = \"gateway\"\n\
                       gateway = \"main\"\nto = \"customer\"";
        let smtp = "[destinations.a]\nkind = \"smtp\"\nhost = \"a\"\nfrom = \"a@b.example\"\nto = \"a@b.example\"";
        let template = format!("template = {{ name = \"a\", language = \"en\", parameters = [\"{text}\"] }}");
        let text = format!("text = \"{text}\"");
        [(wa, &text), (wa, &template), (gateway, &text), (smtp, &text)]
            .map(|(head, message)| format!("{head}\nmessages = {{ \"{kind}\" = {{ {message} }} }}"))
    }

    #[test]
    fn a_name_that_no_such_event_has_is_refused_at_any_depth() {
        for (kind, text, why) in [
            ("booking.confirmed", "On {booking.dat}", "{booking.dat}: `booking` has no \"dat\": did you mean `date`?"),
            (
                "booking.confirmed",
                "{submission.user.fone}",
                "`submission.user` has no \"fone\": there are `id`, `phone`",
            ),
            (
                "booking.confirmed",
                "{booking.moved_from.tim}",
                "`booking.moved_from` has no \"tim\": did you mean `time`?",
            ),
            ("booking.confirmed", "{booking.date.day}", "`booking.date` has no \"day\": nothing is below it"),
            ("booking.confirmed", "{submission.problems.0}", "`submission.problems` has no \"0\": nothing is below it"),
            ("booking.confirmed", "{booking.answers}", "`booking` has no \"answers\""),
            ("booking.confirmed", "{conflict}", "booking.confirmed has no \"conflict\""),
            ("draft.abandoned", "{draft.answer.name}", "`draft` has no \"answer\": did you mean `answers`?"),
        ] {
            for config in texts(kind, text) {
                let said = refused(&config);
                assert!(said.contains(why), "{config}\n{said}");
            }
        }
        let said = refused(&texts("lead.assigned", "{lead.agnt}")[3]);
        assert!(said.contains("6:41: destinations.a.messages.lead.assigned.text: {lead.agnt}: `lead`"), "{said}");
    }

    #[test]
    fn what_only_some_events_have_may_be_named_and_so_may_any_answer() {
        for (kind, text) in [
            ("submission.accepted", "{submission.user.phone}{submission.message_id}{booking.date}{conflict}"),
            ("submission.updated", "{flow}{submission.flow_token}{submission.problems}"),
            ("lead.assigned", "{lead.agent}{lead.reason}{booking.moved_from.date}{conflict}"),
            ("lead.waiting", "{lead.agent}{lead.team}"),
            ("booking.cancelled", "{booking.state}{submission.answers}{submission.answers.whatever.it.is}"),
            ("draft.abandoned", "{draft.screen}{draft.answers.name}"),
        ] {
            for config in texts(kind, text) {
                accepted(&config);
            }
        }
    }
}
