//! Checks templates when the config is read, with samples of every event that a template is for.
//!
//! A template is refused with its location if it would fail, or if it uses a name that no event
//! has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
    folder: &Path,
) {
    let Some(item) = root.get("destinations").filter(ValueReader::is_table) else {
        return;
    };
    item.read_named_table(|table| {
        for item in table.entries().iter().filter(|item| item.is_table()) {
            let found = destinations
                .iter()
                .find(|(name, _)| name.as_str() == item.key);
            if let Some((
                name,
                Destination {
                    kind: DestinationKind::Webhook(settings),
                    ..
                },
            )) = found
                && let PayloadFormat::Templates(templates) = &settings.payload
                && let Some(body) = item
                    .read_named_table(|table| table.get("payload"))
                    .flatten()
            {
                check_payload(&body, templates, &routes.events_for(name), folder);
            }
        }
    });
}

fn check_payload(
    body: &ValueReader<'_>,
    templates: &BTreeMap<EventKind, Template>,
    subscribed: &BTreeSet<EventKind>,
    folder: &Path,
) {
    if !is_keyed_by_event(body) {
        let kinds: Vec<EventKind> = if subscribed.is_empty() {
            EventKind::ALL.into()
        } else {
            subscribed.iter().copied().collect()
        };
        if let (Some((source, file)), Some(template)) =
            (template_source(body, folder), templates.values().next())
        {
            let tried = check_names(template, &kinds).and_then(|()| {
                subscribed
                    .iter()
                    .try_for_each(|kind| render_samples(template, *kind))
            });
            tried.unwrap_or_else(|error| report_template_error(&source, file.as_deref(), &error));
        }
        return;
    }
    body.read_named_table(|table| {
        for item in table.entries() {
            let template =
                EventKind::from_name(item.key).and_then(|kind| templates.get_key_value(&kind));
            if let (Some((source, file)), Some((kind, template))) =
                (template_source(&item, folder), template)
            {
                let tried =
                    check_names(template, &[*kind]).and_then(|()| render_samples(template, *kind));
                tried.unwrap_or_else(|error| {
                    report_template_error(&source, file.as_deref(), &error);
                });
            }
        }
    });
}

/// Returns the location of a template: its value in the config and, for a template in a file, the
/// path.
fn template_source<'d>(
    item: &ValueReader<'d>,
    folder: &Path,
) -> Option<(ValueReader<'d>, Option<PathBuf>)> {
    let items = item.read_named_table(|table| (table.get("text"), table.get("file")))?;
    match items {
        (Some(text), None) => Some((text, None)),
        (None, Some(file)) => {
            let path = folder.join(file.text()?);
            Some((file, Some(path)))
        }
        _ => None,
    }
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
    use crate::config::tests::{error_of, parse_valid};

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
        let error = error_of(&deliver("lead.waiting"));
        assert!(
            error.contains("(for lead.waiting with all optional data)"),
            "{error}"
        );
        // The sample of this event has no lead.
        let error = error_of(&deliver("booking.confirmed"));
        assert!(error.contains("`data` has no \"lead\""), "{error}");
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
            let names: Vec<String> = example
                .lines()
                .filter_map(|line| {
                    Some(format!(
                        "{:?}",
                        line.strip_prefix("[destinations.")?.strip_suffix(']')?
                    ))
                })
                .collect();
            assert!(names.len() > 1, "{example}");
            let config = parse_valid(&format!(
                "{flow}\ndeliver = [{}]\n{example}",
                names.join(", ")
            ));
            assert_eq!(config.destinations.len(), names.len());
        }
    }
}
