//! Each page of the book is in its table of contents, and each link and anchor exists.

use std::path::{Component, Path, PathBuf};

use super::pages::{Page, all_pages, book_pages, root};

/// Returns `path` without its `..` parts.
fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

/// Returns the reason why a link of `page` is wrong.
fn find_fault(page: &Page, target: &str) -> Option<String> {
    if target.starts_with("http://") || target.starts_with("https://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        page.path.clone()
    } else {
        normalize(&page.path.with_file_name("").join(file))
    };
    if !root().join(&path).exists() {
        return Some(format!("{} does not exist", path.display()));
    }
    // mdBook copies only the files in `docs`.
    if page.path.starts_with("docs") && !path.starts_with("docs") {
        return Some(format!("{} is outside of the book", path.display()));
    }
    let is_known = anchor.is_empty() || Page::read(&path).anchors().iter().any(|it| it == anchor);
    (!is_known).then(|| format!("{} has no heading #{anchor}", path.display()))
}

#[test]
fn each_link_leads_somewhere() {
    let summary = Page::read(Path::new("docs/SUMMARY.md"));
    let mut faults = Vec::new();
    for page in all_pages().iter().chain([&summary]) {
        for (line, target) in page.links() {
            if let Some(fault) = find_fault(page, &target) {
                faults.push(format!("{}:{line}: {target}: {fault}", page.path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "broken links:\n{}", faults.join("\n"));
}

#[test]
fn each_page_is_in_the_summary() {
    let summary = Page::read(Path::new("docs/SUMMARY.md"));
    let listed: Vec<PathBuf> = summary
        .links()
        .iter()
        .map(|(_, target)| Path::new("docs").join(target))
        .collect();
    for page in book_pages() {
        let count = listed.iter().filter(|path| **path == page.path).count();
        assert_eq!(count, 1, "links to {} in SUMMARY.md", page.path.display());
    }
}

#[test]
fn broken_links_are_found() {
    let page = Page::read(Path::new("docs/flows.md"));
    let fault = |target| find_fault(&page, target).unwrap_or_default();
    assert_eq!(fault("upstream.md"), "");
    assert_eq!(fault("nowhere.md"), "docs/nowhere.md does not exist");
    assert_eq!(fault("../README.md"), "README.md is outside of the book");
    assert_eq!(
        fault("glossary.md#nothing"),
        "docs/glossary.md has no heading #nothing"
    );
}
