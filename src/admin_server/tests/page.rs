//! Compares docs/admin-api.md with the table of routes.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::admin_server::routes::{API_ROOT, ROUTES};

const WRITE_VARIABLE: &str = "FLOWGATE_WRITE_DOCS";
const BEGIN: &str = "<!-- routes: begin -->\n";
const END: &str = "<!-- routes: end -->";

#[test]
fn page_lists_all_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/admin-api.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut table = "| method | path | request |\n|---|---|---|\n".to_owned();
    for route in ROUTES {
        let (method, name) = (route.method(), route.variant.replace('_', " "));
        writeln!(table, "| {method} | `{API_ROOT}{}` | {name} |", route.path).unwrap();
    }
    let expected = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        let command = format!("`{WRITE_VARIABLE}=1 cargo test --lib admin_server`");
        assert!(page == expected, "{command} writes docs/admin-api.md again");
    }
}
