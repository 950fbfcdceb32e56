//! Reads `language` and `[flows.NAME.texts]`: the texts that customers see.
//!
//! See [`crate::domain::flow::customer_texts`] for the built-in texts and their use.

use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::suggest::suggestion;
use crate::domain::flow::customer_texts::{Language, Localization, TextKey, unknown_placeholders};

/// Maximum length of one text, in characters. The text must fit into a bar on the screen of a
/// phone.
const TEXT_CHARS_MAX: usize = 300;

/// Reads the language and the texts from the table of the flow.
pub fn read(flow: &TableReader<'_>) -> Localization {
    let texts = flow.named_entries("texts");
    Localization {
        language: flow.choice("language", Language::ALL).unwrap_or_default(),
        overrides: texts.iter().filter_map(read_text).collect(),
    }
}

fn read_text(item: &ValueReader<'_>) -> Option<(TextKey, String)> {
    let mut keys = TextKey::ALL.iter().copied();
    let Some(key) = keys.find(|key| key.as_str() == item.key) else {
        let names = TextKey::ALL.iter().map(|key| key.as_str());
        item.key_error(format!(
            "there is no text `{}`{}",
            item.key,
            suggestion(item.key, names)
        ));
        return None;
    };
    let wording = item.non_empty_text()?;
    if wording.chars().count() > TEXT_CHARS_MAX {
        item.error(format!("has more than {TEXT_CHARS_MAX} characters"));
    }
    for unknown in unknown_placeholders(key, wording) {
        let known = key.placeholders().iter().map(|name| format!("{{{name}}}"));
        let known = match known.collect::<Vec<_>>().as_slice() {
            [] => "none".to_owned(),
            known => known.join(", "),
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
    use crate::config::tests::{assert_errors, error_of, parse_flow};

    #[test]
    fn flow_has_language_and_text_overrides() {
        let flow =
            parse_flow("[flows.form]\nlanguage = \"de\"\ntexts = { missing = \"{field} fehlt.\" }");
        assert_eq!(flow.texts.language, Language::De);
        assert_eq!(flow.texts.text(TextKey::Missing), "{field} fehlt.");
        assert_eq!(parse_flow("[flows.form]").texts, Localization::default());
    }

    #[test]
    fn unknown_text_or_placeholder_is_refused() {
        assert_errors(
            "[flows.form]",
            r#"
            language = "xx"
            => 2:12: flows.form.language: "xx" is not a valid value: expected one of `en`, `de`, `es`, `fr`, `id`, `it`, `nl`, `pt`
            texts = { mising = "x" }
            => 2:11: there is no text `mising`: did you mean `missing`?
            texts = { missing = "{name}" }
            => 2:21: flows.form.texts.missing: {name} is not a placeholder of this text; available: {field}
            texts = { slot_taken = "{field}" }
            => 2:24: flows.form.texts.slot_taken: {field} is not a placeholder of this text; available: none
            texts = { missing = "" }
            => 2:21: flows.form.texts.missing: is empty
            texts = { missing = 3 }
            => 2:21: flows.form.texts.missing: must be a text in quotes, and is a whole number
            texts = "x"
            => 2:9: flows.form.texts: must be a table, and is a text
            "#,
        );
        let long = format!(
            "[flows.form]\ntexts = {{ missing = {:?} }}",
            "x".repeat(TEXT_CHARS_MAX + 1)
        );
        assert!(error_of(&long).contains("has more than 300 characters"));
    }
}
