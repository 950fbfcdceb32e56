//! Templates tried on examples of every event that they are for, when the config is read: one that would fail, or that looks for
//! what no event has, is refused with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{is_by_event, refuse};
use crate::config::destinations::{Destination, Means};
use crate::config::known::follow;
use crate::config::raw::Table;
use crate::config::value::Item;
use crate::domain::body::{BodyRule, seen};
use crate::domain::event::EventKind;
use crate::domain::event::example::{Extent, example};
use crate::domain::ids::DestinationName;
use crate::domain::routes::Routes;
use crate::domain::template::{Template, TemplateError};
use crate::domain::time::Timestamp;

/// Tries each template on each event that it is for: where one serves all, on those that `routes` lead to its destination.
pub(in crate::config) fn try_out(
    root: &Table<'_>,
    destinations: &BTreeMap<DestinationName, Destination>,
    routes: &Routes,
    folder: &Path,
) {
    let Some(item) = root.get("destinations").filter(Item::is_table) else { return };
    item.names(|table| {
        for item in table.named().iter().filter(|item| item.is_table()) {
            let found = destinations.iter().find(|(name, _)| name.as_str() == item.key);
            if let Some((name, Destination { means: Means::Webhook(rule), .. })) = found
                && let BodyRule::Templates(templates) = &rule.body
                && let Some(body) = item.names(|table| table.get("body")).flatten()
            {
                try_body(&body, templates, &routes.events_to(name), folder);
            }
        }
    });
}

fn try_body(body: &Item<'_>, templates: &BTreeMap<EventKind, Template>, told: &BTreeSet<EventKind>, folder: &Path) {
    if !is_by_event(body) {
        let kinds: Vec<EventKind> =
            if told.is_empty() { EventKind::ALL.into() } else { told.iter().copied().collect() };
        if let (Some((source, file)), Some(template)) = (source(body, folder), templates.values().next()) {
            let tried =
                check_names(template, &kinds).and_then(|()| told.iter().try_for_each(|kind| attempt(template, *kind)));
            tried.unwrap_or_else(|error| refuse(&source, file.as_deref(), &error));
        }
        return;
    }
    body.names(|table| {
        for item in table.named() {
            let template = EventKind::named(item.key).and_then(|kind| templates.get_key_value(&kind));
            if let (Some((source, file)), Some((kind, template))) = (source(&item, folder), template) {
                let tried = check_names(template, &[*kind]).and_then(|()| attempt(template, *kind));
                tried.unwrap_or_else(|error| refuse(&source, file.as_deref(), &error));
            }
        }
    });
}

/// Where a template stands: its item, and its file if it is in one.
fn source<'d>(item: &Item<'d>, folder: &Path) -> Option<(Item<'d>, Option<PathBuf>)> {
    let items = item.names(|table| (table.get("text"), table.get("file")))?;
    match items {
        (Some(text), None) => Some((text, None)),
        (None, Some(file)) => {
            let path = folder.join(file.text()?);
            Some((file, Some(path)))
        }
        _ => None,
    }
}

/// Refuses names that no event of `kinds` has. What customers answer may have any name.
fn check_names(template: &Template, kinds: &[EventKind]) -> Result<(), TemplateError> {
    let mut events: Vec<Value> = kinds.iter().map(|kind| Value::Object(told(*kind, Extent::All))).collect();
    // An example that is sent as a test says so.
    events.push(json!({"data": {"test": true, "message": "This is a test."}}));
    for name in template.names() {
        let known = events.iter().collect();
        follow(name.split('.'), known, "an event").map_err(|what| template.error_at(&name, what))?;
    }
    Ok(())
}

/// Renders examples of `kind`.
fn attempt(template: &Template, kind: EventKind) -> Result<(), TemplateError> {
    let tells = [
        (Extent::All, "with all that it may tell"),
        (Extent::Usual, "as it usually is"),
        (Extent::Least, "with nothing of what may be missing"),
    ];
    tells.into_iter().try_for_each(|(extent, how)| {
        let rendered = template.render(&told(kind, extent));
        rendered
            .map(|_| ())
            .map_err(|error| TemplateError { what: format!("{} (for {kind} {how})", error.what), ..error })
    })
}

fn told(kind: EventKind, extent: Extent) -> Map<String, Value> {
    seen(example(kind, Timestamp::ZERO, extent), "msg_example")
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{accepted, refused};

    const HEAD: &str = "[destinations.crm]\nurl = \"https://crm.example\"\nsecrets = [\"env:A\"]";
    const FLOW: &str =
        "[flows.form]\npath = \"/form\"\nencryption = \"none\"\nscreens = [{ name = \"A\", final = true }]";

    #[test]
    fn one_template_for_all_is_tried_on_what_its_destination_is_told_of() {
        let deliver = |event: &str| {
            let text = "[{% if type == \"lead.waiting\" %},{% endif %}{{ data.lead.id }}]";
            format!(
                "{FLOW}\ndeliver = [{{ to = \"crm\", events = [\"{event}\"] }}]\n{HEAD}\nbody = {{ text = '{text}' }}"
            )
        };
        accepted(&deliver("lead.assigned"));
        let said = refused(&deliver("lead.waiting"));
        assert!(said.contains("(for lead.waiting with all that it may tell)"), "{said}");
        // Of a lead nothing is told here.
        let said = refused(&deliver("booking.confirmed"));
        assert!(said.contains("`data` has no \"lead\""), "{said}");
        let answers = "body = { text = '[{{ data.submission.answers.whatever }}, {{ data.draft.answers.a.b }}]' }";
        accepted(&format!("{HEAD}\n{answers}"));
    }

    #[test]
    fn the_examples_of_the_documentation_can_be_copied() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/destinations.md");
        let text = std::fs::read_to_string(docs).unwrap();
        let flow = FLOW.replace("[flows.form]", "[flows.appointment]");
        for chapter in ["\n## Chats\n", "\n## A shape of one's own\n"] {
            let (_, chapter) = text.split_once(chapter).unwrap();
            let (_, example) = chapter.split_once("```toml\n").unwrap();
            let (example, _) = example.split_once("```").unwrap();
            let names: Vec<String> = example
                .lines()
                .filter_map(|line| Some(format!("{:?}", line.strip_prefix("[destinations.")?.strip_suffix(']')?)))
                .collect();
            assert!(names.len() > 1, "{example}");
            let config = accepted(&format!("{flow}\ndeliver = [{}]\n{example}", names.join(", ")));
            assert_eq!(config.destinations.len(), names.len());
        }
    }
}
