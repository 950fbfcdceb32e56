//! The screens themselves: the same ones on both sides, the same end, and every field that the config waits for sent.

use serde_json::Map;

use super::document::{Action, ChoiceList, Screen};
use super::{Report, complaints, named, selects};
use crate::domain::flow::{self, Flow, Select};
use crate::domain::screen_data::Given;

/// What asks us (*Flow JSON*, actions).
pub(super) const ASKS: &str = "data_exchange";

/// What ends the form without asking us.
pub(super) const ENDS: &str = "complete";

pub(super) fn check(screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    if flow.screens.is_empty() && !flow.has_program {
        undeclared(screens, report);
    }
    for declared in flow.screens.iter().filter(|declared| named(screens, &declared.name).is_none()) {
        let what = format!("{:?} of the config is not among them: capitals and underscores count", declared.name);
        report.error("screens", what);
    }
    for screen in screens {
        match flow.screen(screen.id) {
            Some(declared) => {
                end(screen, declared, flow, report);
                fields(screen, declared, flow, report);
                selects::check(screen, declared, report);
                choices(screen, declared, report);
            }
            None if !flow.screens.is_empty() => unknown(screen, flow, report),
            None => {}
        }
        if screen.is("refresh_on_back") {
            let before = flow.before(screen.id, &Map::new()).filter(|_| !flow.has_program);
            let shows = before.map_or("the screen that your program says", |before| before.name.as_str());
            report.note(
                format!("{}.refresh_on_back", screen.place),
                format!("going back from here asks flowgate, which shows {shows} anew"),
            );
        }
    }
    slot(screens, flow, report);
}

/// The config has no screens, and so everything that comes is a whole form.
fn undeclared(screens: &[Screen<'_>], report: &mut Report) {
    report.note("screens", "the config's flow declares none: whatever is sent completes the form");
    let choices = screens.iter().flat_map(|screen| screen.actions(ASKS)).filter(|asks| !asks.on_click);
    for choice in choices {
        let what =
            "completes the form as soon as something is chosen: declare the screens in the config, with `select`";
        report.error(&choice.place, what);
    }
}

/// A screen that the config does not have.
fn unknown(screen: &Screen<'_>, flow: &Flow, report: &mut Report) {
    match screen.actions(ASKS).next() {
        Some(_) if flow.has_program => {
            report.note(&screen.place, "the config does not have it: what it sends goes to your program unchecked");
        }
        Some(asks) => report.error(
            &asks.place,
            format!("asks flowgate, and the config has no screen {:?}: add it there, or navigate from here", screen.id),
        ),
        None => report.note(&screen.place, "the config does not have it; it asks nothing, so that is fine"),
    }
}

/// Whether the form ends here on both sides or on neither, and through us. Where it ends is for a program to say.
fn end(screen: &Screen<'_>, declared: &flow::Screen, flow: &Flow, report: &mut Report) {
    let is_final = declared.is_final && !flow.has_program;
    match (declared.is_final, screen.is("terminal")) {
        _ if flow.has_program => {}
        (true, false) => report.error(
            format!("{}.terminal", screen.place),
            "the config completes the form here (`final = true`): write \"terminal\": true",
        ),
        (false, true) => report.error(
            format!("{}.terminal", screen.place),
            "is true, and the config goes on from here: write `final = true` in the config, or take it out",
        ),
        _ => {}
    }
    let by_webhook = "the form ends here without asking flowgate, and comes by Meta's webhook alone";
    if let Some(ends) = screen.actions(ENDS).next() {
        report.note(&ends.place, format!("{by_webhook}: no slot can be refused. `{ASKS}` would ask"));
    } else if screen.actions(ASKS).next().is_none() {
        if is_final {
            report.error(&screen.place, format!("nothing here sends the form: its button needs the action `{ASKS}`"));
        } else {
            let what = "nothing here asks flowgate: its fields come only if a later screen sends them along";
            report.note(&screen.place, what);
        }
    }
}

/// Whether what is sent is what the config waits for.
fn fields(screen: &Screen<'_>, declared: &flow::Screen, flow: &Flow, report: &mut Report) {
    // A choice on the way has part of the fields; what a button sends has all.
    let has_button = screen.actions(ASKS).any(|asks| asks.on_click);
    let is_sending = |asks: &&Action<'_>| (asks.on_click || !has_button) && !selects::is_choice(asks, declared);
    let sends: Vec<&Action<'_>> = screen.actions(ASKS).filter(is_sending).collect();
    for field in declared.fields.iter().filter(|field| field.required && !sends.is_empty()) {
        if !sends.iter().any(|asks| sent(asks, &field.name)) {
            let place = sends.first().map_or(&screen.place, |asks| &asks.place);
            let name = &field.name;
            let what = format!("lacks {name:?}, which the config requires here: add \"{name}\": \"${{form.{name}}}\"");
            report.error(format!("{place}.payload"), what);
        }
    }
    let is_mark = |name: &String| matches!(&declared.select, Select::Marked(marks) if marks.contains_key(name));
    for asks in screen.actions(ASKS) {
        for name in asks.payload.into_iter().flat_map(|payload| payload.keys()).filter(|name| !is_mark(name)) {
            if !complaints::is_theirs(name, flow)
                && !flow.screens.iter().flat_map(|screen| &screen.fields).any(|field| field.name == *name)
            {
                let what = format!("sends {name:?}, which the config does not know: it is kept as it comes, unchecked");
                report.note(format!("{}.payload", asks.place), what);
            }
        }
    }
}

/// Whether the choices that the config gives are no more than the component takes.
fn choices(screen: &Screen<'_>, declared: &flow::Screen, report: &mut Report) {
    for ChoiceList { place, component, source } in &screen.lists {
        let given = declared.data.iter().find(|(name, _)| name == source).and_then(|(_, given)| most_choices(given));
        if let (Some(given), Some(most)) = (given, takes(component))
            && given > most
        {
            let what = format!(
                "a {component} takes {most} choices, and `{source}` can have {given}: use a Dropdown, or write `most = {most}` in the config"
            );
            report.error(format!("{place}.data-source"), what);
        }
    }
}

/// How many choices the config gives at most.
const fn most_choices(given: &Given) -> Option<usize> {
    match given {
        Given::Slots { choices, .. } | Given::Dates { choices, .. } | Given::Agents { choices, .. } => {
            Some(choices.most)
        }
        Given::Constant(_) | Given::Answer(_) | Given::Agent { .. } => None,
    }
}

/// How many choices a component takes (*Flow JSON*, components, limits); a dropdown with images takes half as many, and
/// ours have none.
fn takes(component: &str) -> Option<usize> {
    match component {
        "Dropdown" => Some(200),
        "RadioButtonsGroup" | "CheckboxGroup" | "ChipsSelector" => Some(20),
        _ => None,
    }
}

/// Whether anything sends the slot that the flow books.
fn slot(screens: &[Screen<'_>], flow: &Flow, report: &mut Report) {
    let Some(rule) = &flow.booking else { return };
    let sends = |name: &str| screens.iter().any(|screen| sends(screen, name));
    if !sends(&rule.date) && !sends(&rule.time) {
        let wanted = if rule.date == rule.time { String::new() } else { format!(", nor {:?}", rule.date) };
        report.error("screens", format!("no payload sends {:?}{wanted}: the flow books a slot by it", rule.time));
    }
}

/// Whether this screen sends a field of this name.
pub(super) fn sends(screen: &Screen<'_>, name: &str) -> bool {
    screen.actions.iter().any(|action| [ASKS, ENDS].contains(&action.name) && sent(action, name))
}

pub(super) fn sent(action: &Action<'_>, name: &str) -> bool {
    action.payload.is_some_and(|payload| payload.contains_key(name))
}
