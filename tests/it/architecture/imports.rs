//! Gates for imports: the layers of the table in `src/lib.rs`, a pure `domain`, and external crates
//! that only one module may use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::assert_rule;
use super::module_tree::ModuleTree;

/// Crates that only one module may use, also with a suffix: `hyper_rustls`.
const CRATE_OWNERS: [(&str, &str); 3] =
    [("redb", "store"), ("rustls", "net"), ("getrandom", "clock")];

/// Beginnings of paths that `domain` may not use.
const IMPURE_PATHS: [&str; 14] = [
    "crossbeam",
    "metrics",
    "redb",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::Socket",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os",
    "std::process",
    "std::thread",
    "tokio",
    "tracing",
];

/// The modules that each module may use.
type ImportTable = BTreeMap<String, BTreeSet<String>>;

/// Reads the rows of the table at the head of `src/lib.rs`.
fn parse_import_table(lib: &str) -> ImportTable {
    let rows = lib.lines().filter_map(|line| {
        let row = line.strip_prefix("//! | [`")?;
        let (module, _) = row.strip_prefix("mod@").unwrap_or(row).split_once('`')?;
        let (_, allowed) = row.trim_end_matches([' ', '|']).rsplit_once('|')?;
        let allowed = allowed.split(',').map(|name| name.trim().to_owned());
        Some((module.to_owned(), allowed.collect()))
    });
    rows.collect()
}

/// Returns the lines with an import that the table does not permit.
fn forbidden_imports(tree: &ModuleTree, table: &ImportTable) -> Vec<String> {
    let mut places = Vec::new();
    for (path, source) in tree.modules() {
        let module = &path[0];
        let Some(allowed) = table.get(module) else {
            places.push(format!(
                "{}: `{module}` has no row in the table",
                source.file
            ));
            continue;
        };
        for used in &source.paths {
            let Some(target) = tree.absolute(path, &used.segments) else {
                continue;
            };
            let Some(target) = target.first().filter(|name| table.contains_key(*name)) else {
                continue;
            };
            let is_allowed = target == module
                || allowed.contains(target)
                || allowed.contains("all of them")
                || target == "telemetry" && module != "domain";
            if !is_allowed {
                let line = used.line;
                places.push(format!("{}:{line} `{module}` uses `{target}`", source.file));
            }
        }
    }
    places.dedup();
    places
}

/// Returns the lines of paths for which `is_forbidden` returns `true`, given the top-level module.
fn lines_with_path(
    tree: &ModuleTree,
    is_forbidden: impl Fn(&str, &[String]) -> bool,
) -> Vec<String> {
    let mut places = Vec::new();
    for (path, source) in tree.modules() {
        for used in &source.paths {
            if is_forbidden(&path[0], &used.segments) {
                let name = used.segments.join("::");
                places.push(format!("{}:{} `{name}`", source.file, used.line));
            }
        }
    }
    places
}

fn impure_lines(tree: &ModuleTree) -> Vec<String> {
    lines_with_path(tree, |module, segments| {
        let path = segments.join("::");
        module == "domain" && IMPURE_PATHS.iter().any(|start| path.starts_with(start))
    })
}

fn foreign_crate_lines(tree: &ModuleTree) -> Vec<String> {
    lines_with_path(tree, |module, segments| {
        let mut words = segments[0].split('_');
        words.any(|word| {
            let mut owners = CRATE_OWNERS.iter();
            owners.any(|(name, owner)| *name == word && *owner != module)
        })
    })
}

#[test]
fn modules_import_only_what_lib_rs_allows() {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let table = parse_import_table(&fs::read_to_string(lib).unwrap());
    assert!(
        table.len() >= 10,
        "the head of src/lib.rs must have the table of modules. Its rows found here: {table:?}"
    );
    assert_rule(
        "a module imports only the modules in the column \"may use\" of src/lib.rs",
        &forbidden_imports(&ModuleTree::of_source(), &table),
        "move the code to the layer of what it uses, or what it uses to a lower layer. A new \
         module needs a row",
    );
}

#[test]
fn domain_is_pure() {
    assert_rule(
        "`domain` uses no I/O, threads, async runtime, logs or metrics",
        &impure_lines(&ModuleTree::of_source()),
        "let the caller do this and pass the result as an argument",
    );
}

#[test]
fn crates_are_used_by_their_owner_only() {
    assert_rule(
        &format!("only the owner may use a crate: {CRATE_OWNERS:?}"),
        &foreign_crate_lines(&ModuleTree::of_source()),
        "call a function of the owner, or add one there",
    );
}

#[test]
fn forbidden_import_is_found_by_every_form_of_path() {
    let table = parse_import_table(
        "//! | [`cli`] | commands | all of them |\n//! | [`http`] | routes | store, domain |\n\
         //! | [`mod@store`] | file | domain |\n//! | [`telemetry`] | logs | none |\n\
         //! | [`domain`] | rules | none |\n",
    );
    for form in [
        "use crate::http::X;",
        "use crate::{domain, http::{X, Y}};",
        "pub use super::http::X;",
        "fn f() { crate::http::f() }",
        "use super::http; fn f() {}",
    ] {
        let tree = ModuleTree::of_texts(&[("src/store.rs", form), ("src/cli.rs", form)]);
        assert_eq!(
            forbidden_imports(&tree, &table),
            ["src/store.rs:1 `store` uses `http`"],
            "{form}"
        );
    }
    let tree = ModuleTree::of_texts(&[
        (
            "src/store/a.rs",
            "use super::b::X; use crate::domain::X; use crate::telemetry::X;",
        ),
        ("src/domain.rs", "use crate::telemetry::X;"),
        ("src/new.rs", ""),
    ]);
    assert_eq!(
        forbidden_imports(&tree, &table),
        [
            "src/domain.rs:1 `domain` uses `telemetry`",
            "src/new.rs: `new` has no row in the table"
        ]
    );
}

#[test]
fn impure_paths_and_foreign_crates_are_found() {
    let text = "use std::{fmt, fs};\nuse tokio_rustls::X;\nfn f() { tracing::warn!(\"\") }";
    let tree = ModuleTree::of_texts(&[("src/domain.rs", text), ("src/net.rs", text)]);
    let impure = ["1 `std::fs`", "2 `tokio_rustls::X`", "3 `tracing::warn`"];
    assert_eq!(
        impure_lines(&tree),
        impure.map(|line| format!("src/domain.rs:{line}"))
    );
    assert_eq!(
        foreign_crate_lines(&tree),
        ["src/domain.rs:2 `tokio_rustls::X`"]
    );
}
