//! Checks `routing_model`: a phone must allow all transitions of the config.
//!
//! A phone accepts the screen of a response if the screen stays the same or if a route connects the
//! two screens, in either direction. The first screen must have no route to it. Both rules come
//! from the web client's check of answers: "Can't perform a transition…" and "The first screen …
//! already have incoming nodes". Only forward routes may be declared (*Flow JSON*, routing rules).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::document::{FlowJsonScreen, find_screen, printable};
use super::findings::Findings;
use crate::domain::flow::{self, EncryptionMode, Flow};

const LOCATION: &str = "routing_model";

/// Routes as pairs of source and target.
type RouteList<'a> = Vec<(&'a str, &'a str)>;

pub(super) fn check(
    root: &Map<String, Value>,
    screens: &[FlowJsonScreen<'_>],
    flow: &Flow,
    report: &mut Findings,
) {
    match root.get(LOCATION) {
        Some(Value::Object(model)) => {
            let routes = parse_routes(model, screens, report);
            check_directions(&routes, report);
            // The upstream chooses its own transitions.
            if !flow.has_upstream {
                check_first_screen(&routes, screens, flow, report);
                check_transitions(&routes, screens, flow, report);
            }
            check_return_to_slot_screen(&routes, screens, flow, report);
        }
        Some(_) => report.add_error(
            LOCATION,
            "must be an object that maps each screen to a list of its next screens",
        ),
        // Phones send requests to an endpoint. Meta's validator detects this by `data_api_version`.
        None if flow.encryption == EncryptionMode::Required
            || root.contains_key("data_api_version") =>
        {
            let what = format!(
                "is missing: Meta requires it for a flow with an endpoint{}",
                suggested_model(flow)
            );
            report.add_error(LOCATION, what);
        }
        None => {}
    }
}

/// Suggests the routing model that matches the transitions of the config.
fn suggested_model(flow: &Flow) -> String {
    if flow.has_upstream {
        return String::new();
    }
    let names = |screen| {
        flow.next_screens(screen)
            .into_iter()
            .map(|next| next.name.as_str())
            .collect::<Vec<_>>()
    };
    let model: Map<String, Value> = flow
        .screens
        .iter()
        .map(|screen| (screen.name.clone(), json!(names(screen))))
        .collect();
    if model.is_empty() {
        String::new()
    } else {
        format!(". For this config it is {}", Value::Object(model))
    }
}

/// Parses all routes between existing screens.
fn parse_routes<'a>(
    model: &'a Map<String, Value>,
    screens: &[FlowJsonScreen<'_>],
    report: &mut Findings,
) -> RouteList<'a> {
    let mut routes = Vec::new();
    for (from, list) in model {
        let location = format!("{LOCATION}.{}", printable(from));
        if find_screen(screens, from).is_none() {
            report.add_error(&location, "is a route from a screen that does not exist");
        }
        let texts = list
            .as_array()
            .and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let Some(targets) = texts else {
            report.add_error(&location, "must be a list of the next screens");
            continue;
        };
        for to in targets {
            if find_screen(screens, to).is_none() {
                let what = format!("names {to:?}, but there is no such screen");
                report.add_error(&location, what);
            } else {
                routes.push((from.as_str(), to));
            }
        }
    }
    routes
}

/// Reports routes from a screen to itself, and routes in both directions.
fn check_directions(routes: &RouteList<'_>, report: &mut Findings) {
    for (number, (from, to)) in routes.iter().enumerate() {
        let location = format!("{LOCATION}.{from}");
        if from == to {
            let what = format!(
                "leads to {to} itself: remove it, a screen can always be shown again without a route"
            );
            report.add_error(location, what);
        } else if routes
            .iter()
            .take(number)
            .any(|earlier| earlier == &(*to, *from))
        {
            let why = "Meta refuses routes backwards, because each route works in both directions";
            let what = format!("leads to {to}, and {to} leads here: remove one of the two, {why}");
            report.add_error(location, what);
        }
    }
}

/// Checks that the flow opens with the first screen of the config and leads from there to all other
/// screens. The screens of the config are reachable if each transition has its route, which is a
/// separate check.
fn check_first_screen(
    routes: &RouteList<'_>,
    screens: &[FlowJsonScreen<'_>],
    flow: &Flow,
    report: &mut Findings,
) {
    let Some(first) = flow
        .screens
        .first()
        .map(|first| first.name.as_str())
        .or(screens.first().map(|screen| screen.id))
    else {
        return;
    };
    for (from, _) in routes
        .iter()
        .filter(|(from, to)| *to == first && from != to)
    {
        let why = "the first screen of the flow: a phone can't open a flow if a route leads to its first screen";
        let what = format!("leads to {first}, {why}");
        report.add_error(format!("{LOCATION}.{from}"), what);
    }
    let both = routes
        .iter()
        .flat_map(|(from, to)| [(*from, *to), (*to, *from)])
        .collect();
    let (forwards, connected) = (reachable(routes, first), reachable(&both, first));
    let others = screens
        .iter()
        .filter(|screen| flow.find_screen(screen.id).is_none());
    for screen in others.filter(|screen| !forwards.contains(screen.id)) {
        if connected.contains(screen.id) {
            let what = format!("can't be reached from {first}, the first screen of the flow");
            report.add_warning(&screen.location, what);
        } else {
            let what = format!(
                "no route leads here from {first}: add one to {LOCATION}, or remove this screen"
            );
            report.add_error(&screen.location, what);
        }
    }
}

/// Returns all screens that are reachable from `start`, including `start`.
fn reachable<'a>(routes: &RouteList<'a>, start: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([start]);
    let mut to_do = vec![start];
    while let Some(here) = to_do.pop() {
        let next = routes
            .iter()
            .filter(|(from, _)| *from == here)
            .map(|(_, to)| *to);
        to_do.extend(next.filter(|to| found.insert(to)));
    }
    found
}

/// Checks that each transition of the config has a route.
fn check_transitions(
    routes: &RouteList<'_>,
    screens: &[FlowJsonScreen<'_>],
    flow: &Flow,
    report: &mut Findings,
) {
    for screen in &flow.screens {
        for next in flow.next_screens(screen) {
            let both_exist = find_screen(screens, &screen.name).is_some()
                && find_screen(screens, &next.name).is_some();
            if both_exist && !has_route(routes, &screen.name, &next.name) {
                let what = format!(
                    "lacks {:?}, a next screen in the config: without this route, a phone refuses that screen",
                    next.name
                );
                report.add_error(format!("{LOCATION}.{}", screen.name), what);
            }
        }
    }
}

/// Checks the route back to the slot screen: a response returns the customer to it if the slot was
/// lost.
fn check_return_to_slot_screen(
    routes: &RouteList<'_>,
    screens: &[FlowJsonScreen<'_>],
    flow: &Flow,
    report: &mut Findings,
) {
    let Some(slot_screen) = flow
        .slot_screen()
        .filter(|choice| find_screen(screens, &choice.name).is_some())
    else {
        return;
    };
    let last = flow
        .screens
        .iter()
        .filter(|screen| screen.is_final && find_screen(screens, &screen.name).is_some());
    // Another check reports a transition of the config without a route.
    let is_transition = |last: &flow::Screen| {
        !flow.has_upstream
            && flow
                .next_screens(slot_screen)
                .iter()
                .any(|next| next.name == last.name)
    };
    for last in last
        .filter(|last| !is_transition(last))
        .filter(|last| !has_route(routes, &last.name, &slot_screen.name))
    {
        let what = format!(
            "lacks {:?}: if the slot is no longer free, flowgate goes from there back to {}, and a phone goes back only if a \
                 route leads forward there",
            last.name, slot_screen.name
        );
        report.add_error(format!("{LOCATION}.{}", slot_screen.name), what);
    }
}

fn has_route(routes: &RouteList<'_>, from: &str, to: &str) -> bool {
    from == to
        || routes
            .iter()
            .any(|route| route == &(from, to) || route == &(to, from))
}
