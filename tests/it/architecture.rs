//! Checks the source structure of `src/lib.rs`: the allowed imports of each module, and a head in
//! every file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns every Rust file below `folder` with its text.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// Returns the top-level module of a file in `src`.
fn module_of(path: &Path) -> String {
    let first = path
        .strip_prefix(source("src"))
        .unwrap()
        .components()
        .next()
        .unwrap();
    first
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// Returns the table in `src/lib.rs`: each module with the modules that it may use.
fn import_table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(source("src/lib.rs")).unwrap();
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`"))
        .map(|row| row.strip_prefix("mod@").unwrap_or(row))
        .map(|row| {
            let module = row.split('`').next().unwrap().to_owned();
            let allowed = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
            let allowed = allowed
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect();
            (module, allowed)
        });
    rows.collect()
}

/// Returns a file without its comments and its test modules.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the modules that a text names after `crate::`, singly or in braces.
fn used_modules(code: &str) -> BTreeSet<String> {
    code.split("crate::")
        .skip(1)
        .flat_map(|after| {
            after
                .strip_prefix('{')
                .map_or(vec![first_name(after)], names_in_braces)
        })
        .collect()
}

fn first_name(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Returns a, c and f for `a::b, c::{d, e}, f}…`.
fn names_in_braces(list: &str) -> Vec<String> {
    let mut names = vec![first_name(list)];
    let mut depth = 0;
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_name(&list[at + 1..])),
            _ => {}
        }
    }
    names
}

#[test]
fn modules_import_only_what_lib_rs_allows() {
    let table = import_table();
    assert!(
        table.len() >= 10,
        "the table in src/lib.rs is not where it was: {table:?}"
    );
    let mut wrong = Vec::new();
    for (path, text) in files(&source("src")) {
        let module = module_of(&path);
        let Some(allowed) = table.get(&module) else {
            assert!(
                ["lib", "main"].contains(&module.as_str()),
                "{module} is not in the table of src/lib.rs"
            );
            continue;
        };
        for used in used_modules(&code(&text)) {
            let everybodys = used == "telemetry" && module != "domain";
            let fine = used == module
                || allowed.contains(&used)
                || allowed.contains("all of them")
                || everybodys;
            if table.contains_key(&used) && !fine {
                wrong.push(format!(
                    "{}: {module} may not use crate::{used}",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn import_scan_finds_every_form_of_path() {
    let used = used_modules(
        "use crate::store::Store;\nuse crate::{admin::{self, ConnectionBehavior}, clock, http::Limits};\ncrate::work::run()",
    );
    for name in ["store", "admin", "clock", "http", "work"] {
        assert!(used.contains(name), "{name} not in {used:?}");
    }
}

#[test]
fn domain_is_pure() {
    for (path, text) in files(&source("src/domain")) {
        for banned in [
            "std::thread",
            "std::fs",
            "Socket",
            "Tcp",
            "Udp",
            "tokio",
            "tracing",
            "metrics::",
            "redb",
            "crossbeam",
        ] {
            assert!(
                !code(&text).contains(banned),
                "{} uses {banned}",
                path.display()
            );
        }
    }
}

#[test]
fn only_store_uses_redb() {
    for (path, text) in files(&source("src")) {
        let outside = module_of(&path) != "store";
        assert!(
            !(outside && code(&text).contains("redb::")),
            "{} names redb",
            path.display()
        );
    }
}

#[test]
fn only_net_uses_rustls() {
    for (path, text) in files(&source("src")) {
        let outside = module_of(&path) != "net";
        assert!(
            !(outside && code(&text).contains("rustls")),
            "{} names rustls",
            path.display()
        );
    }
}

#[test]
fn only_clock_uses_randomness() {
    for (path, text) in files(&source("src")) {
        let outside = module_of(&path) != "clock";
        assert!(
            !(outside && code(&text).contains("getrandom::")),
            "{} names getrandom",
            path.display()
        );
    }
}

#[test]
fn every_file_starts_with_module_docs() {
    let mut all = files(&source("src"));
    for folder in ["tests", "benches"]
        .map(source)
        .iter()
        .filter(|folder| folder.exists())
    {
        all.extend(files(folder));
    }
    for (path, text) in all {
        assert!(
            text.starts_with("//! "),
            "{} does not open with `//!`",
            path.display()
        );
    }
}

/// Words that name no idea of the glossary. An identifier may not contain them.
const BANNED_WORDS: [&str; 24] = [
    "told",
    "tell",
    "tells",
    "said",
    "say",
    "says",
    "wish",
    "wishes",
    "desk",
    "shelf",
    "vigil",
    "whoever",
    "misfit",
    "standstill",
    "lanes",
    "lane",
    "courier",
    "keeper",
    "nouns",
    "noun",
    "flaw",
    "kept",
    "joins",
    "sweeper",
];

/// The identifiers of a text, without those in comments and string literals.
fn identifiers(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    // A character or an escape that is a quote does not end a string.
    let code = lines.join("\n").replace("'\"'", "").replace("\\\"", "");
    for outside in code.split('"').step_by(2) {
        for line in outside.lines() {
            let line = line.split("//").next().unwrap_or_default();
            let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            found.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
    found
}

/// `DeadLetterRow` and `dead_letter_row`: dead, letter, row.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in identifier.chars() {
        if character == '_'
            || character.is_uppercase()
                && words
                    .last()
                    .is_some_and(|word| !word.ends_with(char::is_uppercase))
        {
            words.push(String::new());
        }
        if character != '_' {
            words.last_mut().unwrap().push(character);
        }
    }
    words.iter().map(|word| word.to_lowercase()).collect()
}

#[test]
fn identifiers_have_no_banned_words() {
    let mut wrong = Vec::new();
    for (path, text) in ["src", "tests", "benches"]
        .map(source)
        .iter()
        .flat_map(|folder| files(folder))
    {
        for identifier in identifiers(&text) {
            if words(&identifier)
                .iter()
                .any(|word| BANNED_WORDS.contains(&word.as_str()))
            {
                wrong.push(format!("{}: {identifier}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "see docs/glossary.md for the term:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn identifiers_are_split_into_words() {
    assert_eq!(words("DeadLetterRow"), ["", "dead", "letter", "row"]);
    assert_eq!(words("dead_letter_row"), ["dead", "letter", "row"]);
    assert!(identifiers("let told = \"said\"; // kept").contains("told"));
    assert!(!identifiers("let told = \"said\"; // kept").contains("said"));
}

#[test]
fn no_two_public_types_share_a_name() {
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (path, text) in files(&source("src")) {
        for line in code(&text).lines() {
            let Some(item) = line.trim_start().strip_prefix("pub ") else {
                continue;
            };
            let mut parts = item.split_whitespace();
            if matches!(parts.next(), Some("struct" | "enum" | "trait" | "type")) {
                let name = first_name(parts.next().unwrap_or_default());
                // The names that a macro defines begin with `$`.
                if name.is_empty() {
                    continue;
                }
                places.entry(name).or_default().push(path.clone());
            }
        }
    }
    places.retain(|_, paths| paths.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}
