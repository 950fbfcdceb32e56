//! Maps events to destinations.
//!
//! An event of a flow goes to the destinations of that flow. An alert goes to the destinations of
//! the config's alert subscriptions, independent of its flow. A subscription may be limited to some
//! kinds of events.

use std::collections::{BTreeMap, BTreeSet};

use super::EventKind;
use crate::domain::ids::{DestinationName, FlowName};

/// Subscription of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Destination of the events.
    pub destination: DestinationName,
    /// Kinds of events that the destination gets. Other events are not sent.
    pub events: BTreeSet<EventKind>,
}

/// Destination that gets an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Destination of the event.
    pub destination: DestinationName,
    /// `true` if the events of one customer must arrive in the order in which they happened.
    pub is_ordered: bool,
}

/// All subscriptions of the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    /// Subscriptions to the events of each flow. A flow has at most one subscription for each
    /// destination.
    pub flows: BTreeMap<FlowName, Vec<Subscription>>,
    /// Subscriptions to alerts.
    pub alerts: Vec<Subscription>,
    /// Destinations that get the events of each customer in order.
    pub ordered_destinations: BTreeSet<DestinationName>,
}

impl Subscriptions {
    /// Returns the destinations that get an event of this kind, in the order of the config.
    pub fn subscribers(
        &self,
        kind: EventKind,
        flow: Option<&FlowName>,
    ) -> impl Iterator<Item = Subscriber> {
        let subscriptions = if kind.is_alert() {
            self.alerts.as_slice()
        } else {
            flow.and_then(|flow| self.flows.get(flow))
                .map_or(&[][..], Vec::as_slice)
        };
        let subscriptions = subscriptions.iter();
        let matching = subscriptions.filter(move |route| route.events.contains(&kind));
        matching.map(|route| Subscriber {
            destination: route.destination.clone(),
            is_ordered: self.ordered_destinations.contains(&route.destination),
        })
    }

    /// Returns the kinds of events that `destination` gets through any subscription.
    #[must_use]
    pub fn events_for(&self, destination: &DestinationName) -> BTreeSet<EventKind> {
        let flows = self.flows.values().flatten().map(|route| (route, false));
        let all_subscriptions = flows.chain(self.alerts.iter().map(|route| (route, true)));
        let matching = all_subscriptions.filter(|(route, _)| route.destination == *destination);
        let kinds = matching.flat_map(|(route, alerts)| {
            let kinds = route.events.iter().copied();
            kinds.filter(move |kind| kind.is_alert() == alerts)
        });
        kinds.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(to: &str, events: &[EventKind]) -> Subscription {
        Subscription {
            destination: DestinationName::new(to).unwrap(),
            events: events.iter().copied().collect(),
        }
    }

    #[test]
    fn flow_events_and_alerts_reach_their_subscribers() {
        let flow = |name: &str| FlowName::new(name).unwrap();
        let all_to_crm = subscription("crm", &EventKind::ALL);
        let leads_to_sheet = subscription("sheet", &[EventKind::LeadAssigned]);
        let forms_to_sheet = subscription("sheet", &[EventKind::SubmissionAccepted]);
        let subscriptions = Subscriptions {
            flows: BTreeMap::from([
                (flow("a"), vec![all_to_crm, leads_to_sheet]),
                (flow("b"), vec![forms_to_sheet]),
            ]),
            alerts: vec![subscription("ops", &EventKind::ALL)],
            ordered_destinations: BTreeSet::from([DestinationName::new("crm").unwrap()]),
        };
        let subscribers_of = |kind, name: Option<&str>| {
            let flow = name.map(flow);
            let subscribers = subscriptions.subscribers(kind, flow.as_ref());
            let subscribers = subscribers.map(|one| {
                let order = if one.is_ordered { " in order" } else { "" };
                format!("{}{order}", one.destination)
            });
            subscribers.collect::<Vec<_>>().join(", ")
        };
        for (kind, flow, expected) in [
            (EventKind::LeadAssigned, Some("a"), "crm in order, sheet"),
            (EventKind::SubmissionAccepted, Some("a"), "crm in order"),
            (EventKind::LeadAssigned, Some("b"), ""),
            (EventKind::LeadAssigned, Some("gone"), ""),
            (EventKind::JobDead, Some("a"), "ops"),
            (EventKind::GatewayDown, None, "ops"),
        ] {
            assert_eq!(subscribers_of(kind, flow), expected, "{kind} {flow:?}");
        }
    }
}
