//! The shape of the source, as `src/lib.rs` draws it: who may use whom, and that every file says what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every Rust file below `folder`, with its text.
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

/// The module at the top of the crate that a file of `src` belongs to.
fn module_of(path: &Path) -> String {
    let first = path.strip_prefix(source("src")).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The table in `src/lib.rs`: module → those it may use.
fn import_table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(source("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | [`")).map(|row| {
        let module = row.split('`').next().unwrap().to_owned();
        let allowed = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let allowed = allowed.split(',').map(|name| name.trim().to_owned()).collect();
        (module, allowed)
    });
    rows.collect()
}

/// A file without its comments and without what stands in it for tests only.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that a text names after `crate::`, one by one or in braces.
fn used_modules(code: &str) -> BTreeSet<String> {
    code.split("crate::")
        .skip(1)
        .flat_map(|after| after.strip_prefix('{').map_or(vec![first_name(after)], names_in_braces))
        .collect()
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Of `a::b, c::{d, e}, f}…`: a, c, f.
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
fn every_module_uses_only_what_the_table_in_lib_rs_allows() {
    let table = import_table();
    assert!(table.len() >= 10, "the table in src/lib.rs is not where it was: {table:?}");
    let mut wrong = Vec::new();
    for (path, text) in files(&source("src")) {
        let module = module_of(&path);
        let Some(allowed) = table.get(&module) else {
            assert!(["lib", "main"].contains(&module.as_str()), "{module} is not in the table of src/lib.rs");
            continue;
        };
        for used in used_modules(&code(&text)) {
            let everybodys = used == "telemetry" && module != "domain";
            let fine = used == module || allowed.contains(&used) || allowed.contains("all of them") || everybodys;
            if table.contains_key(&used) && !fine {
                wrong.push(format!("{}: {module} may not use crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_scan_sees_every_way_to_name_a_module() {
    let used = used_modules(
        "use crate::store::Store;\nuse crate::{admin::{self, Door}, clock, http::Limits};\ncrate::work::run()",
    );
    for name in ["store", "admin", "clock", "http", "work"] {
        assert!(used.contains(name), "{name} not in {used:?}");
    }
}

#[test]
fn the_domain_is_pure() {
    for (path, text) in files(&source("src/domain")) {
        for banned in
            ["std::thread", "std::fs", "Socket", "Tcp", "Udp", "tokio", "tracing", "metrics::", "redb", "crossbeam"]
        {
            assert!(!code(&text).contains(banned), "{} uses {banned}", path.display());
        }
    }
}

#[test]
fn only_the_store_knows_redb() {
    for (path, text) in files(&source("src")) {
        let outside = module_of(&path) != "store";
        assert!(!(outside && code(&text).contains("redb::")), "{} names redb", path.display());
    }
}

#[test]
fn only_outgoing_knows_tls() {
    for (path, text) in files(&source("src")) {
        let outside = module_of(&path) != "outgoing";
        assert!(!(outside && code(&text).contains("rustls")), "{} names rustls", path.display());
    }
}

#[test]
fn only_the_clock_knows_chance() {
    for (path, text) in files(&source("src")) {
        let outside = module_of(&path) != "clock";
        assert!(!(outside && code(&text).contains("getrandom::")), "{} names getrandom", path.display());
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let mut all = files(&source("src"));
    for folder in ["tests", "benches"].map(source).iter().filter(|folder| folder.exists()) {
        all.extend(files(folder));
    }
    for (path, text) in all {
        assert!(text.starts_with("//! "), "{} does not open with `//!`", path.display());
    }
}
