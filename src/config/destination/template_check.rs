//! Checks templates when the config is read, with samples of every event that a template is for.
//!
//! A template is refused with its location if it would fail, or if it uses a name that no event
//! has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::payload::{is_keyed_by_event, report_template_error};
use super::{Destination, DestinationKind};
use crate::config::event_fields::resolve_path;
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::domain::delivery::payload::template::{Template, TemplateError};
use crate::domain::delivery::payload::{PayloadFormat, template_scope};
use crate::domain::event::EventKind;
use crate::domain::event::samples::{Completeness, sample_event};
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::ids::DestinationName;
use crate::domain::time::Timestamp;

/// Checks each template on each event that the template is for. A single template for all events is
/// checked on the events that its destination subscribes to.
pub(in crate::config) fn render_examples(
    root: &TableReader<'_>,
    destinations: &BTreeMap<DestinationName, Destination>,
    routes: &Subscriptions,
) {
    let Some(item) = root.get("destinations").filter(ValueReader::is_table) else {
        return;
    };
    let items = item.entries().unwrap_or_default();
    for item in items.iter().filter(|item| item.is_table()) {
        let found = destinations
            .iter()
            .find(|(name, _)| name.as_str() == item.key);
        if let Some((name, destination)) = found
            && let DestinationKind::Webhook(settings) = &destination.kind
            && let PayloadFormat::Templates(templates) = &settings.payload
            && let Some(Some(body)) = item.read_named_table(|table| table.get("payload"))
        {
            check_payload(&body, templates, &routes.events_for(name));
        }
    }
}

fn check_payload(
    body: &ValueReader<'_>,
    templates: &BTreeMap<EventKind, Template>,
    subscribed: &BTreeSet<EventKind>,
) {
    if !is_keyed_by_event(body) {
        let kinds: Vec<EventKind> = if subscribed.is_empty() {
            EventKind::ALL.into()
        } else {
            subscribed.iter().copied().collect()
        };
        if let Some(template) = templates.values().next() {
            check_template(body, template, &kinds, subscribed);
        }
        return;
    }
    for item in body.entries().unwrap_or_default() {
        let kind = EventKind::from_name(item.key);
        if let Some((kind, template)) = kind.and_then(|kind| templates.get_key_value(&kind)) {
            check_template(&item, template, &[*kind], &[*kind]);
        }
    }
}

/// Checks the names in a template on the events of `known`, and renders samples of `rendered`.
/// `item` is the table of the template.
fn check_template<'k>(
    item: &ValueReader<'_>,
    template: &Template,
    known: &[EventKind],
    rendered: impl IntoIterator<Item = &'k EventKind>,
) {
    let Some((source, file)) = template_source(item) else {
        return;
    };
    let mut rendered = rendered.into_iter();
    check_names(template, known)
        .and_then(|()| rendered.try_for_each(|kind| render_samples(template, *kind)))
        .unwrap_or_else(|error| report_template_error(&source, file.as_deref(), &error));
}

/// Returns the location of a template: its value in the config and, for a template in a file, the
/// path.
fn template_source<'d>(item: &ValueReader<'d>) -> Option<(ValueReader<'d>, Option<PathBuf>)> {
    item.read_named_table(|table| match (table.get("text"), table.get("file")) {
        (Some(text), None) => Some((text, None)),
        (None, Some(file)) => {
            let path = table.folder().join(file.text()?);
            Some((file, Some(path)))
        }
        _ => None,
    })?
}

/// Refuses names that no event of `kinds` has. Answers of customers may have any name.
fn check_names(template: &Template, kinds: &[EventKind]) -> Result<(), TemplateError> {
    let mut events: Vec<Value> = kinds
        .iter()
        .map(|kind| Value::Object(sample_scope(*kind, Completeness::Full)))
        .collect();
    // A sample that is sent as a test has these names.
    events.push(json!({"data": {"test": true, "message": "This is a test."}}));
    for name in template.referenced_paths() {
        let candidates = events.iter().collect();
        resolve_path(name.split('.'), candidates, "an event")
            .map_err(|what| template.error_at(&name, what))?;
    }
    Ok(())
}

/// Renders samples of `kind`, with all, the usual and the least optional data.
fn render_samples(template: &Template, kind: EventKind) -> Result<(), TemplateError> {
    let samples = [
        (Completeness::Full, "with all optional data"),
        (Completeness::Typical, "with typical data"),
        (Completeness::Minimal, "without optional data"),
    ];
    samples.into_iter().try_for_each(|(completeness, how)| {
        let rendered = template.render(&sample_scope(kind, completeness));
        rendered.map(|_| ()).map_err(|error| TemplateError {
            message: format!("{} (for {kind} {how})", error.message),
            ..error
        })
    })
}

fn sample_scope(kind: EventKind, completeness: Completeness) -> Map<String, Value> {
    template_scope(
        sample_event(kind, Timestamp::ZERO, completeness),
        "msg_example",
    )
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_error, parse_valid};

    const HEAD: &str = "[destinations.crm]\nurl = \"https://crm.example\"\nsecrets = [\"env:A\"]";
    const FLOW: &str = "[flows.form]\npath = \"/form\"\nencryption = \"none\"\nscreens = [{ name = \"A\", final = true }]";

    #[test]
    fn single_template_is_checked_on_subscribed_events() {
        let deliver = |event: &str| {
            let text = "[{% if type == \"lead.waiting\" %},{% endif %}{{ data.lead.id }}]";
            format!(
                "{FLOW}\ndeliver = [{{ to = \"crm\", events = [\"{event}\"] }}]\n{HEAD}\npayload = {{ text = '{text}' }}"
            )
        };
        parse_valid(&deliver("lead.assigned"));
        let why = "(for lead.waiting with all optional data)";
        assert_error(&deliver("lead.waiting"), why);
        // The sample of this event has no lead.
        assert_error(&deliver("booking.confirmed"), "`data` has no \"lead\"");
        let answers = "payload = { text = '[{{ data.submission.answers.whatever }}, {{ data.draft.answers.a.b }}]' }";
        parse_valid(&format!("{HEAD}\n{answers}"));
    }

    #[test]
    fn documented_examples_are_valid() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/destinations.md");
        let text = std::fs::read_to_string(docs).unwrap();
        let flow = FLOW.replace("[flows.form]", "[flows.appointment]");
        for chapter in ["\n## Chats\n", "\n## A shape of one's own\n"] {
            let (_, chapter) = text.split_once(chapter).unwrap();
            let (_, example) = chapter.split_once("```toml\n").unwrap();
            let (example, _) = example.split_once("```").unwrap();
            let headers = example
                .lines()
                .filter_map(|line| line.strip_prefix("[destinations."));
            let names: Vec<&str> = headers.filter_map(|name| name.strip_suffix(']')).collect();
            assert!(names.len() > 1, "{example}");
            let config = parse_valid(&format!("{flow}\ndeliver = {names:?}\n{example}"));
            assert_eq!(config.destinations.len(), names.len());
        }
    }
}
