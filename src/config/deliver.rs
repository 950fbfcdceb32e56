//! `deliver` of a flow, and `alerts`: which destinations are told, and of what.
//!
//! ```toml
//! deliver = ["crm", { to = "sheet", events = ["lead.assigned"] }]
//! ```

use std::collections::BTreeSet;

use super::nearest::hint;
use super::value::Item;
use crate::domain::event::EventKind;
use crate::domain::ids::DestinationName;
use crate::domain::routes::Route;

/// What a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Events of a flow.
    Flow,
    /// Those for who runs the server.
    Alerts,
}

impl Kind {
    fn events(self) -> impl Iterator<Item = EventKind> + Clone {
        EventKind::ALL.into_iter().filter(move |event| event.is_alert() == (self == Self::Alerts))
    }
}

/// Reads a list of destinations, which must be among `known`: names, or tables that also say what of.
pub(super) fn read(item: &Item<'_>, known: &[&str], kind: Kind) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for item in item.items().unwrap_or_default() {
        let Some(route) = route(&item, known, kind) else { continue };
        if routes.iter().any(|other| other.to == route.to) {
            item.refuse(format!("{:?} is there twice: write its events in one place", route.to.as_str()));
        }
        routes.push(route);
    }
    routes
}

fn route(item: &Item<'_>, known: &[&str], kind: Kind) -> Option<Route> {
    if !item.is_table() {
        return Some(Route { to: destination(item, known)?, events: kind.events().collect() });
    }
    item.table(|table| {
        let to = table.need("to").and_then(|item| destination(&item, known));
        let events = table.get("events").and_then(|item| item.some_items());
        let events = match events {
            Some(items) => items.iter().filter_map(|item| event(item, kind)).collect(),
            None => kind.events().collect::<BTreeSet<_>>(),
        };
        Some(Route { to: to?, events })
    })?
}

fn destination(item: &Item<'_>, known: &[&str]) -> Option<DestinationName> {
    let name = item.text()?;
    if !known.contains(&name) {
        item.refuse(format!("there is no destination {name:?}{}", hint(name, known.iter().copied())));
        return None;
    }
    DestinationName::new(name).ok()
}

fn event(item: &Item<'_>, kind: Kind) -> Option<EventKind> {
    let name = item.text()?;
    let found = EventKind::named(name).filter(|event| kind.events().any(|known| known == *event));
    if found.is_none() {
        let why = match (EventKind::named(name), kind) {
            (Some(_), Kind::Flow) => format!("{name:?} is for `alerts`, at the top of the config"),
            (Some(_), Kind::Alerts) => format!("{name:?} is for the `deliver` of a flow"),
            (None, _) => {
                format!("there is no event {name:?}{}", hint(name, kind.events().map(EventKind::as_str)))
            }
        };
        item.refuse(why);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused};
    use super::*;
    use crate::domain::ids::FlowName;

    const TWO: &str =
        "[destinations.crm]\nurl = \"https://crm.example\"\n[destinations.ops]\nurl = \"https://ops.example\"";

    #[test]
    fn a_name_is_told_everything_and_a_table_says_what() {
        let config = accepted(&format!(
            "alerts = [\"ops\"]\n{TWO}\n[flows.form]\ndeliver = [\"crm\", {{ to = \"ops\", events = [\"lead.waiting\"] }}]"
        ));
        let form = FlowName::new("form").unwrap();
        let told = |kind| config.routes.of(kind, Some(&form)).map(|one| one.to.as_str().to_owned()).collect::<Vec<_>>();
        for kind in EventKind::ALL {
            let expected: &[&str] = match kind {
                EventKind::LeadWaiting => &["crm", "ops"],
                kind if kind.is_alert() => &["ops"],
                _ => &["crm"],
            };
            assert_eq!(told(kind), expected, "{kind}");
        }
    }

    #[test]
    fn a_mistyped_destination_or_event_is_told_from_those_there_are() {
        assert_refused(
            &format!("{TWO}\n[flows.form]"),
            &[
                (
                    "deliver = [\"cmr\"]",
                    "6:12: flows.form.deliver: there is no destination \"cmr\": did you mean `crm`?",
                ),
                ("deliver = \"crm\"", "6:11: flows.form.deliver: must be a list in brackets, and is a text"),
                (
                    "deliver = [\"crm\", { to = \"crm\" }]",
                    "6:19: flows.form.deliver: \"crm\" is there twice: write its events in one place",
                ),
                (
                    "deliver = [{ to = \"crm\", events = [\"lead.asigned\"] }]",
                    "6:36: flows.form.deliver.events: there is no event \"lead.asigned\": did you mean `lead.assigned`?",
                ),
                (
                    "deliver = [{ to = \"crm\", events = [\"job.dead\"] }]",
                    "6:36: flows.form.deliver.events: \"job.dead\" is for `alerts`, at the top of the config",
                ),
                ("deliver = [{ events = [\"lead.waiting\"] }]", "6:12: flows.form.deliver: `to` is missing"),
            ],
        );
        assert_refused("", &[("alerts = [\"ops\"]", "2:11: alerts: there is no destination \"ops\"")]);
    }
}
