//! What customers read on their screens when something does not fit, in the language of the flow.
//!
//! Every text has a key that the config may give another wording for; placeholders in braces are filled in. What a
//! program is told (plain flows, logs) is English and stands with the errors themselves. The wordings that are built in
//! are in `languages`.

mod languages;

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::calendar::SlotRefused;
use super::field::{FieldProblem, Flaw};

/// A language that flows can speak.
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
    /// Portuguese, as in Brazil.
    Pt,
}

impl Language {
    /// All of them, with the names that the config has for them (ISO 639-1).
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
        /// What a text is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum TextKey {
            $($(#[$doc])* $variant,)*
        }

        impl TextKey {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that the config has for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What may stand in its braces.
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
    /// A field that was left empty.
    Missing "missing" ["field"];
    /// A value that does not fit, where nothing better can be said; also one that does not fit its pattern.
    Invalid "invalid" ["field"];
    /// A text with too few characters.
    TooShort "too_short" ["field" "min"];
    /// A text with too many.
    TooLong "too_long" ["field" "max"];
    /// No e-mail address.
    Email "email" ["field"];
    /// No phone number.
    Phone "phone" ["field"];
    /// No number.
    Number "number" ["field"];
    /// No whole number.
    Integer "integer" ["field"];
    /// A number below the least.
    TooSmall "too_small" ["field" "min"];
    /// A number above the most.
    TooLarge "too_large" ["field" "max"];
    /// No date.
    Date "date" ["field"];
    /// No time of day.
    Time "time" ["field"];
    /// None of the choices.
    Choice "choice" ["field" "choices"];
    /// A slot that somebody else has got.
    SlotTaken "slot_taken" [];
    /// A slot that has begun.
    SlotPast "slot_past" [];
    /// A slot that begins too soon.
    SlotTooSoon "slot_too_soon" [];
    /// A slot too far ahead.
    SlotTooFar "slot_too_far" [];
    /// A time at which the calendar is closed, or at which no slot begins.
    SlotClosed "slot_closed" [];
    /// All screens together are more than is kept.
    FormTooLarge "form_too_large" [];
    /// Nothing can be booked now. Also a line in a list: 30 characters at the most.
    NothingFree "nothing_free" [];
    /// No agent can be chosen now. A line in a list: likewise.
    NobodyFree "nobody_free" [];
    /// The form was sent before (`resubmit = "refuse"`).
    AlreadySent "already_sent" [];
    /// The program behind the flow does not answer.
    TryAgain "try_again" [];
    /// The token of the form is not the one that Meta signed.
    TokenInvalid "token_invalid" [];
}

/// The texts of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The language of those that the config does not word itself.
    pub language: Language,
    /// The config's own wordings.
    pub own: BTreeMap<TextKey, String>,
}

impl Texts {
    /// A text without placeholders, or as it stands.
    #[must_use]
    pub fn get(&self, key: TextKey) -> &str {
        self.own.get(&key).map_or_else(|| languages::text(self.language, key), String::as_str)
    }

    /// What is wrong with a field, called by its label.
    #[must_use]
    pub fn problem(&self, label: &str, problem: &FieldProblem) -> String {
        let (key, value) = match &problem.flaw {
            Flaw::Missing => (TextKey::Missing, String::new()),
            Flaw::NotText | Flaw::NotBoolean | Flaw::OffPattern => (TextKey::Invalid, String::new()),
            Flaw::Shorter(min) => (TextKey::TooShort, min.to_string()),
            Flaw::Longer(max) => (TextKey::TooLong, max.to_string()),
            Flaw::NotEmail => (TextKey::Email, String::new()),
            Flaw::NotPhone => (TextKey::Phone, String::new()),
            Flaw::NotNumber => (TextKey::Number, String::new()),
            Flaw::NotInteger => (TextKey::Integer, String::new()),
            Flaw::Below(min) => (TextKey::TooSmall, min.clone()),
            Flaw::Above(max) => (TextKey::TooLarge, max.clone()),
            Flaw::NotDate => (TextKey::Date, String::new()),
            Flaw::NotTime => (TextKey::Time, String::new()),
            Flaw::NotChoice(choices) => (TextKey::Choice, choices.clone()),
        };
        let fill = |name: &str| match name {
            "field" => Some(label),
            "min" | "max" | "choices" => Some(value.as_str()),
            _ => None,
        };
        filled(self.get(key), fill)
    }

    /// Why a slot can't be had.
    #[must_use]
    pub fn slot(&self, why: SlotRefused) -> &str {
        self.get(match why {
            SlotRefused::Full => TextKey::SlotTaken,
            SlotRefused::Past => TextKey::SlotPast,
            SlotRefused::TooSoon => TextKey::SlotTooSoon,
            SlotRefused::TooFar => TextKey::SlotTooFar,
            SlotRefused::Closed | SlotRefused::NotASlot => TextKey::SlotClosed,
        })
    }

    /// A day as people read it: `Mon 4 Jan`.
    #[must_use]
    pub fn day(&self, date: Date) -> String {
        let weekday = languages::weekday(self.language, date.weekday());
        format!("{weekday} {} {}", date.day(), languages::month(self.language, date.month()))
    }
}

/// `template` with each placeholder in braces put in its place. One pass: what is put in is not looked at again.
fn filled<'a>(template: &str, fill: impl Fn(&str) -> Option<&'a str>) -> String {
    let (mut text, mut rest) = (String::with_capacity(template.len()), template);
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        if let Some((value, after)) = behind.split_once('}').and_then(|(name, after)| Some((fill(name)?, after))) {
            text.push_str(value);
            rest = after;
        } else {
            text.push('{');
            rest = behind;
        }
    }
    text.push_str(rest);
    text
}

/// The placeholders of a wording that its key does not know.
pub fn unknown_placeholders(key: TextKey, wording: &str) -> impl Iterator<Item = &str> {
    let named = wording.split('{').skip(1).filter_map(|piece| piece.split_once('}')).map(|(name, _)| name);
    named.filter(move |name| !key.placeholders().contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(flaw: Flaw) -> FieldProblem {
        FieldProblem { field: "user_email".to_owned(), flaw }
    }

    #[test]
    fn a_problem_is_told_in_the_flows_language_with_the_fields_label() {
        let texts = Texts { language: Language::De, own: BTreeMap::new() };
        assert_eq!(texts.problem("E-Mail", &problem(Flaw::Missing)), "Bitte ausfüllen: E-Mail.");
        assert_eq!(texts.problem("Name", &problem(Flaw::Shorter(3))), "Name: mindestens 3 Zeichen.");
        assert_eq!(
            texts.slot(SlotRefused::Full),
            "Dieser Termin wurde gerade vergeben. Bitte wählen Sie einen anderen."
        );
    }

    #[test]
    fn the_configs_own_wording_comes_first_and_what_is_put_in_is_not_read_again() {
        let own = BTreeMap::from([(TextKey::Missing, "{field}? {x} {".to_owned())]);
        let texts = Texts { language: Language::En, own };
        assert_eq!(texts.problem("{field}", &problem(Flaw::Missing)), "{field}? {x} {");
        assert_eq!(texts.problem("{field}", &problem(Flaw::NotEmail)), "{field}: please enter a valid e-mail address.");
        assert_eq!(unknown_placeholders(TextKey::Missing, "{field} {x} {").collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn every_language_has_every_text_with_the_placeholders_it_needs() {
        for (name, language) in Language::ALL {
            for key in TextKey::ALL {
                let text = languages::text(language, *key);
                assert!(!text.is_empty() && text.ends_with(['.', '}']), "{name} {}: {text}", key.as_str());
                assert_eq!(unknown_placeholders(*key, text).count(), 0, "{name} {}: {text}", key.as_str());
                let is_line = matches!(key, TextKey::NothingFree | TextKey::NobodyFree);
                assert!(!is_line || text.chars().count() <= 30, "{name}: {text}");
                for needed in key.placeholders() {
                    assert!(text.contains(&format!("{{{needed}}}")), "{name} {} lacks {needed}", key.as_str());
                }
            }
        }
    }

    #[test]
    fn a_day_is_written_as_people_read_it() {
        let day = |language| Texts { language, own: BTreeMap::new() }.day(jiff::civil::date(2027, 3, 1));
        assert_eq!(
            (day(Language::En), day(Language::De), day(Language::Pt)),
            ("Mon 1 Mar".into(), "Mo 1 Mär".into(), "seg 1 mar".into())
        );
    }
}
