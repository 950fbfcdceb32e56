//! Gates for the shape of a file: its head and its length.

use super::assert_rule;
use super::tokens::files_in;

/// Maximum length of a file of `src`.
const MAX_LINES: usize = 450;

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
