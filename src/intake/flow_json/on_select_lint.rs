//! Checks that refresh requests (`on-select-action`) and screen submissions can be distinguished.
//!
//! Both come as `data_exchange`, and Meta marks neither. The config distinguishes them by
//! `refresh_on`. If one is mistaken for the other, the form completes too early or never.
//!
//! See [`crate::domain::flow::RefreshTrigger`] for the rules.

use serde_json::{Map, Value};

use super::document::{ComponentAction, DATA_EXCHANGE, FlowJsonScreen};
use super::findings::Findings;
use crate::domain::flow::{self, RefreshTrigger};

pub(super) fn check(screen: &FlowJsonScreen<'_>, declared: &flow::Screen, report: &mut Findings) {
    let data_exchanges = || screen.actions(DATA_EXCHANGE);
    // On a screen without a button, the selection of a choice submits the screen.
    let can_press = screen.actions.iter().any(|action| action.on_click);
    let is_mistaken = |action: &&ComponentAction<'_>| {
        !action.on_click && can_press && !may_be_refresh(action, declared)
    };
    for choice in data_exchanges().filter(is_mistaken) {
        let what = format!(
            "would count as the submission of {} at each selection: ",
            declared.name
        );
        report.add_error(&choice.location, what + &suggestion(choice, declared));
    }
    // Without `refresh_on`, no request counts as a selection.
    let Some(selection) = describe_refresh_on(declared) else {
        return;
    };
    let mut buttons = data_exchanges().filter(|action| action.on_click).peekable();
    if let Some(first) = buttons.peek().copied()
        && buttons.all(|button| is_refresh(button, declared))
    {
        let what = format!(
            "counts only as a selection, so {} is never submitted: {selection}",
            declared.name
        );
        report.add_error(&first.location, what);
    }
    let is_used =
        || data_exchanges().any(|action| is_mistaken(&action) || may_be_refresh(action, declared));
    if !is_used() {
        let what = format!(
            "no action of this screen sends a selection that `refresh_on` expects: {selection}"
        );
        report.add_warning(&screen.location, what);
    }
}

/// Returns `true` if the config treats the action as a refresh.
pub(super) fn is_refresh(action: &ComponentAction<'_>, declared: &flow::Screen) -> bool {
    action
        .payload
        .is_some_and(|payload| declared.is_refresh_request(payload))
}

/// Returns `true` if the action is a refresh, or may be one because only the phone knows a marker
/// value, such as `${data.step}`.
fn may_be_refresh(action: &ComponentAction<'_>, declared: &flow::Screen) -> bool {
    let is_open = |payload: &Map<String, Value>, name: &String| {
        payload
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|value| value.contains("${"))
    };
    let is_open = || match (&declared.refresh_on, action.payload) {
        (RefreshTrigger::FieldValues(values_by_field), Some(payload)) => {
            values_by_field.keys().any(|name| is_open(payload, name))
        }
        _ => false,
    };
    is_refresh(action, declared) || is_open()
}

/// Suggests a change of the config that makes the action a refresh.
fn suggestion(choice: &ComponentAction<'_>, declared: &flow::Screen) -> String {
    if let Some(selection) = describe_refresh_on(declared) {
        return selection;
    }
    let (sent, others): (Vec<_>, Vec<_>) = declared
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .partition(|name| choice.sends(name));
    match (sent.first(), others.is_empty()) {
        (Some(_), false) => format!("write `refresh_on = {sent:?}` in the config"),
        _ => "send the extra field \"step\": \"choice\" with it, and set `refresh_on = { step = \"choice\" }` in the config"
            .to_owned(),
    }
}

/// Describes the refresh requests of this screen. Returns `None` if the screen has none.
fn describe_refresh_on(declared: &flow::Screen) -> Option<String> {
    let what = match &declared.refresh_on {
        RefreshTrigger::Never => return None,
        RefreshTrigger::Fields(names) => {
            let has_others = declared
                .fields
                .iter()
                .any(|field| !names.contains(&field.name));
            let but = if has_others {
                "and no other field of the screen"
            } else {
                "but not all of them"
            };
            format!("{}, {but}", names.join(" or "))
        }
        RefreshTrigger::FieldValues(values_by_field) => {
            let one = |(name, values): (&String, &Vec<String>)| format!("{name} = {values:?}");
            values_by_field
                .iter()
                .map(one)
                .collect::<Vec<_>>()
                .join(" or ")
        }
    };
    Some(format!(
        "by `refresh_on` in the config, a selection has {what}"
    ))
}
