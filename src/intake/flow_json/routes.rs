//! `routing_model`: whether a phone lets us go where the config goes.
//!
//! A phone takes an answer's screen if it is the same one, or if there is a route between the two, in either direction; the
//! first screen must have no route to it (the web client's check of answers: "Can't perform a transition…", "The first
//! screen … already have incoming nodes"). Only forward routes may be written down (*Flow JSON*, routing rules).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::document::{Screen, shown};
use super::{Report, has_endpoint, named};
use crate::domain::flow::{self, Flow};

const PLACE: &str = "routing_model";

/// From where to where.
type Routes<'a> = Vec<(&'a str, &'a str)>;

pub(super) fn check(root: &Map<String, Value>, screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    match root.get(PLACE) {
        Some(Value::Object(model)) => {
            let routes = read(model, screens, report);
            directions(&routes, report);
            // A program goes its own ways.
            if !flow.has_program {
                first(&routes, screens, flow, report);
                ways(&routes, screens, flow, report);
            }
            back_to_choice(&routes, screens, flow, report);
        }
        Some(_) => report.error(PLACE, "must be an object: each screen with the list of those that may follow"),
        None if has_endpoint(root, flow) => {
            report.error(PLACE, format!("is missing: Meta wants one where phones ask an endpoint{}", suggestion(flow)));
        }
        None => {}
    }
}

/// The model that the config's own ways make.
fn suggestion(flow: &Flow) -> String {
    if flow.has_program {
        return String::new();
    }
    let names = |screen| flow.ways(screen).into_iter().map(|next| next.name.as_str()).collect::<Vec<_>>();
    let model: Map<String, Value> =
        flow.screens.iter().map(|screen| (screen.name.clone(), json!(names(screen)))).collect();
    if model.is_empty() { String::new() } else { format!(". By the config it is {}", Value::Object(model)) }
}

/// All routes between screens that are there.
fn read<'a>(model: &'a Map<String, Value>, screens: &[Screen<'_>], report: &mut Report) -> Routes<'a> {
    let mut routes = Vec::new();
    for (from, list) in model {
        let place = format!("{PLACE}.{}", shown(from));
        if named(screens, from).is_none() {
            report.error(&place, "is a route from a screen that is not there");
        }
        let texts = list.as_array().and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let Some(targets) = texts else {
            report.error(&place, "must be a list of the screens that may follow");
            continue;
        };
        for to in targets {
            if named(screens, to).is_none() {
                report.error(&place, format!("names {to:?}, and there is no such screen"));
            } else {
                routes.push((from.as_str(), to));
            }
        }
    }
    routes
}

/// No route to the same screen, and none against another one.
fn directions(routes: &Routes<'_>, report: &mut Report) {
    for (number, (from, to)) in routes.iter().enumerate() {
        let place = format!("{PLACE}.{from}");
        if from == to {
            report
                .error(place, format!("leads to {to} itself: take it out, the same screen can always be shown again"));
        } else if routes.iter().take(number).any(|earlier| earlier == &(*to, *from)) {
            let why = "Meta refuses routes backwards, as a route can be gone both ways";
            report.error(place, format!("leads to {to}, and {to} leads here: take one out, {why}"));
        }
    }
}

/// The flow opens with the config's first screen, and leads from there to all others. (To those of the config it leads if
/// each way that the config goes has its route, which is looked at by itself.)
fn first(routes: &Routes<'_>, screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    let Some(first) = flow.screens.first().map(|first| first.name.as_str()).or(screens.first().map(|screen| screen.id))
    else {
        return;
    };
    for (from, _) in routes.iter().filter(|(from, to)| *to == first && from != to) {
        let why = "which the flow opens with: a phone opens no screen that something leads to";
        report.error(format!("{PLACE}.{from}"), format!("leads to {first}, {why}"));
    }
    let both = routes.iter().flat_map(|(from, to)| [(*from, *to), (*to, *from)]).collect();
    let (forwards, connected) = (reached(routes, first), reached(&both, first));
    let others = screens.iter().filter(|screen| flow.screen(screen.id).is_none());
    for screen in others.filter(|screen| !forwards.contains(screen.id)) {
        if connected.contains(screen.id) {
            report.note(&screen.place, format!("can't be reached from {first}, which the flow opens with"));
        } else {
            report
                .error(&screen.place, format!("no route leads here from {first}: add one to {PLACE}, or take it out"));
        }
    }
}

/// All that can be reached from `start`, itself included.
fn reached<'a>(routes: &Routes<'a>, start: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([start]);
    let mut to_do = vec![start];
    while let Some(here) = to_do.pop() {
        let next = routes.iter().filter(|(from, _)| *from == here).map(|(_, to)| *to);
        to_do.extend(next.filter(|to| found.insert(to)));
    }
    found
}

/// Each way that the config goes.
fn ways(routes: &Routes<'_>, screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    for screen in &flow.screens {
        for next in flow.ways(screen) {
            let there = named(screens, &screen.name).is_some() && named(screens, &next.name).is_some();
            if there && !can_go(routes, &screen.name, &next.name) {
                let what =
                    format!("lacks {:?}, which follows in the config: a phone would refuse that screen", next.name);
                report.error(format!("{PLACE}.{}", screen.name), what);
            }
        }
    }
}

/// A slot that has gone meanwhile leads back to where it is chosen.
fn back_to_choice(routes: &Routes<'_>, screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    let Some(choice) = flow.screen_of_choice().filter(|choice| named(screens, &choice.name).is_some()) else { return };
    let last = flow.screens.iter().filter(|screen| screen.is_final && named(screens, &screen.name).is_some());
    // That a way of the config lacks its route is said there.
    let is_way = |last: &flow::Screen| !flow.has_program && flow.ways(choice).iter().any(|next| next.name == last.name);
    for last in last.filter(|last| !is_way(last)).filter(|last| !can_go(routes, &last.name, &choice.name)) {
        report.error(
            format!("{PLACE}.{}", choice.name),
            format!(
                "lacks {:?}: a slot that is gone by then leads from there back to {}, and a phone goes back only where a \
                 route leads forward",
                last.name, choice.name
            ),
        );
    }
}

fn can_go(routes: &Routes<'_>, from: &str, to: &str) -> bool {
    from == to || routes.iter().any(|route| route == &(from, to) || route == &(to, from))
}
