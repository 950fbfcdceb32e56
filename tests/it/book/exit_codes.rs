//! The page about exit codes has the table of the code.

use super::pages::root;

#[test]
fn page_has_the_codes_of_the_program() {
    let code = std::fs::read_to_string(root().join("src/cli/exit_code.rs")).unwrap();
    let page = std::fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let rows = code
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|row| row.starts_with(char::is_numeric));
    let rows: Vec<&str> = rows.map(|row| row.trim_end_matches(" |")).collect();
    assert!(rows.len() >= 7, "{rows:?}");
    for row in rows {
        assert!(
            page.contains(&format!("| {row} |")),
            "| {row} | in docs/exit-codes.md"
        );
    }
}
