//! `docs/config-reference.md` is generated from the comments of `config.toml` and from the errors
//! of the program, which names the required keys.
//!
//! `UPDATE_DOCS=1 cargo test --test it book::config_reference` writes the page.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use super::pages::{all_pages, root};
use crate::support::run;

const PAGE: &str = "docs/config-reference.md";

const HEAD: &str = "# Config reference

A test generates this page from `config.toml` and the code. To change the page, change the comments
in `config.toml`.

The shipped `config.toml` has all these keys with the same comments. *Required* means that the
program refuses the table without the key.

";

/// Tables without their keys. The errors of the program name the required keys.
const EMPTY_TABLES: &str = r#"[flows.appointment]
encryption = "required"
private_keys = ["file:key"]
[[flows.appointment.screens]]
[flows.appointment.upstream]
[calendars.consultations]
[destinations.crm]
[gateways.shop]
[gateways.waha]
kind = "waha"
"#;

/// A line of `config.toml`.
#[derive(Clone, Copy)]
enum ConfigLine<'a> {
    /// `[NAME]`, also in a comment.
    Header(&'a str),
    /// `key = value  # comment`, also in a comment.
    Key(&'a str, &'a str, &'a str),
    /// Continued comment of a key.
    Continued(&'a str),
    /// Text between keys.
    Text(&'a str),
    Blank,
}

fn parse_line(line: &str) -> ConfigLine<'_> {
    if line.is_empty() {
        return ConfigLine::Blank;
    }
    let content = line.strip_prefix("# ").unwrap_or(line);
    if line.starts_with(' ') {
        return ConfigLine::Continued(line.trim().trim_start_matches("# "));
    }
    if content.starts_with('[') && content.split(" #").next().unwrap().trim().ends_with(']') {
        return ConfigLine::Header(content.split(" #").next().unwrap().trim());
    }
    if let Some((key, rest)) = content.split_once(" = ") {
        let (value, comment) = rest.split_once(" # ").unwrap_or((rest, ""));
        let is_key = key.chars().all(|it| it.is_ascii_lowercase() || it == '_');
        let assignment = format!("{key} = {}", value.trim());
        if is_key && toml::from_str::<toml::Table>(&assignment).is_ok() {
            return ConfigLine::Key(key, value.trim(), comment.trim());
        }
    }
    ConfigLine::Text(line.trim_start_matches('#'))
}

/// Key of the reference.
struct Row {
    key: String,
    value: String,
    comment: String,
}

/// Builder of the page.
struct Reference {
    page: String,
    /// Name of the current table, without brackets.
    table: String,
    rows: Vec<Row>,
    /// Text that belongs to the next header, or to the next key.
    text: Vec<String>,
    required: BTreeSet<String>,
}

impl Reference {
    fn generate(config: &str, required: BTreeSet<String>) -> String {
        let mut reference = Self {
            page: HEAD.to_owned(),
            table: String::new(),
            rows: Vec::new(),
            text: Vec::new(),
            required,
        };
        for line in config.lines() {
            reference.read_line(parse_line(line));
        }
        reference.write_rows();
        reference.write_text();
        reference.page
    }

    fn read_line(&mut self, line: ConfigLine<'_>) {
        match line {
            ConfigLine::Header(header) => {
                self.write_rows();
                let name = header.trim_matches(['[', ']']);
                write!(self.page, "\n## `{header}`\n").unwrap();
                name.clone_into(&mut self.table);
            }
            ConfigLine::Key(key, value, comment) => {
                if !self.text.is_empty() {
                    self.write_rows();
                    self.write_text();
                }
                self.rows.push(Row {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    comment: comment.to_owned(),
                });
            }
            ConfigLine::Continued(comment) => {
                if let Some(row) = self.rows.last_mut() {
                    row.comment = format!("{} {comment}", row.comment);
                }
            }
            ConfigLine::Text(text) => self.text.push(text.to_owned()),
            ConfigLine::Blank => {
                self.write_rows();
                self.write_text();
            }
        }
    }

    /// Writes the collected text. Indented lines are examples.
    fn write_text(&mut self) {
        let mut is_example = false;
        for line in std::mem::take(&mut self.text) {
            let indented = line.starts_with("   ");
            if indented != is_example {
                self.page
                    .push_str(if indented { "\n```toml\n" } else { "```\n" });
                is_example = indented;
            } else if !indented && self.page.ends_with("|\n") {
                self.page.push('\n');
            }
            let _ = writeln!(
                self.page,
                "{}",
                if indented { &line[3..] } else { line.trim() }
            );
        }
        if is_example {
            self.page.push_str("```\n");
        }
    }

    fn write_rows(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return;
        }
        self.page
            .push_str("\n| key | default | example | meaning |\n|---|---|---|---|\n");
        for row in rows {
            let cell = |text: &str| text.replace('|', "\\|");
            let default = self.default_of(&row);
            let _ = writeln!(
                self.page,
                "| `{}` | {} | `{}` | {} |",
                row.key,
                cell(&default),
                cell(&row.value),
                cell(&row.comment)
            );
        }
    }

    /// Returns the default of a key: from the errors of the program, from its comment, or the
    /// shipped value.
    fn default_of(&self, row: &Row) -> String {
        if self
            .required
            .contains(&format!("{}.{}", self.table, row.key))
        {
            return "required".to_owned();
        }
        if let Some((_, named)) = row.comment.split_once("efault: ") {
            return match named
                .strip_prefix('"')
                .and_then(|text| text.split_once('"'))
            {
                Some((text, _)) => format!("`\"{text}\"`"),
                None => named
                    .split(". ")
                    .next()
                    .unwrap()
                    .split([';', ','])
                    .next()
                    .unwrap()
                    .to_owned(),
            };
        }
        // The names of fields and weekdays have no defaults.
        if ["fields", "hours"].contains(&self.table.rsplit('.').next().unwrap()) {
            return "none".to_owned();
        }
        format!("`{}`", row.value)
    }
}

/// Returns the required keys with their tables, as the program reports them.
fn required_keys() -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), EMPTY_TABLES).unwrap();
    let checked = run(folder.path(), &["config", "check"]);
    let errors = checked.err.replace("gateways.waha", "gateways.shop");
    let missing = errors.lines().filter_map(|line| {
        let (before, after) = line.split_once(": `")?;
        let key = after.split_once("` is missing")?.0;
        Some(format!("{}.{key}", before.rsplit(' ').next()?))
    });
    missing.collect()
}

#[test]
fn page_is_generated() {
    let config = fs::read_to_string(root().join("config.toml")).unwrap();
    let generated = Reference::generate(&config, required_keys());
    let page = root().join(PAGE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, &generated).unwrap();
    }
    let is_current = fs::read_to_string(page).is_ok_and(|text| text == generated);
    assert!(
        is_current,
        "{PAGE} is out of date: run UPDATE_DOCS=1 cargo test --test it book::config_reference"
    );
}

#[test]
fn required_keys_come_from_the_program() {
    let required = required_keys();
    for key in [
        "flows.appointment.screens.name",
        "flows.appointment.upstream.url",
        "calendars.consultations.timezone",
        "destinations.crm.url",
        "gateways.shop.kind",
        "gateways.shop.api_key",
    ] {
        assert!(required.contains(key), "{key} in {required:?}");
    }
}

/// Returns the keys that the code of the config reads.
fn keys_of_the_code() -> BTreeSet<String> {
    const READERS: [&str; 14] = [
        "get",
        "require",
        "read",
        "parse",
        "require_parsed",
        "secret",
        "require_secret",
        "text",
        "choice",
        "read_table",
        "read_table_or_empty",
        "size",
        "duration",
        "integer",
    ];
    let mut keys = BTreeSet::new();
    let mut folders = vec![root().join("src/config")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for reader in READERS.iter().chain(&["boolean"]) {
                for call in text.split(&format!(".{reader}(")).skip(1) {
                    let literal = call.trim_start().strip_prefix('"');
                    let literal = literal.and_then(|rest| rest.split_once('"'));
                    keys.extend(literal.map(|(key, _)| key.to_owned()));
                }
            }
        }
    }
    keys
}

#[test]
fn each_key_of_the_code_is_in_the_book() {
    let keys = keys_of_the_code();
    assert!(keys.len() > 80, "only {} keys were found", keys.len());
    let book: String = all_pages().into_iter().map(|page| page.text).collect();
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let words: BTreeSet<&str> = book.split(|it: char| !is_word(it)).collect();
    let missing: Vec<&String> = keys
        .iter()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "config keys that no page names: {missing:?}"
    );
}
