//! Choices that ask as soon as they are made (`on-select-action`), told from the sending of their screen.
//!
//! Both come as `data_exchange`, and nothing of Meta's marks them: the config's `select` does
//! (`crate::domain::screen::Select`). One that is mistaken for the other completes a form too early, or never.

use serde_json::{Map, Value};

use super::Report;
use super::document::{Action, Screen};
use super::screens::ASKS;
use crate::domain::flow::{self, Select};

pub(super) fn check(screen: &Screen<'_>, declared: &flow::Screen, report: &mut Report) {
    let asks = || screen.actions(ASKS);
    // Where nothing can be pressed, choosing something is how the screen is sent.
    let can_press = screen.actions.iter().any(|action| action.on_click);
    let is_mistaken = |asks: &&Action<'_>| !asks.on_click && can_press && !may_be_choice(asks, declared);
    for choice in asks().filter(is_mistaken) {
        let what = format!("would be taken for the sending of {}, whenever something is chosen: ", declared.name);
        report.error(&choice.place, what + &remedy(choice, declared));
    }
    let mut buttons = asks().filter(|asks| asks.on_click).peekable();
    if let Some(first) = buttons.peek().copied()
        && buttons.all(|button| is_choice(button, declared))
    {
        let what = format!("is no more than a choice, so that {} is never sent: {}", declared.name, rule(declared));
        report.error(&first.place, what);
    }
    let is_used = || asks().any(|asks| is_mistaken(&asks) || may_be_choice(asks, declared));
    if declared.select != Select::Never && !is_used() {
        report.note(&screen.place, format!("nothing that is sent from here is a choice: {}", rule(declared)));
    }
}

/// Whether the config takes it for a choice.
pub(super) fn is_choice(asks: &Action<'_>, declared: &flow::Screen) -> bool {
    asks.payload.is_some_and(|payload| declared.is_choice(payload))
}

/// The same, where a mark may be known only on the phone: `${data.step}`.
fn may_be_choice(asks: &Action<'_>, declared: &flow::Screen) -> bool {
    let is_open = |payload: &Map<String, Value>, name: &String| {
        payload.get(name).and_then(Value::as_str).is_some_and(|value| value.contains("${"))
    };
    let is_open = || match (&declared.select, asks.payload) {
        (Select::Marked(marks), Some(payload)) => marks.keys().any(|name| is_open(payload, name)),
        _ => false,
    };
    is_choice(asks, declared) || is_open()
}

/// What makes it one.
fn remedy(choice: &Action<'_>, declared: &flow::Screen) -> String {
    if declared.select != Select::Never {
        return rule(declared);
    }
    let sent = |name: &str| choice.payload.is_some_and(|payload| payload.contains_key(name));
    let (sent, others): (Vec<_>, Vec<_>) =
        declared.fields.iter().map(|field| field.name.as_str()).partition(|name| sent(name));
    match (sent.first(), others.is_empty()) {
        (Some(_), false) => format!("write `select = {sent:?}` in the config"),
        _ => "send a mark with it, \"step\": \"choice\", and write `select = { step = \"choice\" }` in the config"
            .to_owned(),
    }
}

/// What a choice on this screen looks like.
fn rule(declared: &flow::Screen) -> String {
    let what = match &declared.select {
        Select::Never => return "the config has no `select`".to_owned(),
        Select::Fields(names) => {
            let has_others = declared.fields.iter().any(|field| !names.contains(&field.name));
            let but = if has_others { "and no other field of the screen" } else { "but not all of them" };
            format!("{}, {but}", names.join(" or "))
        }
        Select::Marked(marks) => {
            let one = |(name, values): (&String, &Vec<String>)| format!("{name} = {values:?}");
            marks.iter().map(one).collect::<Vec<_>>().join(" or ")
        }
    };
    format!("by `select` in the config a choice has {what}")
}
