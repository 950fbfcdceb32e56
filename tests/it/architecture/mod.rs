//! Gates for the structure of the source. A failure names the rule, the places that break it and
//! the remedy.
//!
//! | file | rule |
//! |---|---|
//! | `imports` | modules import only what their layer permits |
//! | `import_rings` | no import rings between files |
//! | `names` | no banned words in identifiers, no two public types with one name |
//! | `shape` | each file has a head, a limited length and lines of a limited width |
//!
//! `tokens`, `paths` and `module_tree` read the source. Other gates are lints: see `Cargo.toml` and
//! `clippy.toml`.

mod import_rings;
mod imports;
mod module_tree;
mod names;
mod paths;
mod shape;
mod tokens;

/// Panics if the source breaks a rule. `places` are the lines or files that break it.
fn assert_rule(rule: &str, places: &[String], remedy: &str) {
    assert!(
        places.is_empty(),
        "\nrule: {rule}\nbroken here:\n  {}\nremedy: {remedy}\n",
        places.join("\n  ")
    );
}
