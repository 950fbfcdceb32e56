//! Provides the texts that customers read on their screens when a value or a slot is refused, in
//! the language of the flow.
//!
//! The config may replace the text of each key. Placeholders in braces are filled. Texts for
//! programs (plain flows, logs) are in English and belong to the error types. See
//! `languages` for the built-in texts.

mod keys;
mod languages;

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::field_error::{FieldError, ValidationError};
use crate::domain::booking::slot::SlotRefused;

pub use keys::{Language, TextKey};

/// Texts of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Localization {
    /// Language of the texts that the config does not replace.
    pub language: Language,
    /// Texts from the config, by key.
    pub overrides: BTreeMap<TextKey, String>,
}

impl Localization {
    /// Returns the text for `key`. Placeholders are not filled.
    #[must_use]
    pub fn text(&self, key: TextKey) -> &str {
        let built_in = || languages::built_in_text(self.language, key);
        self.overrides
            .get(&key)
            .map_or_else(built_in, String::as_str)
    }

    /// Returns the text for an error of a field. `label` is the field's label.
    #[must_use]
    pub fn error_text(&self, label: &str, problem: &FieldError) -> String {
        let (key, value) = match &problem.error {
            ValidationError::Missing => (TextKey::Missing, String::new()),
            ValidationError::NotText
            | ValidationError::NotBoolean
            | ValidationError::PatternMismatch => (TextKey::Invalid, String::new()),
            ValidationError::TooShort(min) => (TextKey::TooShort, min.to_string()),
            ValidationError::TooLong(max) => (TextKey::TooLong, max.to_string()),
            ValidationError::NotEmail => (TextKey::Email, String::new()),
            ValidationError::NotPhone => (TextKey::Phone, String::new()),
            ValidationError::NotNumber => (TextKey::Number, String::new()),
            ValidationError::NotInteger => (TextKey::Integer, String::new()),
            ValidationError::TooSmall(min) => (TextKey::TooSmall, min.clone()),
            ValidationError::TooLarge(max) => (TextKey::TooLarge, max.clone()),
            ValidationError::NotDate => (TextKey::Date, String::new()),
            ValidationError::NotTime => (TextKey::Time, String::new()),
            ValidationError::NotChoice(choices) => (TextKey::Choice, choices.clone()),
        };
        let value_of = |name: &str| match name {
            "field" => Some(label),
            "min" | "max" | "choices" => Some(value.as_str()),
            _ => None,
        };
        fill_placeholders(self.text(key), value_of)
    }

    /// Returns the text for a refused slot.
    #[must_use]
    pub fn slot_refusal_text(&self, why: SlotRefused) -> &str {
        self.text(match why {
            SlotRefused::Full => TextKey::SlotTaken,
            SlotRefused::Past => TextKey::SlotPast,
            SlotRefused::TooSoon => TextKey::SlotTooSoon,
            SlotRefused::TooFar => TextKey::SlotTooFar,
            SlotRefused::Closed | SlotRefused::NotASlot => TextKey::SlotClosed,
        })
    }

    /// Formats a date for people, such as `Mon 4 Jan`.
    #[must_use]
    pub fn format_day(&self, date: Date) -> String {
        let weekday = languages::weekday(self.language, date.weekday());
        let month = languages::month(self.language, date.month());
        format!("{weekday} {} {month}", date.day())
    }
}

/// Fills the placeholders of `template`. Inserted values are not searched for placeholders.
fn fill_placeholders<'a>(template: &str, fill: impl Fn(&str) -> Option<&'a str>) -> String {
    let (mut text, mut remaining) = (String::with_capacity(template.len()), template);
    while let Some((before, behind)) = remaining.split_once('{') {
        text.push_str(before);
        let placeholder = behind.split_once('}');
        let filled = placeholder.and_then(|(name, after)| Some((fill(name)?, after)));
        let (value, after) = filled.unwrap_or(("{", behind));
        text.push_str(value);
        remaining = after;
    }
    text.push_str(remaining);
    text
}

/// Returns the placeholders of `wording` that its key does not allow.
pub fn unknown_placeholders(key: TextKey, wording: &str) -> impl Iterator<Item = &str> {
    let parts = wording.split('{').skip(1);
    let names = parts.filter_map(|part| Some(part.split_once('}')?.0));
    names.filter(move |name| !key.placeholders().contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localization(language: Language) -> Localization {
        Localization {
            language,
            ..Localization::default()
        }
    }

    fn error_text(texts: &Localization, label: &str, error: ValidationError) -> String {
        let field = "user_email".to_owned();
        texts.error_text(label, &FieldError { field, error })
    }

    #[test]
    fn error_text_uses_flow_language_and_label() {
        let texts = localization(Language::De);
        let missing = error_text(&texts, "E-Mail", ValidationError::Missing);
        assert_eq!(missing, "Bitte ausfüllen: E-Mail.");
        let short = error_text(&texts, "Name", ValidationError::TooShort(3));
        assert_eq!(short, "Name: mindestens 3 Zeichen.");
        assert_eq!(
            texts.slot_refusal_text(SlotRefused::Full),
            "Dieser Termin wurde gerade vergeben. Bitte wählen Sie einen anderen."
        );
    }

    #[test]
    fn override_wins_and_values_are_not_expanded() {
        let overrides = BTreeMap::from([(TextKey::Missing, "{field}? {x} {".to_owned())]);
        let texts = Localization {
            overrides,
            ..localization(Language::En)
        };
        let missing = error_text(&texts, "{field}", ValidationError::Missing);
        assert_eq!(missing, "{field}? {x} {");
        let invalid = error_text(&texts, "{field}", ValidationError::NotEmail);
        assert_eq!(invalid, "{field}: please enter a valid e-mail address.");
        let mut unknown = unknown_placeholders(TextKey::Missing, "{field} {x} {");
        assert_eq!((unknown.next(), unknown.next()), (Some("x"), None));
    }

    #[test]
    fn every_language_has_every_text() {
        for (name, language) in Language::ALL {
            for key in TextKey::ALL {
                let text = languages::built_in_text(language, *key);
                let what = format!("{name} {}: {text}", key.as_str());
                assert!(text.ends_with(['.', '}']), "{what}");
                assert_eq!(unknown_placeholders(*key, text).count(), 0, "{what}");
                let is_line = matches!(key, TextKey::NothingFree | TextKey::NoAgentFree);
                assert!(!is_line || text.chars().count() <= 30, "{what}");
                let has = |name: &&str| text.contains(&format!("{{{name}}}"));
                assert!(key.placeholders().iter().all(has), "{what}");
            }
        }
    }

    #[test]
    fn day_is_formatted_by_language() {
        let date = jiff::civil::date(2027, 3, 1);
        let day = |language| localization(language).format_day(date);
        let days = [Language::En, Language::De, Language::Pt].map(day);
        assert_eq!(days, ["Mon 1 Mar", "Mo 1 Mär", "seg 1 mar"]);
    }
}
