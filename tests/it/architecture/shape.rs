//! Gate for the head of each file.

use super::assert_rule;
use super::tokens::files_in;

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
