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

use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::suggest::suggestion;
use crate::domain::delivery::payload::PayloadFormat;
use crate::domain::delivery::payload::template::{Template, TemplateError};
use crate::domain::event::EventKind;

/// Maximum size of a template file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Reads `payload`. `folder` is the folder of the config.
pub(in crate::config) fn read(table: &TableReader<'_>, folder: &Path) -> PayloadFormat {
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
        let template = item
            .read_table(|table| read_template(table, folder))
            .flatten();
        let all = template
            .into_iter()
            .flat_map(|one| EventKind::ALL.map(|kind| (kind, one.clone())));
        return PayloadFormat::Templates(all.collect());
    }
    let read = item.read_named_table(|table| {
        table
            .entries()
            .iter()
            .filter_map(|item| read_event_template(item, folder))
            .collect()
    });
    PayloadFormat::Templates(read.unwrap_or_default())
}

/// Returns `true` if the keys are names of events, and `false` if they are the keys of a template.
pub(super) fn is_keyed_by_event(item: &ValueReader<'_>) -> bool {
    let is_event_prefix = |key: &str| {
        EventKind::ALL
            .into_iter()
            .any(|kind| kind.as_str().split('.').next() == Some(key))
    };
    item.read_named_table(|table| {
        table
            .entries()
            .iter()
            .any(|item| item.key.contains('.') || is_event_prefix(item.key))
    })
    .unwrap_or_default()
}

fn read_event_template(item: &ValueReader<'_>, folder: &Path) -> Option<(EventKind, Template)> {
    let kind = EventKind::from_name(item.key);
    if kind.is_none() {
        let suggestion = suggestion(item.key, EventKind::ALL.into_iter().map(EventKind::as_str));
        let quoting_advice = if item.key.contains('.') {
            ""
        } else {
            ": put the name of the event in quotes, as \"lead.assigned\""
        };
        item.key_error(format!(
            "{}: there is no event {:?}{suggestion}{quoting_advice}",
            item.path, item.key
        ));
        return None;
    }
    Some((
        kind?,
        item.read_table(|table| read_template(table, folder))
            .flatten()?,
    ))
}

fn read_template(table: &TableReader<'_>, folder: &Path) -> Option<Template> {
    let (text, file) = (table.get("text"), table.get("file"));
    match (&text, &file) {
        (Some(item), None) => {
            let read = Template::parse(item.non_empty_text()?);
            read.map_err(|error| report_template_error(item, None, &error))
                .ok()
        }
        (None, Some(item)) => {
            let path = folder.join(item.non_empty_text()?);
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
    use crate::config::tests::{error_of, parse_valid};
    use crate::config::{Config, ConfigError, DestinationKind};

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

    /// Parses a config whose file is in `folder`.
    fn parse_in_folder(text: &str, folder: &Path) -> Result<Config, ConfigError> {
        Config::parse(&folder.join("config.toml"), text)
    }

    #[test]
    fn payload_is_event_chat_or_templates() {
        assert_eq!(payload_from(""), PayloadFormat::Event);
        assert_eq!(payload_from("payload = \"event\""), PayloadFormat::Event);
        assert_eq!(payload_from("payload = \"slack\""), PayloadFormat::Slack);
        assert_eq!(
            payload_from("payload = \"discord\""),
            PayloadFormat::Discord
        );
        assert_eq!(
            supported_events(&payload_from("payload = { text = \"{}\" }")).len(),
            14
        );
        let by_event = payload_from(
            "payload = { \"lead.assigned\" = { text = \"{}\" }, \"job.dead\" = { text = \"[]\" } }",
        );
        assert_eq!(supported_events(&by_event), ["lead.assigned", "job.dead"]);
    }

    #[test]
    fn template_file_is_read_beside_config() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{HEAD}\npayload = {{ file = \"crm.json\" }}");
        fs::write(folder.path().join("crm.json"), "{}").unwrap();
        let before = parse_in_folder(&text, folder.path()).unwrap();
        assert_eq!(
            payload_of(&before),
            &payload_from("payload = { text = \"{}\" }")
        );
        fs::write(folder.path().join("crm.json"), "[]").unwrap();
        assert_ne!(
            payload_of(&before),
            payload_of(&parse_in_folder(&text, folder.path()).unwrap())
        );

        fs::write(folder.path().join("crm.json"), "{\n  {{ oops }\n}").unwrap();
        let error = parse_in_folder(&text, folder.path())
            .unwrap_err()
            .to_string();
        let location = format!(
            "4:20: destinations.crm.payload.file: {}:2:",
            folder.path().join("crm.json").display()
        );
        assert!(error.contains(&location), "{error}");
        fs::write(folder.path().join("crm.json"), "x".repeat(64 * 1024 + 1)).unwrap();
        assert!(
            parse_in_folder(&text, folder.path())
                .unwrap_err()
                .to_string()
                .contains("it has more than 65536 bytes")
        );
        fs::write(folder.path().join("crm.json"), b"\xff").unwrap();
        assert!(
            parse_in_folder(&text, folder.path())
                .unwrap_err()
                .to_string()
                .contains("it is not text (UTF-8)")
        );
        fs::remove_file(folder.path().join("crm.json")).unwrap();
        assert!(
            parse_in_folder(&text, folder.path())
                .unwrap_err()
                .to_string()
                .contains("can't read the template")
        );
    }

    #[test]
    fn subscription_is_restricted_to_templates() {
        let by_event =
            "payload = { \"lead.waiting\" = { text = \"{}\" }, \"job.dead\" = { text = \"{}\" } }";
        let config = parse_valid(&format!(
            "alerts = [\"crm\"]\n{FLOW}\ndeliver = [\"crm\"]\n{HEAD}\n{by_event}"
        ));
        let names = |routes: &[crate::domain::event::subscriptions::Subscription]| {
            routes
                .iter()
                .flat_map(|route| route.events.iter().map(|kind| kind.as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(
                &config
                    .subscriptions
                    .flows
                    .values()
                    .flatten()
                    .cloned()
                    .collect::<Vec<_>>()
            ),
            ["lead.waiting"]
        );
        assert_eq!(names(&config.subscriptions.alerts), ["job.dead"]);
        let error = error_of(&format!(
            "alerts = [\"crm\"]\n{HEAD}\npayload = {{ \"lead.waiting\" = {{ text = \"{{}}\" }} }}"
        ));
        assert!(
            error.contains("alerts: \"crm\" has no template for any of these alerts"),
            "{error}"
        );
    }

    /// Asserts that the payload is refused with an error that contains `why`.
    fn assert_error(payload: &str, why: &str) {
        let error = error_of(&format!("{HEAD}\npayload = {payload}"));
        assert!(error.contains(why), "{payload}\n{error}");
    }

    #[test]
    fn payload_errors_have_location() {
        for (payload, why) in [
            (
                "\"slak\"",
                "4:11: destinations.crm.payload: \"slak\" is not a valid value: did you mean `slack`?",
            ),
            ("3", "must be a text in quotes"),
            (
                "{}",
                "destinations.crm.payload: needs either `text` or `file`",
            ),
            (
                "{ text = \"{}\", file = \"a\" }",
                "needs either `text` or `file`",
            ),
            (
                "{ txt = \"{}\" }",
                "unknown key `txt` in destinations.crm.payload: did you mean `text`?",
            ),
            ("{ text = \"\" }", "payload.text: is empty"),
            (
                "{ lead.assigned = { text = \"{}\" } }",
                "put the name of the event in quotes",
            ),
        ] {
            assert_error(payload, why);
        }
    }

    #[test]
    fn template_errors_have_location() {
        for (event, text, why) in [
            (
                "lead.asigned",
                "{}",
                "there is no event \"lead.asigned\": did you mean `lead.assigned`?",
            ),
            (
                "lead.assigned",
                "{",
                "template line 1, column 1: the result is not valid JSON: EOF",
            ),
            (
                "lead.assigned",
                "{{ data.lead.id",
                "4:40: destinations.crm.payload.lead.assigned.text: template line 1, column 14: ",
            ),
            (
                "lead.assigned",
                "{\"a\": {{ data.leed.id }}}",
                "template line 1, column 10: `data` has no \"leed\": did you mean `lead`?",
            ),
            (
                "lead.assigned",
                "{{ data.lead.agent.name }}",
                "`data.lead.agent` has no \"name\": it has no fields",
            ),
            (
                "submission.accepted",
                "{{ data.lead.id }}",
                "`data` has no \"lead\"",
            ),
            (
                "lead.assigned",
                "{{ dta }}",
                "an event has no \"dta\": did you mean `data`?",
            ),
            (
                "lead.assigned",
                "[{{ data.booking.date | first }} {% if not data.booking %},{% endif %}]",
                "(for lead.assigned without optional data)",
            ),
            (
                "lead.assigned",
                "[{% if data.conflict %},{% endif %}]",
                "(for lead.assigned with all optional data)",
            ),
        ] {
            assert_error(&format!("{{ \"{event}\" = {{ text = '{text}' }} }}"), why);
        }
    }
}
