//! Checks that the final screen sends the cross-screen fields. A form whose message has no unique
//! `flow_token` needs these fields of earlier screens.
//!
//! See [`crate::domain::flow::cross_screen`] for the fields.

use super::document::{ComponentAction, FlowJsonScreen, find_screen};
use super::findings::Findings;
use super::on_select_lint;
use crate::domain::flow::cross_screen::{CrossScreenField, required_by_final_screen};
use crate::domain::flow::{EncryptionMode, Flow};

pub(super) fn check(screens: &[FlowJsonScreen<'_>], flow: &Flow, report: &mut Findings) {
    // An upstream decides by itself which screen completes the form.
    if flow.encryption != EncryptionMode::Required || flow.has_upstream {
        return;
    }
    for declared in flow.screens.iter().filter(|declared| declared.is_final) {
        let Some(last) = find_screen(screens, &declared.name) else {
            continue;
        };
        let is_end = |action: &&ComponentAction<'_>| {
            action.is_submission()
                && action.on_click
                && !on_select_lint::is_refresh(action, declared)
        };
        let final_actions: Vec<&ComponentAction<'_>> = last.actions.iter().filter(is_end).collect();
        let Some(first) = final_actions.first() else {
            continue;
        };
        for field in required_by_final_screen(flow, declared)
            .into_iter()
            .filter(|field| !final_actions.iter().any(|action| action.sends(field.name)))
        {
            report.add_warning(
                format!("{}.payload", first.location),
                missing_field_message(&field, last.id),
            );
        }
    }
}

/// Returns the message: the consequence of the missing field and the text to add (*Flow JSON*,
/// "Global Dynamic Referencing").
fn missing_field_message(one: &CrossScreenField<'_>, last: &str) -> String {
    let (name, on) = (one.name, &one.screen.name);
    let (what, comes) = if one.is_agent {
        ("the agent shown on screen", "goes to the next agent")
    } else {
        ("a field of screen", "arrives without it")
    };
    let kind = if one.is_agent { "data" } else { "form" };
    let value = if on == last {
        format!("${{{kind}.{name}}}")
    } else {
        format!("${{screen.{on}.{kind}.{name}}}")
    };
    format!(
        "lacks {name:?}, {what} {on}: a form whose message has no unique `flow_token` {comes}. Set a different token in each message, \
         or add \"{name}\": \"{value}\""
    )
}
