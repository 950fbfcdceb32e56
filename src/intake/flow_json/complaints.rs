//! Fields that are called as those of phones' error notifications: `crate::intake::flow_endpoint` tells the two apart by
//! their names alone.

use super::Report;
use super::document::{Action, Screen};
use super::screens::ASKS;
use crate::domain::complaint::Complaint;
use crate::domain::flow::{Encryption, Flow};

/// Whether phones call something so when they complain to this flow.
pub(super) fn is_theirs(name: &str, flow: &Flow) -> bool {
    flow.encryption == Encryption::Required && Complaint::NAMES.contains(&name)
}

pub(super) fn check(screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    for screen in screens {
        for asks in screen.actions(ASKS) {
            sent(asks, screen, flow, report);
        }
    }
}

/// What comes of each such field that is sent here.
fn sent(asks: &Action<'_>, screen: &Screen<'_>, flow: &Flow, report: &mut Report) {
    let Some(payload) = asks.payload else { return };
    let is_declared = |name: &str| {
        flow.screen(screen.id).is_some_and(|declared| declared.fields.iter().any(|field| field.name == name))
    };
    let is_nothing_else = payload.keys().all(|name| is_theirs(name, flow) && !is_declared(name));
    for name in payload.keys().filter(|name| is_theirs(name, flow)) {
        let place = format!("{}.payload", asks.place);
        let sends = format!("sends {name:?}, as error notifications of phones do");
        let advice = "give the field another name";
        if is_declared(name) {
            report.note(place, format!("{sends}: a notification from this screen is taken for a form, {advice}"));
        } else if is_nothing_else {
            report.error(place, format!("{sends}, and nothing else: it is taken for one, and no form comes, {advice}"));
        } else {
            report.note(place, format!("{sends}: without the other fields it is taken for one, {advice}"));
        }
    }
}
