//! `language` and `[flows.NAME.texts]`: what customers are told.
//!
//! The wordings that are built in, and what is told when, are `crate::domain::texts`'.

use std::collections::BTreeMap;

use super::nearest::hint;
use super::raw::Table;
use super::value::Item;
use crate::domain::texts::{Language, TextKey, Texts, unknown_placeholders};

/// Characters of one text at the most: it stands on a bar of a phone's screen.
const CHARACTERS_MAX: usize = 300;

/// Reads both from the flow's table.
pub(super) fn read(flow: &Table<'_>) -> Texts {
    let language = flow.get("language").and_then(|item| {
        let names = Language::ALL.map(|(name, _)| name);
        let name = item.word(&names)?;
        Language::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, language)| language)
    });
    let own = flow.get("texts").and_then(|item| item.names(own));
    Texts { language: language.unwrap_or_default(), own: own.unwrap_or_default() }
}

fn own(table: &Table<'_>) -> BTreeMap<TextKey, String> {
    table.named().iter().filter_map(text).collect()
}

fn text(item: &Item<'_>) -> Option<(TextKey, String)> {
    let names = || TextKey::ALL.iter().map(|key| key.as_str());
    let Some(key) = TextKey::ALL.iter().copied().find(|key| key.as_str() == item.key) else {
        item.refuse_key(format!("there is no text `{}`{}", item.key, hint(item.key, names())));
        return None;
    };
    let wording = item.some_text()?;
    if wording.chars().count() > CHARACTERS_MAX {
        item.refuse(format!("has more than {CHARACTERS_MAX} characters"));
    }
    for unknown in unknown_placeholders(key, wording) {
        let known: Vec<String> = key.placeholders().iter().map(|name| format!("{{{name}}}")).collect();
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        item.refuse(format!("{{{unknown}}} is nothing that can be put in here: {known} is"));
    }
    Some((key, wording.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, refused};
    use super::*;

    #[test]
    fn a_flow_has_a_language_and_may_word_texts_itself() {
        let config = accepted("[flows.form]\nlanguage = \"de\"\ntexts = { missing = \"{field} fehlt.\" }");
        let texts = &config.flows.values().next().unwrap().texts;
        assert_eq!((texts.language, texts.get(TextKey::Missing)), (Language::De, "{field} fehlt."));
        assert_eq!(accepted("[flows.form]").flows.values().next().unwrap().texts, Texts::default());
    }

    #[test]
    fn a_text_that_is_not_known_or_puts_in_what_is_not_there_is_refused() {
        for (typed, why) in [
            ("language = \"xx\"", "\"xx\" is not known here: there are `en`, `de`"),
            ("texts = { mising = \"x\" }", "there is no text `mising`: did you mean `missing`?"),
            ("texts = { missing = \"{name}\" }", "{name} is nothing that can be put in here: {field} is"),
            ("texts = { slot_taken = \"{field}\" }", "{field} is nothing that can be put in here: nothing is"),
            ("texts = { missing = \"\" }", "flows.form.texts.missing: is empty"),
            ("texts = { missing = 3 }", "must be a text"),
            ("texts = \"x\"", "must be a table"),
        ] {
            let said = refused(&format!("[flows.form]\n{typed}"));
            assert!(said.contains(why), "{typed}: {said}");
        }
        let long = format!("[flows.form]\ntexts = {{ missing = {:?} }}", "x".repeat(CHARACTERS_MAX + 1));
        assert!(refused(&long).contains("has more than 300 characters"));
    }
}
