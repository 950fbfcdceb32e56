//! Checks the screens: both sides must have the same screens and the same final screen, and every
//! field that the config requires must be sent.

use serde_json::Map;

use super::document::{
    COMPLETE, ComponentAction, ComponentChoices, DATA_EXCHANGE, FlowJsonScreen, find_screen,
};
use super::findings::Findings;
use super::{on_select_lint, reserved_names_lint};
use crate::domain::flow::data_source::DataSource;
use crate::domain::flow::field::Field;
use crate::domain::flow::{self, Flow, RefreshTrigger};

pub(super) fn check(screens: &[FlowJsonScreen<'_>], flow: &Flow, report: &mut Findings) {
    if flow.screens.is_empty() && !flow.has_upstream {
        check_undeclared(screens, report);
    }
    for declared in flow
        .screens
        .iter()
        .filter(|declared| find_screen(screens, &declared.name).is_none())
    {
        let what = format!(
            "{:?} of the config is missing: the names must be the same, including upper case and underscores",
            declared.name
        );
        report.add_error("screens", what);
    }
    for screen in screens {
        match flow.find_screen(screen.id) {
            Some(declared) => {
                check_end(screen, declared, flow, report);
                check_fields(screen, declared, flow, report);
                on_select_lint::check(screen, declared, report);
                check_choice_lists(screen, declared, report);
            }
            None if !flow.screens.is_empty() => check_unknown(screen, flow, report),
            None => {}
        }
        if screen.has_flag("refresh_on_back") {
            let before = flow
                .previous_screen(screen.id, &Map::new())
                .filter(|_| !flow.has_upstream);
            let shows = before.map_or("the screen that your upstream names", |before| {
                before.name.as_str()
            });
            let what = format!(
                "going back from here sends a request to flowgate, which shows {shows} again"
            );
            report.add_warning(format!("{}.refresh_on_back", screen.location), what);
        }
    }
    check_slot(screens, flow, report);
}

/// Checks a flow without screens in the config. Then every request is a complete form.
fn check_undeclared(screens: &[FlowJsonScreen<'_>], report: &mut Findings) {
    report.add_warning(
        "screens",
        "the config declares no screens for this flow: every request completes the form",
    );
    let choices = screens
        .iter()
        .flat_map(|screen| screen.actions(DATA_EXCHANGE))
        .filter(|action| !action.on_click);
    for choice in choices {
        let what = "completes the form at the first selection: declare the screens in the config, with `refresh_on`";
        report.add_error(&choice.location, what);
    }
}

/// Reports a screen that the config does not have.
fn check_unknown(screen: &FlowJsonScreen<'_>, flow: &Flow, report: &mut Findings) {
    match screen.actions(DATA_EXCHANGE).next() {
        Some(_) if flow.has_upstream => {
            report.add_warning(&screen.location, "the config does not declare this screen: its data goes to your upstream without validation");
        }
        Some(action) => report.add_error(
            &action.location,
            format!("sends a request to flowgate, but the config has no screen {:?}: add it to the config, or use `navigate` here", screen.id),
        ),
        None => report.add_warning(&screen.location, "the config does not declare this screen, which is allowed because the screen sends no request"),
    }
}

/// Checks that this screen completes the form on both sides or on neither side, with a request to
/// flowgate. An upstream decides by itself which screen completes the form.
fn check_end(
    screen: &FlowJsonScreen<'_>,
    declared: &flow::Screen,
    flow: &Flow,
    report: &mut Findings,
) {
    let is_final = declared.is_final && !flow.has_upstream;
    match (declared.is_final, screen.has_flag("terminal")) {
        _ if flow.has_upstream => {}
        (true, false) => report.add_error(
            format!("{}.terminal", screen.location),
            "the config completes the form here (`final = true`): set \"terminal\": true",
        ),
        (false, true) => report.add_error(
            format!("{}.terminal", screen.location),
            "is true, but the screen is not final in the config: set `final = true` in the config, or remove it here",
        ),
        _ => {}
    }
    let by_webhook =
        "the form ends here without a request to its endpoint, and arrives only by Meta's webhook";
    if let Some(action) = screen.actions(COMPLETE).next() {
        let what = format!(
            "{by_webhook}, so flowgate can't refuse a full slot: use `{DATA_EXCHANGE}` instead"
        );
        report.add_warning(&action.location, what);
    } else if screen.actions(DATA_EXCHANGE).next().is_none() {
        if is_final {
            let what = format!(
                "nothing here sends the form: its button needs the action `{DATA_EXCHANGE}`"
            );
            report.add_error(&screen.location, what);
        } else {
            let what = "nothing here sends a request to flowgate: its fields arrive only if a later screen sends them";
            report.add_warning(&screen.location, what);
        }
    }
}

/// Checks that the screen sends the fields that the config expects.
fn check_fields(
    screen: &FlowJsonScreen<'_>,
    declared: &flow::Screen,
    flow: &Flow,
    report: &mut Findings,
) {
    // A refresh sends some of the fields. A button sends all fields.
    let has_button = screen.actions(DATA_EXCHANGE).any(|action| action.on_click);
    let is_sending = |action: &&ComponentAction<'_>| {
        (action.on_click || !has_button) && !on_select_lint::is_refresh(action, declared)
    };
    let submitting: Vec<&ComponentAction<'_>> =
        screen.actions(DATA_EXCHANGE).filter(is_sending).collect();
    if let Some(first) = submitting.first() {
        let is_missing = |field: &&Field| {
            field.is_required && !submitting.iter().any(|action| action.sends(&field.name))
        };
        for Field { name, .. } in declared.fields.iter().filter(is_missing) {
            let what = format!(
                "lacks {name:?}, which the config requires here: add \"{name}\": \"${{form.{name}}}\""
            );
            report.add_error(format!("{}.payload", first.location), what);
        }
    }
    let is_known = |name: &str| {
        let marks_refresh = match &declared.refresh_on {
            RefreshTrigger::FieldValues(values_by_field) => values_by_field.contains_key(name),
            RefreshTrigger::Never | RefreshTrigger::Fields(_) => false,
        };
        marks_refresh
            || reserved_names_lint::is_reserved_name(name, flow)
            || flow.find_field(name).is_some()
    };
    for action in screen.actions(DATA_EXCHANGE) {
        let names = action
            .payload
            .into_iter()
            .flat_map(|payload| payload.keys());
        for name in names.filter(|name| !is_known(name)) {
            let what = format!(
                "sends {name:?}, which the config does not declare: it is stored without validation"
            );
            report.add_warning(format!("{}.payload", action.location), what);
        }
    }
}

/// Checks that the config provides no more choices than the component accepts.
fn check_choice_lists(screen: &FlowJsonScreen<'_>, declared: &flow::Screen, report: &mut Findings) {
    for ComponentChoices {
        location: place,
        component,
        source,
    } in &screen.choice_lists
    {
        let configured = declared
            .data_source(source)
            .and_then(DataSource::list_options)
            .map(|options| options.limit);
        if let (Some(configured), Some(limit)) = (configured, component_limit(component))
            && configured > limit
        {
            let what = format!(
                "a {component} takes {limit} choices, and `{source}` can have {configured}: use a Dropdown, or write `limit = {limit}` in the config"
            );
            report.add_error(format!("{place}.data-source"), what);
        }
    }
}

/// Returns the maximum number of choices of a component (*Flow JSON*, components, limits). A
/// dropdown with images accepts half as many, but the choices of flowgate have no images.
fn component_limit(component: &str) -> Option<usize> {
    match component {
        "Dropdown" => Some(200),
        "RadioButtonsGroup" | "CheckboxGroup" | "ChipsSelector" => Some(20),
        _ => None,
    }
}

/// Checks that at least one screen sends the slot that the flow books.
fn check_slot(screens: &[FlowJsonScreen<'_>], flow: &Flow, report: &mut Findings) {
    let Some(booking) = &flow.booking else { return };
    let is_sent = |name: &str| screens.iter().any(|screen| screen.sends(name));
    if !is_sent(&booking.date_field) && !is_sent(&booking.time_field) {
        let wanted = if booking.date_field == booking.time_field {
            String::new()
        } else {
            format!(", nor {:?}", booking.date_field)
        };
        let what = format!(
            "no payload sends {:?}{wanted}, which the booking of the flow needs",
            booking.time_field
        );
        report.add_error("screens", what);
    }
}
