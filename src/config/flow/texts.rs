//! Reads `language` and `[flows.NAME.texts]`: the texts that customers see.
//!
//! See [`crate::domain::flow::customer_texts`] for the built-in texts and their use.

use std::collections::BTreeMap;

use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::suggest::suggestion;
use crate::domain::flow::customer_texts::{Language, Localization, TextKey, unknown_placeholders};

/// Maximum length of one text, in characters. The text must fit into a bar on the screen of a
/// phone.
const TEXT_CHARS_MAX: usize = 300;

/// Reads the language and the texts from the table of the flow.
pub(in crate::config) fn read(flow: &TableReader<'_>) -> Localization {
    let language = flow.get("language").and_then(|item| {
        let names = Language::ALL.map(|(name, _)| name);
        let name = item.one_of(&names)?;
        Language::ALL
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, language)| language)
    });
    let overrides = flow
        .get("texts")
        .and_then(|item| item.read_named_table(read_overrides));
    Localization {
        language: language.unwrap_or_default(),
        overrides: overrides.unwrap_or_default(),
    }
}

fn read_overrides(table: &TableReader<'_>) -> BTreeMap<TextKey, String> {
    table.entries().iter().filter_map(read_text).collect()
}

fn read_text(item: &ValueReader<'_>) -> Option<(TextKey, String)> {
    let names = || TextKey::ALL.iter().map(|key| key.as_str());
    let Some(key) = TextKey::ALL
        .iter()
        .copied()
        .find(|key| key.as_str() == item.key)
    else {
        item.key_error(format!(
            "there is no text `{}`{}",
            item.key,
            suggestion(item.key, names())
        ));
        return None;
    };
    let wording = item.non_empty_text()?;
    if wording.chars().count() > TEXT_CHARS_MAX {
        item.error(format!("has more than {TEXT_CHARS_MAX} characters"));
    }
    for unknown in unknown_placeholders(key, wording) {
        let known: Vec<String> = key
            .placeholders()
            .iter()
            .map(|name| format!("{{{name}}}"))
            .collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        item.error(format!(
            "{{{unknown}}} is not a placeholder of this text; available: {known}"
        ));
    }
    Some((key, wording.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{error_of, parse_valid};

    #[test]
    fn flow_has_language_and_text_overrides() {
        let config = parse_valid(
            "[flows.form]\nlanguage = \"de\"\ntexts = { missing = \"{field} fehlt.\" }",
        );
        let texts = &config.flows.values().next().unwrap().texts;
        assert_eq!(
            (texts.language, texts.text(TextKey::Missing)),
            (Language::De, "{field} fehlt.")
        );
        assert_eq!(
            parse_valid("[flows.form]")
                .flows
                .values()
                .next()
                .unwrap()
                .texts,
            Localization::default()
        );
    }

    #[test]
    fn unknown_text_or_placeholder_is_refused() {
        for (typed, why) in [
            (
                "language = \"xx\"",
                "\"xx\" is not a valid value: expected one of `en`, `de`",
            ),
            (
                "texts = { mising = \"x\" }",
                "there is no text `mising`: did you mean `missing`?",
            ),
            (
                "texts = { missing = \"{name}\" }",
                "{name} is not a placeholder of this text; available: {field}",
            ),
            (
                "texts = { slot_taken = \"{field}\" }",
                "{field} is not a placeholder of this text; available: none",
            ),
            (
                "texts = { missing = \"\" }",
                "flows.form.texts.missing: is empty",
            ),
            ("texts = { missing = 3 }", "must be a text"),
            ("texts = \"x\"", "must be a table"),
        ] {
            let error = error_of(&format!("[flows.form]\n{typed}"));
            assert!(error.contains(why), "{typed}: {error}");
        }
        let long = format!(
            "[flows.form]\ntexts = {{ missing = {:?} }}",
            "x".repeat(TEXT_CHARS_MAX + 1)
        );
        assert!(error_of(&long).contains("has more than 300 characters"));
    }
}
