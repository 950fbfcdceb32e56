//! Reads the Markdown files of the repository: fenced blocks, code spans, links and headings.

use std::fs;
use std::path::{Path, PathBuf};

/// Markdown file.
pub struct Page {
    /// Path below the repository.
    pub path: PathBuf,
    pub text: String,
}

/// Line of a page, with its place.
pub struct Line<'a> {
    pub number: usize,
    pub text: &'a str,
    /// Language of the fenced block around the line. `None` outside of blocks.
    pub language: Option<&'a str>,
}

/// Returns the root folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all Markdown files in `docs`, without `SUMMARY.md`.
pub fn book_pages() -> Vec<Page> {
    let mut pages = Vec::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some("md".as_ref()) && name != "SUMMARY.md" {
                pages.push(Page::read(path.strip_prefix(root()).unwrap()));
            }
        }
    }
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    pages
}

/// Returns the pages of the book and the other documents with commands.
pub fn all_pages() -> Vec<Page> {
    let others = ["README.md", "CONTRIBUTING.md", "examples/clinic/README.md"];
    let mut pages: Vec<Page> = others.map(|path| Page::read(Path::new(path))).into();
    pages.extend(book_pages());
    pages
}

impl Page {
    pub fn read(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            text: fs::read_to_string(root().join(path)).unwrap(),
        }
    }

    /// Returns all lines except the fences of blocks.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut language = None;
        let mut lines = Vec::new();
        for (number, text) in (1..).zip(self.text.lines()) {
            match text.trim_start().strip_prefix("```") {
                Some(_) if language.is_some() => language = None,
                Some(opened) => language = Some(opened.trim()),
                None => lines.push(Line {
                    number,
                    text,
                    language,
                }),
            }
        }
        lines
    }

    /// Returns the content of all code spans outside of blocks, with their lines.
    pub fn code_spans(&self) -> Vec<(usize, String)> {
        let mut spans = Vec::new();
        for paragraph in self.prose() {
            let parts = paragraph.text.split('`');
            let inside = parts.enumerate().filter(|(index, _)| index % 2 == 1);
            spans.extend(inside.map(|(_, span)| (paragraph.number, span.replace('\n', " "))));
        }
        spans
    }

    /// Returns the targets of all links outside of blocks, with their lines.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for paragraph in self.prose() {
            let without_code: String = paragraph.text.split('`').step_by(2).collect();
            for part in without_code.split("](").skip(1) {
                let target = part.split([')', ' ']).next().unwrap();
                links.push((paragraph.number, target.to_owned()));
            }
        }
        links
    }

    /// Returns the anchors of all headings, as GitHub and mdBook build them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.lines();
        let headings = headings
            .iter()
            .filter(|line| line.language.is_none() && line.text.starts_with('#'));
        headings
            .map(|line| anchor(line.text.trim_start_matches('#')))
            .collect()
    }

    /// Returns the paragraphs outside of blocks. A code span does not cross their borders.
    fn prose(&self) -> Vec<Paragraph> {
        let mut paragraphs: Vec<Paragraph> = Vec::new();
        let mut is_open = false;
        for line in self.lines() {
            if line.language.is_some() || line.text.trim().is_empty() {
                is_open = false;
                continue;
            }
            match paragraphs.last_mut().filter(|_| is_open) {
                Some(last) if !line.text.starts_with('|') => {
                    last.text.push('\n');
                    last.text.push_str(line.text.trim());
                }
                _ => paragraphs.push(Paragraph {
                    number: line.number,
                    text: line.text.to_owned(),
                }),
            }
            is_open = true;
        }
        paragraphs
    }
}

struct Paragraph {
    number: usize,
    text: String,
}

fn anchor(heading: &str) -> String {
    let letters = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    letters.collect()
}

#[test]
fn markdown_is_read() {
    let page = Page {
        path: PathBuf::from("a.md"),
        text: "# The `a` key: 1\nSee [b](b.md#c) and `flowgate\nstatus`, not `[x](y)`.\n\n\
               ```sh\nflowgate jobs # `x`\n```\n| `one` | [two](2.md) |\n"
            .to_owned(),
    };
    let spans: Vec<String> = page.code_spans().into_iter().map(|span| span.1).collect();
    assert_eq!(spans, ["a", "flowgate status", "[x](y)", "one"]);
    let links: Vec<String> = page.links().into_iter().map(|link| link.1).collect();
    assert_eq!(links, ["b.md#c", "2.md"]);
    assert_eq!(page.anchors(), ["the-a-key-1"]);
    let languages: Vec<_> = page
        .lines()
        .iter()
        .filter_map(|line| line.language)
        .collect();
    assert_eq!(languages, ["sh"]);
}
