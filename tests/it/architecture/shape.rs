//! Gates for the shape of a file: its head, its length and the width of its lines.

use std::collections::BTreeSet;

use super::assert_rule;
use super::tokens::{SourceFile, files_in};

/// Maximum length of a file of `src`.
const MAX_LINES: usize = 450;

/// Maximum width of a line, as rustfmt formats it.
const MAX_COLUMNS: usize = 100;

#[test]
fn every_file_starts_with_module_docs() {
    let without_head: Vec<String> = files_in(&["src", "tests", "benches"])
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path.clone())
        .collect();
    assert_rule(
        "each file starts with a `//!` head",
        &without_head,
        "write one sentence about the purpose of the file, and what it leaves to others",
    );
}

#[test]
fn files_of_src_are_short() {
    let long_files: Vec<String> = files_in(&["src"])
        .map(|file| (&file.path, file.text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path} has {lines} lines"))
        .collect();
    assert_rule(
        &format!("a file of src has at most {MAX_LINES} lines"),
        &long_files,
        "split the file by topic. Each part gets a name and a head. If the tests are long, move \
         them to a folder `tests` of the module",
    );
}

/// Returns the lines that are too wide. rustfmt can't break a text, a URL or a row of a table.
fn wide_lines(file: &SourceFile) -> Vec<String> {
    let literals = file.tokens.iter().filter(|token| token.text.contains('"'));
    let with_literal: BTreeSet<usize> = literals
        .flat_map(|token| token.line..=token.line + token.text.matches('\n').count())
        .collect();
    let lines = (1..).zip(file.text.lines());
    lines
        .filter(|(_, line)| line.chars().count() > MAX_COLUMNS)
        .filter(|(_, line)| !line.contains("://") && !line.starts_with("//! |"))
        .filter(|(number, _)| !with_literal.contains(number))
        .map(|(number, line)| format!("{}:{number} `{}`", file.path, line.trim()))
        .collect()
}

#[test]
fn lines_without_text_fit_the_width_of_rustfmt() {
    let wide: Vec<String> = files_in(&["src", "tests"]).flat_map(wide_lines).collect();
    assert_rule(
        &format!("a line has at most {MAX_COLUMNS} columns, except texts, URLs and rows of tables"),
        &wide,
        "break the line. rustfmt leaves a statement alone if a text in it is too long: break the \
         text with `\\` at the end of its lines. It also leaves the arguments of macros alone",
    );
}

#[test]
fn only_wide_lines_without_text_are_found() {
    let wide = "wide_".repeat(25);
    let lines = [
        format!("fn {wide}() {{}}"),
        format!("// {wide}"),
        format!("// https://{wide}"),
        format!("const A: &str = \"{wide}\";"),
        format!("const B: &str = \"\n{wide}\n{wide}\";"),
        format!("const C: &str = {wide};"),
    ];
    let file = SourceFile::new("src/a.rs", &lines.join("\n"));
    let found = wide_lines(&file);
    let numbers: Vec<&str> = found
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(numbers, ["src/a.rs:1", "src/a.rs:2", "src/a.rs:8"]);
}
