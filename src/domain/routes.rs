//! Who is told of what: from an event and its flow to destinations.
//!
//! An event of a flow goes where its flow delivers; an alert goes where the config says alerts go, whatever flow it is
//! about. A destination may be told of some events only.

use std::collections::{BTreeMap, BTreeSet};

use super::event::EventKind;
use super::ids::{DestinationName, FlowName};

/// One way to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: DestinationName,
    /// What it is told of. Of the others, nothing.
    pub events: BTreeSet<EventKind>,
}

/// Somebody who is told of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Who.
    pub to: DestinationName,
    /// Whether what is told of one customer must come in the order in which it became true.
    pub ordered: bool,
}

/// All ways out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Of each flow's events. No flow delivers twice to one destination.
    pub flows: BTreeMap<FlowName, Vec<Route>>,
    /// Of alerts.
    pub alerts: Vec<Route>,
    /// Destinations that are told of each customer in order.
    pub ordered: BTreeSet<DestinationName>,
}

impl Routes {
    /// Those who are told of `kind`, in the order of the config.
    pub fn of(&self, kind: EventKind, flow: Option<&FlowName>) -> impl Iterator<Item = Listener> {
        let routes = if kind.is_alert() {
            self.alerts.as_slice()
        } else {
            flow.and_then(|flow| self.flows.get(flow)).map_or(&[][..], Vec::as_slice)
        };
        let told = routes.iter().filter(move |route| route.events.contains(&kind));
        told.map(|route| Listener { to: route.to.clone(), ordered: self.ordered.contains(&route.to) })
    }

    /// What `destination` is told of, by whatever way.
    #[must_use]
    pub fn events_to(&self, destination: &DestinationName) -> BTreeSet<EventKind> {
        let flows = self.flows.values().flatten().map(|route| (route, false));
        let ways = flows.chain(self.alerts.iter().map(|route| (route, true)));
        let to_it = ways.filter(|(route, _)| route.to == *destination);
        to_it
            .flat_map(|(route, alerts)| route.events.iter().filter(move |kind| kind.is_alert() == alerts))
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, events: &[EventKind]) -> Route {
        Route { to: DestinationName::new(to).unwrap(), events: events.iter().copied().collect() }
    }

    #[test]
    fn an_event_goes_where_its_flow_delivers_and_an_alert_to_those_who_run_the_server() {
        let flow = |name: &str| FlowName::new(name).unwrap();
        let routes = Routes {
            flows: BTreeMap::from([
                (flow("a"), vec![route("crm", &EventKind::ALL), route("sheet", &[EventKind::LeadAssigned])]),
                (flow("b"), vec![route("sheet", &[EventKind::SubmissionAccepted])]),
            ]),
            alerts: vec![route("ops", &EventKind::ALL)],
            ordered: BTreeSet::from([DestinationName::new("crm").unwrap()]),
        };
        let told = |kind, name: Option<&str>| {
            let flow = name.map(flow);
            let listeners = routes.of(kind, flow.as_ref());
            listeners.map(|one| format!("{}{}", one.to, if one.ordered { " in order" } else { "" })).collect::<Vec<_>>()
        };
        assert_eq!(told(EventKind::LeadAssigned, Some("a")), ["crm in order", "sheet"]);
        assert_eq!(told(EventKind::SubmissionAccepted, Some("a")), ["crm in order"]);
        assert_eq!(told(EventKind::LeadAssigned, Some("b")), [""; 0]);
        assert_eq!(told(EventKind::LeadAssigned, Some("gone")), [""; 0]);
        assert_eq!(told(EventKind::JobDead, Some("a")), ["ops"]);
        assert_eq!(told(EventKind::GatewayDown, None), ["ops"]);
    }
}
