//! Reads `deliver` of a flow, and `alerts`: the destinations that get events, and the kinds of
//! these events.
//!
//! ```toml
//! deliver = ["crm", { to = "sheet", events = ["lead.assigned"] }]
//! ```

use super::event_fields::parse_event_kind;
use super::reader::value::ValueReader;
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::Subscription;
use crate::domain::ids::DestinationName;

/// Kind of a list of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionKind {
    /// List `deliver`: events of a flow.
    Flow,
    /// List `alerts`: events for those who run the server.
    Alerts,
}

impl SubscriptionKind {
    fn events(self) -> impl Iterator<Item = EventKind> + Clone {
        EventKind::ALL
            .into_iter()
            .filter(move |event| event.is_alert() == (self == Self::Alerts))
    }
}

/// Reads a list of subscriptions. An item is the name of a destination, or a table that may also
/// select events. The destination must be one of `known`.
pub(super) fn read(
    item: &ValueReader<'_>,
    known: &[&str],
    kind: SubscriptionKind,
) -> Vec<Subscription> {
    let mut subscriptions: Vec<Subscription> = Vec::new();
    for item in item.list().unwrap_or_default() {
        let Some(subscription) = read_subscription(&item, known, kind) else {
            continue;
        };
        if subscriptions
            .iter()
            .any(|other| other.destination == subscription.destination)
        {
            item.error(format!(
                "{:?} is listed twice: put all its events into one entry",
                subscription.destination.as_str()
            ));
        }
        subscriptions.push(subscription);
    }
    subscriptions
}

fn read_subscription(
    item: &ValueReader<'_>,
    known: &[&str],
    kind: SubscriptionKind,
) -> Option<Subscription> {
    if !item.is_table() {
        return Some(Subscription {
            destination: read_destination(item, known)?,
            events: kind.events().collect(),
        });
    }
    item.read_table(|table| {
        let to = table
            .require("to")
            .and_then(|item| read_destination(&item, known));
        let events = table.get("events").and_then(|item| item.non_empty_list());
        let events = events.map(|items| {
            items
                .iter()
                .filter_map(|item| read_event(item, kind))
                .collect()
        });
        Some(Subscription {
            destination: to?,
            events: events.unwrap_or_else(|| kind.events().collect()),
        })
    })?
}

fn read_destination(item: &ValueReader<'_>, known: &[&str]) -> Option<DestinationName> {
    DestinationName::new(item.known_name("destination", known)?).ok()
}

fn read_event(item: &ValueReader<'_>, kind: SubscriptionKind) -> Option<EventKind> {
    item.parse(|name| {
        let event = parse_event_kind(name, kind.events())?;
        match kind {
            _ if kind.events().any(|known| known == event) => Ok(event),
            SubscriptionKind::Flow => Err(format!(
                "{name:?} is an alert: list it in `alerts`, at the top of the config"
            )),
            SubscriptionKind::Alerts => Err(format!(
                "{name:?} is not an alert: list it in the `deliver` of a flow"
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_errors, parse_valid};
    use crate::domain::ids::FlowName;

    const TWO: &str = "[destinations.crm]\nurl = \"https://crm.example\"\n[destinations.ops]\nurl = \"https://ops.example\"";

    #[test]
    fn name_subscribes_to_all_and_table_to_some_events() {
        let config = parse_valid(&format!(
            "alerts = [\"ops\"]\n{TWO}\n[flows.form]\ndeliver = [\"crm\", {{ to = \"ops\", events = [\"lead.waiting\"] }}]"
        ));
        let form = FlowName::new("form").unwrap();
        let subscribers = |kind| {
            config
                .subscriptions
                .subscribers(kind, Some(&form))
                .map(|one| one.destination.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        for kind in EventKind::ALL {
            let expected: &[&str] = match kind {
                EventKind::LeadWaiting => &["crm", "ops"],
                kind if kind.is_alert() => &["ops"],
                _ => &["crm"],
            };
            assert_eq!(subscribers(kind), expected, "{kind}");
        }
    }

    #[test]
    fn unknown_destination_or_event_gets_suggestion() {
        assert_errors(
            &format!("{TWO}\n[flows.form]"),
            r#"
            deliver = ["cmr"]
            => 6:12: flows.form.deliver: there is no destination "cmr": did you mean `crm`?
            deliver = "crm"
            => 6:11: flows.form.deliver: must be a list in brackets, and is a text
            deliver = ["crm", { to = "crm" }]
            => 6:19: flows.form.deliver: "crm" is listed twice: put all its events into one entry
            deliver = [{ to = "crm", events = ["lead.asigned"] }]
            => 6:36: flows.form.deliver.events: there is no event "lead.asigned": did you mean `lead.assigned`?
            deliver = [{ to = "crm", events = ["job.dead"] }]
            => 6:36: flows.form.deliver.events: "job.dead" is an alert: list it in `alerts`, at the top of the config
            deliver = [{ events = ["lead.waiting"] }]
            => 6:12: flows.form.deliver: `to` is missing
            "#,
        );
        assert_errors(
            "",
            r#"
            alerts = ["ops"]
            => 2:11: alerts: there is no destination "ops"
            "#,
        );
    }
}
