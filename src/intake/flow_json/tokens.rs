//! Whether the last screen sends along what a form needs of the earlier ones (`crate::domain::carried`), for messages
//! without a `flow_token` of their own.

use super::document::{Action, Screen};
use super::screens::{ASKS, ENDS, sent};
use super::{Report, named, selects};
use crate::domain::carried::{Carried, carried};
use crate::domain::flow::{Encryption, Flow};

pub(super) fn check(screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    // Where a form ends is for its program to say.
    if flow.encryption != Encryption::Required || flow.has_program {
        return;
    }
    for declared in flow.screens.iter().filter(|declared| declared.is_final) {
        let Some(last) = named(screens, &declared.name) else { continue };
        let is_end = |action: &&Action<'_>| {
            [ASKS, ENDS].contains(&action.name) && action.on_click && !selects::is_choice(action, declared)
        };
        let ends: Vec<&Action<'_>> = last.actions.iter().filter(is_end).collect();
        let Some(first) = ends.first() else { continue };
        for one in carried(flow, declared).into_iter().filter(|one| !ends.iter().any(|end| sent(end, one.name))) {
            report.note(format!("{}.payload", first.place), lacks(&one, last.id));
        }
    }
}

/// What comes of it, and what to write (*Flow JSON*, "Global Dynamic Referencing").
fn lacks(one: &Carried<'_>, last: &str) -> String {
    let (name, on) = (one.name, &one.on.name);
    let (what, comes) = if one.is_agent {
        ("the agent who is shown on", "goes to whoever is next")
    } else {
        ("which is asked for on", "comes without it")
    };
    let kind = if one.is_agent { "data" } else { "form" };
    let value = if on == last { format!("${{{kind}.{name}}}") } else { format!("${{screen.{on}.{kind}.{name}}}") };
    format!(
        "lacks {name:?}, {what} {on}: a form whose message has no `flow_token` of its own {comes}. Set one in each message, \
         or add \"{name}\": \"{value}\""
    )
}
