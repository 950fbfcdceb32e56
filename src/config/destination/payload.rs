//! Reads `payload` of a webhook: a chat format, or templates of the owner. Default: the event
//! format of `docs/events`.
//!
//! ```toml
//! payload = "slack"                                                      # or "discord"
//! payload = { text = '{"name": {{ data.submission.answers.name }}}' }    # for all events
//! payload = { file = "templates/crm.json" }
//! payload = { "lead.assigned" = { file = "templates/lead.json" } }       # no other event is sent
//! ```
//!
//! See [`super::template_check`] for the check of templates, and
//! [`crate::domain::delivery::payload::template`] for their rendering.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::event_fields::parse_event_kind;
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::domain::delivery::payload::PayloadFormat;
use crate::domain::delivery::payload::template::{Template, TemplateError};
use crate::domain::event::EventKind;

/// Maximum size of a template file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Reads `payload`.
pub(in crate::config) fn read(table: &TableReader<'_>) -> PayloadFormat {
    let Some(item) = table.get("payload") else {
        return PayloadFormat::Event;
    };
    if !item.is_table() {
        return match item.one_of(&["event", "slack", "discord"]) {
            Some("slack") => PayloadFormat::Slack,
            Some("discord") => PayloadFormat::Discord,
            _ => PayloadFormat::Event,
        };
    }
    if !is_keyed_by_event(&item) {
        let template = item.read_table(read_template).flatten();
        let all = template
            .into_iter()
            .flat_map(|one| EventKind::ALL.map(|kind| (kind, one.clone())));
        return PayloadFormat::Templates(all.collect());
    }
    let items = item.entries().unwrap_or_default();
    PayloadFormat::Templates(items.iter().filter_map(read_event_template).collect())
}

/// Returns `true` if the keys are names of events, and `false` if they are the keys of a template.
pub(super) fn is_keyed_by_event(item: &ValueReader<'_>) -> bool {
    let is_event_prefix = |key: &str| {
        EventKind::ALL
            .into_iter()
            .any(|kind| kind.as_str().split('.').next() == Some(key))
    };
    let items = item.entries().unwrap_or_default();
    items
        .iter()
        .any(|item| item.key.contains('.') || is_event_prefix(item.key))
}

fn read_event_template(item: &ValueReader<'_>) -> Option<(EventKind, Template)> {
    let quoting_advice = if item.key.contains('.') {
        ""
    } else {
        ": put the name of the event in quotes, as \"lead.assigned\""
    };
    let kind = item.parse_key(|name| {
        parse_event_kind(name, EventKind::ALL.into_iter()).map_err(|error| error + quoting_advice)
    })?;
    Some((kind, item.read_table(read_template)??))
}

fn read_template(table: &TableReader<'_>) -> Option<Template> {
    let (text, file) = (table.get("text"), table.get("file"));
    match (&text, &file) {
        (Some(item), None) => {
            let read = Template::parse(item.non_empty_text()?);
            read.map_err(|error| report_template_error(item, None, &error))
                .ok()
        }
        (None, Some(item)) => {
            let path = table.folder().join(item.non_empty_text()?);
            let text = item.parse(|_| read_file(&path))?;
            Template::parse(&text)
                .map_err(|error| report_template_error(item, Some(&path), &error))
                .ok()
        }
        _ => {
            table.error("needs either `text` or `file`");
            None
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let read_error =
        |why: &dyn fmt::Display| format!("can't read the template {}: {why}", path.display());
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read.map(u64::try_from) {
        Ok(Ok(length)) if length <= FILE_BYTES_MAX => Ok(text),
        Ok(_) => Err(read_error(&format!(
            "it has more than {FILE_BYTES_MAX} bytes"
        ))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(read_error(&"it is not text (UTF-8)"))
        }
        Err(error) => Err(read_error(&error)),
    }
}

/// Reports an error in a template. `file` is the path of the template file. `None`: the template is
/// in the config.
pub(super) fn report_template_error(
    item: &ValueReader<'_>,
    file: Option<&Path>,
    error: &TemplateError,
) {
    let TemplateError {
        line,
        column,
        message: what,
    } = error;
    match file {
        Some(file) => item.error(format!("{}:{line}:{column}: {what}", file.display())),
        None => item.error(format!("template line {line}, column {column}: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::tests::{assert_error, assert_errors_in, parse_valid};
    use crate::config::{Config, DestinationKind};
    use crate::domain::event::subscriptions::Subscription;

    const HEAD: &str = "[destinations.crm]\nurl = \"https://crm.example\"\nsecrets = [\"env:A\"]";
    const FLOW: &str = "[flows.form]\npath = \"/form\"\nencryption = \"none\"\nscreens = [{ name = \"A\", final = true }]";

    fn payload_of(config: &Config) -> &PayloadFormat {
        let Some(DestinationKind::Webhook(settings)) =
            config.destinations.values().next().map(|one| &one.kind)
        else {
            panic!()
        };
        &settings.payload
    }

    fn payload_from(typed: &str) -> PayloadFormat {
        payload_of(&parse_valid(&format!("{HEAD}\n{typed}"))).clone()
    }

    fn supported_events(format: &PayloadFormat) -> Vec<&'static str> {
        EventKind::ALL
            .into_iter()
            .filter(|kind| format.supports(*kind))
            .map(EventKind::as_str)
            .collect()
    }

    #[test]
    fn payload_is_event_chat_or_templates() {
        for (typed, expected) in [
            ("", PayloadFormat::Event),
            ("payload = \"event\"", PayloadFormat::Event),
            ("payload = \"slack\"", PayloadFormat::Slack),
            ("payload = \"discord\"", PayloadFormat::Discord),
        ] {
            assert_eq!(payload_from(typed), expected, "{typed}");
        }
        let single = payload_from("payload = { text = \"{}\" }");
        assert_eq!(supported_events(&single).len(), 16);
        let by_event = payload_from(
            "payload = { \"lead.assigned\" = { text = \"{}\" }, \"job.dead\" = { text = \"[]\" } }",
        );
        assert_eq!(supported_events(&by_event), ["lead.assigned", "job.dead"]);
    }

    #[test]
    fn template_file_is_read_beside_config() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("crm.json");
        let parse = || {
            let text = format!("{HEAD}\npayload = {{ file = \"crm.json\" }}");
            Config::parse(&folder.path().join("config.toml"), &text)
        };
        fs::write(&file, "{}").unwrap();
        let before = parse().unwrap();
        let typed = payload_from("payload = { text = \"{}\" }");
        assert_eq!(payload_of(&before), &typed);
        fs::write(&file, "[]").unwrap();
        assert_ne!(payload_of(&before), payload_of(&parse().unwrap()));

        let assert_error = |why: &str| {
            let error = parse().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        fs::write(&file, "{\n  {{ oops }\n}").unwrap();
        let located = format!("4:20: destinations.crm.payload.file: {}:2:", file.display());
        assert_error(&located);
        fs::write(&file, "x".repeat(64 * 1024 + 1)).unwrap();
        assert_error("it has more than 65536 bytes");
        fs::write(&file, b"\xff").unwrap();
        assert_error("it is not text (UTF-8)");
        fs::remove_file(&file).unwrap();
        assert_error("can't read the template");
    }

    #[test]
    fn subscription_is_restricted_to_templates() {
        let by_event =
            "payload = { \"lead.waiting\" = { text = \"{}\" }, \"job.dead\" = { text = \"{}\" } }";
        let config = parse_valid(&format!(
            "alerts = [\"crm\"]\n{FLOW}\ndeliver = [\"crm\"]\n{HEAD}\n{by_event}"
        ));
        let names = |routes: &[Subscription]| {
            let events = routes.iter().flat_map(|route| route.events.clone());
            events.map(EventKind::as_str).collect::<Vec<_>>()
        };
        let flow = config.subscriptions.flows.values().next().unwrap();
        assert_eq!(names(flow), ["lead.waiting"]);
        assert_eq!(names(&config.subscriptions.alerts), ["job.dead"]);
        let only_lead = "payload = { \"lead.waiting\" = { text = \"{}\" } }";
        assert_error(
            &format!("alerts = [\"crm\"]\n{HEAD}\n{only_lead}"),
            "alerts: \"crm\" has no template for any of these alerts",
        );
    }

    #[test]
    fn payload_and_template_errors_have_location() {
        assert_errors_in(
            |payload| format!("{HEAD}\npayload = {payload}"),
            r#"
            "slak"
            => 4:11: destinations.crm.payload: "slak" is not a valid value: did you mean `slack`?
            3
            => 4:11: destinations.crm.payload: must be a text in quotes, and is a whole number
            {}
            => 4:11: destinations.crm.payload: needs either `text` or `file`
            { text = "{}", file = "a" }
            => 4:11: destinations.crm.payload: needs either `text` or `file`
            { txt = "{}" }
            => 4:11: destinations.crm.payload: needs either `text` or `file`
            => 4:13: unknown key `txt` in destinations.crm.payload: did you mean `text`?
            { text = "" }
            => 4:20: destinations.crm.payload.text: is empty
            { lead.assigned = { text = "{}" } }
            => 4:13: destinations.crm.payload.lead: there is no event "lead": did you mean `lead.closed`?: put the name of the event in quotes, as "lead.assigned"
            { "lead.asigned" = { text = '{}' } }
            => 4:13: destinations.crm.payload.lead.asigned: there is no event "lead.asigned": did you mean `lead.assigned`?
            { "lead.assigned" = { text = '{' } }
            => 4:40: destinations.crm.payload.lead.assigned.text: template line 1, column 1: the result is not valid JSON: EOF while parsing an object (for lead.assigned with all optional data)
            { "lead.assigned" = { text = '{{ data.lead.id' } }
            => 4:40: destinations.crm.payload.lead.assigned.text: template line 1, column 14: unexpected end of input, expected end of variable block
            { "lead.assigned" = { text = '{"a": {{ data.leed.id }}}' } }
            => 4:40: destinations.crm.payload.lead.assigned.text: template line 1, column 10: `data` has no "leed": did you mean `lead`?
            { "lead.assigned" = { text = '{{ data.lead.agent.name }}' } }
            => 4:40: destinations.crm.payload.lead.assigned.text: template line 1, column 4: `data.lead.agent` has no "name": it has no fields
            { "submission.accepted" = { text = '{{ data.lead.id }}' } }
            => 4:46: destinations.crm.payload.submission.accepted.text: template line 1, column 4: `data` has no "lead": expected one of `booking`, `conflict`, `flow`, `message`, `submission`, `test`
            { "lead.assigned" = { text = '{{ dta }}' } }
            => 4:40: destinations.crm.payload.lead.assigned.text: template line 1, column 4: an event has no "dta": did you mean `data`?
            { "lead.assigned" = { text = '[{{ data.booking.date | first }} {% if not data.booking %},{% endif %}]' } }
            => 4:40: destinations.crm.payload.lead.assigned.text: template line 1, column 71: the result is not valid JSON: expected value (for lead.assigned without optional data)
            { "lead.assigned" = { text = '[{% if data.conflict %},{% endif %}]' } }
            => 4:40: destinations.crm.payload.lead.assigned.text: template line 1, column 24: the result is not valid JSON: expected value (for lead.assigned with all optional data)
            "#,
        );
    }
}
