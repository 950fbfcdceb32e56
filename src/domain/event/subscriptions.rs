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
        let matching = subscriptions
            .iter()
            .filter(move |route| route.events.contains(&kind));
        matching.map(|subscription| Subscriber {
            destination: subscription.destination.clone(),
            is_ordered: self
                .ordered_destinations
                .contains(&subscription.destination),
        })
    }

    /// Returns the kinds of events that `destination` gets through any subscription.
    #[must_use]
    pub fn events_for(&self, destination: &DestinationName) -> BTreeSet<EventKind> {
        let flows = self.flows.values().flatten().map(|route| (route, false));
        let all_subscriptions = flows.chain(self.alerts.iter().map(|route| (route, true)));
        let matching = all_subscriptions.filter(|(route, _)| route.destination == *destination);
        matching
            .flat_map(|(route, alerts)| {
                route
                    .events
                    .iter()
                    .filter(move |kind| kind.is_alert() == alerts)
            })
            .copied()
            .collect()
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
        let subscriptions = Subscriptions {
            flows: BTreeMap::from([
                (
                    flow("a"),
                    vec![
                        subscription("crm", &EventKind::ALL),
                        subscription("sheet", &[EventKind::LeadAssigned]),
                    ],
                ),
                (
                    flow("b"),
                    vec![subscription("sheet", &[EventKind::SubmissionAccepted])],
                ),
            ]),
            alerts: vec![subscription("ops", &EventKind::ALL)],
            ordered_destinations: BTreeSet::from([DestinationName::new("crm").unwrap()]),
        };
        let subscribers_of = |kind, name: Option<&str>| {
            let flow = name.map(flow);
            let subscribers = subscriptions.subscribers(kind, flow.as_ref());
            subscribers
                .map(|one| {
                    format!(
                        "{}{}",
                        one.destination,
                        if one.is_ordered { " in order" } else { "" }
                    )
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            subscribers_of(EventKind::LeadAssigned, Some("a")),
            ["crm in order", "sheet"]
        );
        assert_eq!(
            subscribers_of(EventKind::SubmissionAccepted, Some("a")),
            ["crm in order"]
        );
        assert_eq!(subscribers_of(EventKind::LeadAssigned, Some("b")), [""; 0]);
        assert_eq!(
            subscribers_of(EventKind::LeadAssigned, Some("gone")),
            [""; 0]
        );
        assert_eq!(subscribers_of(EventKind::JobDead, Some("a")), ["ops"]);
        assert_eq!(subscribers_of(EventKind::GatewayDown, None), ["ops"]);
    }
}
