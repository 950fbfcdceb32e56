//! `body` of a webhook: whether it is told as `docs/events` says, as a chat takes it, or by templates of one's own.
//!
//! ```toml
//! body = "slack"                                                      # or "discord"; left out: docs/events
//! body = { text = '{"name": {{ data.submission.answers.name }}}' }    # one for all events
//! body = { file = "templates/crm.json" }
//! body = { "lead.assigned" = { file = "templates/lead.json" } }       # of the others it is not told
//! ```
//!
//! A template is read here and tried in [`trial`]. What it gives is `crate::domain::template`'s.

pub(super) mod trial;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::nearest::hint;
use super::raw::Table;
use super::value::Item;
use crate::domain::body::BodyRule;
use crate::domain::event::EventKind;
use crate::domain::template::{Template, TemplateError};

/// A file with more is no template.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Reads `body`. `folder` is the config's.
pub(super) fn read(table: &Table<'_>, folder: &Path) -> BodyRule {
    let Some(item) = table.get("body") else { return BodyRule::Event };
    if !item.is_table() {
        return match item.word(&["event", "slack", "discord"]) {
            Some("slack") => BodyRule::Slack,
            Some("discord") => BodyRule::Discord,
            _ => BodyRule::Event,
        };
    }
    if !is_by_event(&item) {
        let template = item.table(|table| template(table, folder)).flatten();
        let all = template.into_iter().flat_map(|one| EventKind::ALL.map(|kind| (kind, one.clone())));
        return BodyRule::Templates(all.collect());
    }
    let read = item.names(|table| table.named().iter().filter_map(|item| by_event(item, folder)).collect());
    BodyRule::Templates(read.unwrap_or_default())
}

/// Whether the keys are names of events, rather than those of a template.
fn is_by_event(item: &Item<'_>) -> bool {
    let begins = |key: &str| EventKind::ALL.into_iter().any(|kind| kind.as_str().split('.').next() == Some(key));
    item.names(|table| table.named().iter().any(|item| item.key.contains('.') || begins(item.key))).unwrap_or_default()
}

fn by_event(item: &Item<'_>, folder: &Path) -> Option<(EventKind, Template)> {
    let kind = EventKind::named(item.key);
    if kind.is_none() {
        let hint = hint(item.key, EventKind::ALL.into_iter().map(EventKind::as_str));
        let quotes =
            if item.key.contains('.') { "" } else { ": the name of an event stands in quotes, as \"lead.assigned\"" };
        item.refuse_key(format!("{}: there is no event {:?}{hint}{quotes}", item.name, item.key));
        return None;
    }
    Some((kind?, item.table(|table| template(table, folder)).flatten()?))
}

fn template(table: &Table<'_>, folder: &Path) -> Option<Template> {
    let (text, file) = (table.get("text"), table.get("file"));
    match (&text, &file) {
        (Some(item), None) => {
            let read = Template::parse(item.some_text()?);
            read.map_err(|error| refuse(item, None, &error)).ok()
        }
        (None, Some(item)) => {
            let path = folder.join(item.some_text()?);
            let text = item.parsed(|_| read_file(&path))?;
            Template::parse(&text).map_err(|error| refuse(item, Some(&path), &error)).ok()
        }
        _ => {
            table.refuse("needs either `text` or `file`");
            None
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let failed = |why: &dyn fmt::Display| format!("can't read the template {}: {why}", path.display());
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read.map(u64::try_from) {
        Ok(Ok(length)) if length <= FILE_BYTES_MAX => Ok(text),
        Ok(_) => Err(failed(&format!("it has more than {FILE_BYTES_MAX} bytes"))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(failed(&"it is not text (UTF-8)")),
        Err(error) => Err(failed(&error)),
    }
}

/// `error` is in the template that `item` holds or, as a file, names.
fn refuse(item: &Item<'_>, file: Option<&Path>, error: &TemplateError) {
    let TemplateError { line, column, what } = error;
    match file {
        Some(file) => item.refuse(format!("{}:{line}:{column}: {what}", file.display())),
        None => item.refuse(format!("in its line {line}, column {column}: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{accepted, refused};
    use super::super::{Config, ConfigError, Means};
    use super::*;

    const HEAD: &str = "[destinations.crm]\nurl = \"https://crm.example\"\nsecrets = [\"env:A\"]";
    const FLOW: &str =
        "[flows.form]\npath = \"/form\"\nencryption = \"none\"\nscreens = [{ name = \"A\", final = true }]";

    fn body(config: &Config) -> &BodyRule {
        let Some(Means::Webhook(rule)) = config.destinations.values().next().map(|one| &one.means) else { panic!() };
        &rule.body
    }

    fn one(typed: &str) -> BodyRule {
        body(&accepted(&format!("{HEAD}\n{typed}"))).clone()
    }

    fn is_for(rule: &BodyRule) -> Vec<&'static str> {
        EventKind::ALL.into_iter().filter(|kind| rule.tells_of(*kind)).map(EventKind::as_str).collect()
    }

    /// What is said of a config with this file beside it.
    fn beside(text: &str, folder: &Path) -> Result<Config, ConfigError> {
        Config::parse(&folder.join("config.toml"), text)
    }

    #[test]
    fn a_body_is_ours_a_chats_or_by_templates() {
        assert_eq!(one(""), BodyRule::Event);
        assert_eq!(one("body = \"event\""), BodyRule::Event);
        assert_eq!(one("body = \"slack\""), BodyRule::Slack);
        assert_eq!(one("body = \"discord\""), BodyRule::Discord);
        assert_eq!(is_for(&one("body = { text = \"{}\" }")).len(), 14);
        let by_event = one("body = { \"lead.assigned\" = { text = \"{}\" }, \"job.dead\" = { text = \"[]\" } }");
        assert_eq!(is_for(&by_event), ["lead.assigned", "job.dead"]);
    }

    #[test]
    fn a_file_is_looked_for_beside_the_config_and_its_text_counts() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{HEAD}\nbody = {{ file = \"crm.json\" }}");
        fs::write(folder.path().join("crm.json"), "{}").unwrap();
        let before = beside(&text, folder.path()).unwrap();
        assert_eq!(body(&before), &one("body = { text = \"{}\" }"));
        fs::write(folder.path().join("crm.json"), "[]").unwrap();
        assert_ne!(body(&before), body(&beside(&text, folder.path()).unwrap()));

        fs::write(folder.path().join("crm.json"), "{\n  {{ oops }\n}").unwrap();
        let said = beside(&text, folder.path()).unwrap_err().to_string();
        let place = format!("4:17: destinations.crm.body.file: {}:2:", folder.path().join("crm.json").display());
        assert!(said.contains(&place), "{said}");
        fs::write(folder.path().join("crm.json"), "x".repeat(64 * 1024 + 1)).unwrap();
        assert!(beside(&text, folder.path()).unwrap_err().to_string().contains("it has more than 65536 bytes"));
        fs::write(folder.path().join("crm.json"), b"\xff").unwrap();
        assert!(beside(&text, folder.path()).unwrap_err().to_string().contains("it is not text (UTF-8)"));
        fs::remove_file(folder.path().join("crm.json")).unwrap();
        assert!(beside(&text, folder.path()).unwrap_err().to_string().contains("can't read the template"));
    }

    #[test]
    fn it_is_told_of_what_it_has_a_template_for_and_of_nothing_else() {
        let by_event = "body = { \"lead.waiting\" = { text = \"{}\" }, \"job.dead\" = { text = \"{}\" } }";
        let config = accepted(&format!("alerts = [\"crm\"]\n{FLOW}\ndeliver = [\"crm\"]\n{HEAD}\n{by_event}"));
        let names = |routes: &[crate::domain::routes::Route]| {
            routes.iter().flat_map(|route| route.events.iter().map(|kind| kind.as_str())).collect::<Vec<_>>()
        };
        assert_eq!(names(&config.routes.flows.values().flatten().cloned().collect::<Vec<_>>()), ["lead.waiting"]);
        assert_eq!(names(&config.routes.alerts), ["job.dead"]);
        let said =
            refused(&format!("alerts = [\"crm\"]\n{HEAD}\nbody = {{ \"lead.waiting\" = {{ text = \"{{}}\" }} }}"));
        assert!(said.contains("alerts: \"crm\" has no template for any of these alerts"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let of = |event: &str, text: &str| format!("body = {{ \"{event}\" = {{ text = '{text}' }} }}");
        for (typed, why) in [
            (
                "body = \"slak\"".to_owned(),
                "4:8: destinations.crm.body: \"slak\" is not known here: did you mean `slack`?",
            ),
            ("body = 3".to_owned(), "must be a text in quotes"),
            ("body = {}".to_owned(), "destinations.crm.body: needs either `text` or `file`"),
            ("body = { text = \"{}\", file = \"a\" }".to_owned(), "needs either `text` or `file`"),
            ("body = { txt = \"{}\" }".to_owned(), "unknown key `txt` in destinations.crm.body: did you mean `text`?"),
            ("body = { text = \"\" }".to_owned(), "body.text: is empty"),
            (of("lead.asigned", "{}"), "there is no event \"lead.asigned\": did you mean `lead.assigned`?"),
            ("body = { lead.assigned = { text = \"{}\" } }".to_owned(), "the name of an event stands in quotes"),
            (of("lead.assigned", "{"), "in its line 1, column 1: what comes of it is no JSON: EOF"),
            (
                of("lead.assigned", "{{ data.lead.id"),
                "4:37: destinations.crm.body.lead.assigned.text: in its line 1, column 14: ",
            ),
            (
                of("lead.assigned", "{\"a\": {{ data.leed.id }}}"),
                "in its line 1, column 10: `data` has no \"leed\": did you mean `lead`?",
            ),
            (
                of("lead.assigned", "{{ data.lead.agent.name }}"),
                "`data.lead.agent` has no \"name\": nothing is below it",
            ),
            (of("submission.accepted", "{{ data.lead.id }}"), "`data` has no \"lead\""),
            (of("lead.assigned", "{{ dta }}"), "an event has no \"dta\": did you mean `data`?"),
            (
                of("lead.assigned", "[{{ data.booking.date | first }} {% if not data.booking %},{% endif %}]"),
                "(for lead.assigned with nothing of what may be missing)",
            ),
            (
                of("lead.assigned", "[{% if data.conflict %},{% endif %}]"),
                "(for lead.assigned with all that it may tell)",
            ),
        ] {
            let said = refused(&format!("{HEAD}\n{typed}"));
            assert!(said.contains(why), "{typed}\n{said}");
        }
    }
}
