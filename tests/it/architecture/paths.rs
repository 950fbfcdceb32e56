//! Finds the paths in the tokens of a file: those that `use` imports, and those in the code. See
//! `module_tree` for the files to which they lead.

use super::tokens::{SourceFile, Token};

/// A path in the code, or an imported one.
pub struct UsedPath {
    pub segments: Vec<String>,
    pub line: usize,
    /// Name that `use` gives to the path. `None` for a path in the code.
    pub name: Option<String>,
    /// `true` for `pub use`, with any restriction.
    pub is_reexport: bool,
}

/// Returns all imported paths, and those of at least two segments in the code.
pub fn find_paths(code: &[Token]) -> Vec<UsedPath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        // `impl Trait + use<'a>` imports nothing.
        if text_at(code, at) == "use" && text_at(code, at + 1) != "<" {
            let rest = &code[at + 1..];
            let end = rest.iter().position(|token| token.text == ";").unwrap();
            let is_reexport = at > 0 && ["pub", ")"].contains(&text_at(code, at - 1));
            push_use_tree(&rest[..end], &[], is_reexport, &mut found);
            at += end + 1;
        } else if code[at].is_word() {
            let line = code[at].line;
            let mut segments = vec![code[at].text.clone()];
            while text_at(code, at + 1) == "::" && code.get(at + 2).is_some_and(Token::is_word) {
                segments.push(code[at + 2].text.clone());
                at += 2;
            }
            if segments.len() > 1 {
                found.push(UsedPath {
                    segments,
                    line,
                    name: None,
                    is_reexport: false,
                });
            }
        }
        at += 1;
    }
    found
}

fn text_at(code: &[Token], at: usize) -> &str {
    code.get(at).map_or("", |token| &token.text)
}

/// Adds the paths of `a::b`, `a::{b, c::{self, d}}`, `a as b` or `a::*` behind `prefix`.
fn push_use_tree(tree: &[Token], prefix: &[String], is_reexport: bool, found: &mut Vec<UsedPath>) {
    let Some(first) = tree.first() else {
        return;
    };
    let mut segments = prefix.to_vec();
    let mut name = None;
    for (at, token) in tree.iter().enumerate() {
        match &*token.text {
            "{" => {
                for branch in split_at_commas(&tree[at + 1..tree.len() - 1]) {
                    push_use_tree(branch, &segments, is_reexport, found);
                }
                return;
            }
            "as" => {
                name = Some(tree[at + 1].text.clone());
                break;
            }
            "::" | "$" => {}
            segment => segments.push(segment.to_owned()),
        }
    }
    segments.pop_if(|last| last == "self" && !prefix.is_empty());
    found.push(UsedPath {
        name: name.or(segments.last().cloned()),
        segments,
        line: first.line,
        is_reexport,
    });
}

/// Splits at the commas outside of braces.
fn split_at_commas(tokens: &[Token]) -> impl Iterator<Item = &[Token]> {
    let mut depth = 0_u32;
    tokens.split(move |token| {
        match &*token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && token.text == ","
    })
}

/// Returns each path of a text: `pub a::b as c` if it is imported, else `a::b`.
fn path_texts(text: &str) -> Vec<String> {
    let found = find_paths(&SourceFile::new("src/a.rs", text).code());
    let texts = found.iter().map(|path| {
        let visibility = if path.is_reexport { "pub " } else { "" };
        let name = path.name.as_ref().map(|name| format!(" as {name}"));
        let segments = path.segments.join("::");
        format!("{visibility}{segments}{}", name.unwrap_or_default())
    });
    texts.collect()
}

#[test]
fn use_trees_are_expanded() {
    assert_eq!(
        path_texts("use crate::{a::{self, B}, c::D as E, f::*}; pub(in crate::a) use super::G;"),
        [
            "crate::a as a",
            "crate::a::B as B",
            "crate::c::D as E",
            "crate::f::* as *",
            "crate::a",
            "pub super::G as G",
        ]
    );
}

#[test]
fn paths_in_code_are_found() {
    let code = "fn f(a: &crate::b::C) -> impl D + use<'_> { <E as super::F>::g(h::<i::J>()) }";
    assert_eq!(path_texts(code), ["crate::b::C", "super::F", "i::J"]);
    let in_macro = "macro_rules! k { () => { $crate::l::m() } }";
    assert_eq!(path_texts(in_macro), ["crate::l::m"]);
    let no_paths = "// crate::a::b\nfn f() { \"crate::a::b\" }";
    assert_eq!(path_texts(no_paths), [""; 0]);
}

#[test]
fn path_has_its_line() {
    let code = SourceFile::new("src/a.rs", "use a::{\n    b,\n    c,\n};").code();
    let lines: Vec<usize> = find_paths(&code).iter().map(|path| path.line).collect();
    assert_eq!(lines, [2, 3]);
}
