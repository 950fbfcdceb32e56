//! Provides the texts that customers read on their screens when a value or a slot is refused, in
//! the language of the flow.
//!
//! The config may replace the text of each key. Placeholders in braces are filled. Texts for
//! programs (plain flows, logs) are in English and belong to the error types. See
//! `languages` for the built-in texts.

mod languages;

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::field_error::{FieldError, ValidationError};
use crate::domain::booking::slot::SlotRefused;

/// Language of a flow's texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
    /// Spanish.
    Es,
    /// French.
    Fr,
    /// Indonesian.
    Id,
    /// Italian.
    It,
    /// Dutch.
    Nl,
    /// Brazilian Portuguese.
    Pt,
}

impl Language {
    /// All languages with their names in the config (ISO 639-1).
    pub const ALL: [(&'static str, Self); 8] = [
        ("en", Self::En),
        ("de", Self::De),
        ("es", Self::Es),
        ("fr", Self::Fr),
        ("id", Self::Id),
        ("it", Self::It),
        ("nl", Self::Nl),
        ("pt", Self::Pt),
    ];
}

macro_rules! keys {
    ($($(#[$doc:meta])* $variant:ident $name:literal [$($place:literal)*];)*) => {
        /// Key of a text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum TextKey {
            $($(#[$doc])* $variant,)*
        }

        impl TextKey {
            /// All keys, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the key's name in the config.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns the names of the placeholders that the text may contain.
            #[must_use]
            pub const fn placeholders(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$($place),*],)*
                }
            }
        }
    };
}

keys! {
    /// The field is empty.
    Missing "missing" ["field"];
    /// The value is invalid and no other text fits, for example if the value does not match its
    /// pattern.
    Invalid "invalid" ["field"];
    /// The text has too few characters.
    TooShort "too_short" ["field" "min"];
    /// The text has too many characters.
    TooLong "too_long" ["field" "max"];
    /// The value is not an e-mail address.
    Email "email" ["field"];
    /// The value is not a phone number.
    Phone "phone" ["field"];
    /// The value is not a number.
    Number "number" ["field"];
    /// The value is not a whole number.
    Integer "integer" ["field"];
    /// The number is below the minimum.
    TooSmall "too_small" ["field" "min"];
    /// The number is above the maximum.
    TooLarge "too_large" ["field" "max"];
    /// The value is not a date.
    Date "date" ["field"];
    /// The value is not a time of day.
    Time "time" ["field"];
    /// The value is not one of the choices.
    Choice "choice" ["field" "choices"];
    /// Another customer has booked the slot.
    SlotTaken "slot_taken" [];
    /// The slot has begun.
    SlotPast "slot_past" [];
    /// The slot begins too soon.
    SlotTooSoon "slot_too_soon" [];
    /// The slot is too far ahead.
    SlotTooFar "slot_too_far" [];
    /// The calendar is closed at this time, or no slot begins at this time.
    SlotClosed "slot_closed" [];
    /// The answers of all screens together exceed the maximum size that is stored.
    FormTooLarge "form_too_large" [];
    /// No slot is free now. Also an entry in a list, so the text has at most 30 characters.
    NothingFree "nothing_free" [];
    /// No agent is available now. An entry in a list, so the text has at most 30 characters.
    NoAgentFree "no_agent_free" [];
    /// The form was sent before (`resubmit = "refuse"`).
    AlreadySent "already_sent" [];
    /// The upstream of the flow does not respond.
    TryAgain "try_again" [];
    /// The flow token is not the one that Meta signed.
    TokenInvalid "token_invalid" [];
}

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
        self.overrides.get(&key).map_or_else(
            || languages::built_in_text(self.language, key),
            String::as_str,
        )
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
        format!(
            "{weekday} {} {}",
            date.day(),
            languages::month(self.language, date.month())
        )
    }
}

/// Fills the placeholders of `template`. Inserted values are not searched for placeholders.
fn fill_placeholders<'a>(template: &str, fill: impl Fn(&str) -> Option<&'a str>) -> String {
    let (mut text, mut remaining) = (String::with_capacity(template.len()), template);
    while let Some((before, behind)) = remaining.split_once('{') {
        text.push_str(before);
        if let Some((value, after)) = behind
            .split_once('}')
            .and_then(|(name, after)| Some((fill(name)?, after)))
        {
            text.push_str(value);
            remaining = after;
        } else {
            text.push('{');
            remaining = behind;
        }
    }
    text.push_str(remaining);
    text
}

/// Returns the placeholders of `wording` that its key does not allow.
pub fn unknown_placeholders(key: TextKey, wording: &str) -> impl Iterator<Item = &str> {
    let named = wording
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name);
    named.filter(move |name| !key.placeholders().contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_text(texts: &Localization, label: &str, error: ValidationError) -> String {
        let field = "user_email".to_owned();
        texts.error_text(label, &FieldError { field, error })
    }

    #[test]
    fn error_text_uses_flow_language_and_label() {
        let texts = Localization {
            language: Language::De,
            overrides: BTreeMap::new(),
        };
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
            language: Language::En,
            overrides,
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
        let day = |language| {
            Localization {
                language,
                overrides: BTreeMap::new(),
            }
            .format_day(jiff::civil::date(2027, 3, 1))
        };
        assert_eq!(
            (day(Language::En), day(Language::De), day(Language::Pt)),
            ("Mon 1 Mar".into(), "Mo 1 Mär".into(), "seg 1 mar".into())
        );
    }
}
