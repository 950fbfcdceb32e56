//! Gates for names: no identifier contains a banned word, and no two public types share a name.

use std::collections::BTreeMap;

use super::assert_rule;
use super::tokens::{SourceFile, Token, files_in};

/// Words that name no idea of the glossary.
const BANNED_WORDS: [&str; 24] = [
    "told",
    "tell",
    "tells",
    "said",
    "say",
    "says",
    "wish",
    "wishes",
    "desk",
    "shelf",
    "vigil",
    "whoever",
    "misfit",
    "standstill",
    "lanes",
    "lane",
    "courier",
    "keeper",
    "nouns",
    "noun",
    "flaw",
    "kept",
    "joins",
    "sweeper",
];

/// Splits `DeadLetterRow`, `dead_letter_row` and `DEAD_LETTER_ROW` into dead, letter, row.
fn split_identifier(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_uppercase = true;
    for character in identifier.chars() {
        if character == '_' || character.is_uppercase() && !after_uppercase {
            words.push(String::new());
        }
        after_uppercase = character.is_uppercase();
        if character != '_' {
            words.last_mut().unwrap().extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn lines_with_banned_word<'a>(files: impl IntoIterator<Item = &'a SourceFile>) -> Vec<String> {
    let mut places = Vec::new();
    for file in files {
        for token in file.tokens.iter().filter(|token| token.is_word()) {
            let words = split_identifier(&token.text);
            if words.iter().any(|word| BANNED_WORDS.contains(&&**word)) {
                places.push(format!("{}:{} `{}`", file.path, token.line, token.text));
            }
        }
    }
    places
}

/// Returns the public types that a text defines.
fn public_types(code: &[Token]) -> Vec<&Token> {
    let texts: Vec<&str> = code.iter().map(|token| &*token.text).collect();
    let mut types = Vec::new();
    // Macros that define a public type. The type's name is their first capitalised argument.
    let mut macros = Vec::new();
    let mut open_macro = "";
    for (at, window) in texts.windows(3).enumerate() {
        match *window {
            ["macro_rules", "!", name] => open_macro = name,
            ["pub", "struct" | "enum" | "trait" | "type", "$"] => macros.push(open_macro),
            ["pub", "struct" | "enum" | "trait" | "type", _] => types.push(&code[at + 2]),
            [name, "!", "(" | "{"] if macros.contains(&name) => {
                let mut arguments = code[at + 3..].iter();
                types.extend(arguments.find(|token| token.text.starts_with(char::is_uppercase)));
            }
            _ => {}
        }
    }
    types
}

fn lines_with_repeated_type<'a>(files: impl IntoIterator<Item = &'a SourceFile>) -> Vec<String> {
    let mut lines = BTreeMap::<String, Vec<String>>::new();
    for file in files {
        for name in public_types(&file.code()) {
            let line = format!("{}:{}", file.path, name.line);
            lines.entry(name.text.clone()).or_default().push(line);
        }
    }
    lines.retain(|_, lines| lines.len() > 1);
    let places = lines.iter();
    places
        .map(|(name, lines)| format!("`{name}`: {}", lines.join(", ")))
        .collect()
}

#[test]
fn identifiers_have_no_banned_words() {
    assert_rule(
        "no identifier contains a banned word",
        &lines_with_banned_word(files_in(&["src", "tests", "benches"])),
        "use the term of docs/glossary.md",
    );
}

#[test]
fn no_two_public_types_share_a_name() {
    assert_rule(
        "no two public types have the same name",
        &lines_with_repeated_type(files_in(&["src"])),
        "name each type by what distinguishes it",
    );
}

#[test]
fn identifiers_are_split_into_words() {
    for identifier in [
        "DeadLetterRow",
        "dead_letter_row",
        "DEAD_LETTER_ROW",
        "_deadLetterRow",
    ] {
        assert_eq!(split_identifier(identifier), ["dead", "letter", "row"]);
    }
}

#[test]
fn banned_words_are_found_in_identifiers_only() {
    let text = "fn f() { r#\"a \" b\"#; }\n#[cfg(test)] mod tests { struct ToldTime; }\n\
                macro_rules! m { () => { is_kept } } // told\nconst A: &str = \"told\";";
    assert_eq!(
        lines_with_banned_word(&[SourceFile::new("src/a.rs", text)]),
        ["src/a.rs:2 `ToldTime`", "src/a.rs:3 `is_kept`"]
    );
}

#[test]
fn repeated_types_are_found_behind_tests_and_in_macros() {
    let id = "macro_rules! id { ($n:ident) => { pub struct $n; } } id!(/** A job. */ JobId);";
    let files = [
        SourceFile::new("src/a.rs", id),
        SourceFile::new("src/b.rs", "#[cfg(test)] mod tests;\npub enum JobId {}"),
        SourceFile::new(
            "src/c.rs",
            "pub(crate) enum JobId {} fn f() { other!(JobId) }",
        ),
    ];
    assert_eq!(
        lines_with_repeated_type(&files),
        ["`JobId`: src/a.rs:1, src/b.rs:2"]
    );
}
