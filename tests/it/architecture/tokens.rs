//! Reads Rust files as tokens, without comments and doc comments. See `paths` for their meaning.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// Token of a source text. `::` is one token, and so is a whole literal.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

impl Token {
    /// Returns `true` for identifiers and keywords.
    pub fn is_word(&self) -> bool {
        let mut characters = self.text.chars();
        characters
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_')
            && characters.all(|c| c.is_alphanumeric() || c == '_')
    }
}

/// A Rust file of the repository.
pub struct SourceFile {
    /// Path in the repository, like `src/store/mod.rs`.
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
}

impl SourceFile {
    pub fn new(path: &str, text: &str) -> Self {
        let stream: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
        let mut tokens = Vec::new();
        push_tokens(stream, &mut tokens);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens,
        }
    }

    /// Returns `true` for a file that has only tests and their helpers.
    pub fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| part == "tests" || part == "tests.rs")
    }

    /// Returns the tokens of the program itself, without tests.
    pub fn code(&self) -> Vec<Token> {
        if self.is_test() {
            Vec::new()
        } else {
            without_test_items(&self.tokens)
        }
    }
}

/// All files of `src`, `tests` and `benches`, in the order of their paths.
static FILES: LazyLock<Vec<SourceFile>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        read_folder(root, &root.join(folder), &mut files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
});

/// Returns the files of these top-level folders.
pub fn files_in(folders: &[&str]) -> impl Iterator<Item = &'static SourceFile> {
    FILES.iter().filter(move |file| {
        let (folder, _) = file.path.split_once('/').unwrap();
        folders.contains(&folder)
    })
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            files.push(SourceFile::new(name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Adds the tokens of a stream. Groups are written out with their brackets.
fn push_tokens(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut after_joint_colon = false;
    for tree in stream {
        let line = tree.span().start().line;
        let mut is_joint_colon = false;
        match tree {
            TokenTree::Group(group) => {
                if is_doc_comment(&group) {
                    // Its `#` or `#!` precedes the group.
                    while tokens.pop_if(|last| "#!".contains(&*last.text)).is_some() {}
                    continue;
                }
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace | Delimiter::None => ("{", "}"),
                };
                push_token(open, line, tokens);
                let end = group.span_close().start().line;
                push_tokens(group.stream(), tokens);
                push_token(close, end, tokens);
            }
            TokenTree::Punct(mark) if after_joint_colon && mark.as_char() == ':' => {
                tokens.last_mut().unwrap().text.push(':');
            }
            TokenTree::Punct(mark) => {
                is_joint_colon = mark.as_char() == ':' && mark.spacing() == Spacing::Joint;
                push_token(&mark.to_string(), line, tokens);
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                push_token(&tree.to_string(), line, tokens);
            }
        }
        after_joint_colon = is_joint_colon;
    }
}

/// Returns `true` for the brackets of `#[doc = "…"]`, which is how a parser sees a doc comment.
fn is_doc_comment(group: &Group) -> bool {
    let mut inner = group.stream().into_iter();
    group.delimiter() == Delimiter::Bracket
        && matches!(inner.next(), Some(TokenTree::Ident(word)) if word == "doc")
        && matches!(inner.next(), Some(TokenTree::Punct(mark)) if mark.as_char() == '=')
}

fn push_token(text: &str, line: usize, tokens: &mut Vec<Token>) {
    tokens.push(Token {
        text: text.to_owned(),
        line,
    });
}

fn without_test_items(tokens: &[Token]) -> Vec<Token> {
    const TEST_ONLY: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut code = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        let start = rest.iter().take(TEST_ONLY.len());
        if start.map(|token| &*token.text).eq(TEST_ONLY) {
            rest = skip_item(&rest[TEST_ONLY.len()..]);
        } else {
            code.push(first.clone());
            rest = after;
        }
    }
    code
}

/// Skips an item, a statement or a field: up to its `;`, its `,` or the end of its body.
fn skip_item(tokens: &[Token]) -> &[Token] {
    let mut depth = 0_u32;
    for (at, token) in tokens.iter().enumerate() {
        match &*token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return &tokens[at..],
            "}" if depth == 1 => return &tokens[at + 1..],
            ")" | "]" | "}" => depth -= 1,
            ";" | "," if depth == 0 => return &tokens[at + 1..],
            _ => {}
        }
    }
    &[]
}

/// Returns the words of a text without its test items, in one line.
fn code_words(text: &str) -> String {
    let code = SourceFile::new("src/a.rs", text).code();
    let words = code.iter().filter(|token| token.is_word());
    words.map(|word| &*word.text).collect::<Vec<_>>().join(" ")
}

#[test]
fn comments_and_literals_are_no_words() {
    let text =
        "//! head\n/// doc\nfn f() { \"text\"; r#\"a \" b\"#; b'\"'; /* note */ g() } // end";
    assert_eq!(code_words(text), "fn f g");
    assert_eq!(code_words("fn f() { vec![doc, a] }"), "fn f vec doc a");
}

#[test]
fn test_items_are_left_out_and_code_behind_them_is_not() {
    let text = "#[cfg(test)] mod tests; fn a() {} #[cfg(test)] pub(crate) mod b { fn c() {} } \
                struct D { #[cfg(test)] e: F<G>, h: I } #[cfg(test)] use j::{k, l}; use m;";
    assert_eq!(code_words(text), "fn a struct D h I use m");
    assert!(
        SourceFile::new("src/a/tests/b.rs", "fn f() {}")
            .code()
            .is_empty()
    );
}
