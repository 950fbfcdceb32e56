//! Texts of the dashboard: `groups` has a field for each text, and each language has one file. The
//! compiler reports a language that lacks a text.
//!
//! Messages of [`crate::admin`] are English in all languages. See [`super::format`] for numbers and
//! times.

mod de;
mod en;
mod es;
mod groups;
mod pt;

use crate::domain::named_enum;
pub(super) use groups::{CommonTexts, Texts};

named_enum! {
    /// Language of the dashboard. The names are those in cookies and forms (*ISO 639-1*).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Language {
        English = "en",
        German = "de",
        Spanish = "es",
        Portuguese = "pt",
    }
}

impl Language {
    /// Returns the texts of the language.
    pub(super) const fn texts(self) -> &'static Texts {
        match self {
            Self::English => &en::TEXTS,
            Self::German => &de::TEXTS,
            Self::Spanish => &es::TEXTS,
            Self::Portuguese => &pt::TEXTS,
        }
    }

    /// Returns the name of the language in the language itself.
    pub(super) const fn own_name(self) -> &'static str {
        self.texts().common.language_name
    }

    /// Returns the language tag of HTML (*BCP 47*).
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::Portuguese => "pt-BR",
            other => other.as_str(),
        }
    }

    /// Returns the known language that a browser prefers (*RFC 9110*, 12.5.4), or English.
    pub(super) fn from_accept_language(header: &str) -> Self {
        let weigh = |entry: &str| {
            let (tag, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let quality = parameters.trim().strip_prefix("q=");
            let quality = quality.map_or(Some(1.0), |quality| quality.trim().parse::<f32>().ok());
            let primary = tag.trim().split('-').next()?.to_ascii_lowercase();
            let language = Self::from_name(&primary)?;
            quality
                .filter(|quality| *quality > 0.0)
                .map(|quality| (quality, language))
        };
        let mut best: Option<(f32, Self)> = None;
        for (quality, language) in header.split(',').filter_map(weigh) {
            // The first of equally preferred languages wins.
            if best.is_none_or(|(highest, _)| quality > highest) {
                best = Some((quality, language));
            }
        }
        best.map_or(Self::English, |(_, language)| language)
    }
}

/// Fills the places `{}` of a text in order.
pub(super) fn fill(text: &str, values: &[&str]) -> String {
    let mut pieces = text.split("{}");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    let mut values = values.iter();
    for piece in pieces {
        filled.push_str(values.next().copied().unwrap_or_default());
        filled.push_str(piece);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browser_preference_selects_language() {
        for (header, language) in [
            ("", Language::English),
            ("de", Language::German),
            ("de-AT,de;q=0.9,en;q=0.8", Language::German),
            ("fr, es;q=0.5, en;q=0.4", Language::Spanish),
            ("en;q=0.3, PT-br;q=0.7", Language::Portuguese),
            ("de;q=0, es;q=0.1", Language::Spanish),
            ("xx;q=broken, ,;;;", Language::English),
        ] {
            assert_eq!(Language::from_accept_language(header), language, "{header}");
        }
    }

    #[test]
    fn places_are_filled_in_order() {
        assert_eq!(fill("{} of {}", &["1", "2"]), "1 of 2");
        assert_eq!(fill("no place", &["1"]), "no place");
        assert_eq!(fill("{}!", &[]), "!");
    }

    /// Counts the places of all texts of a language, in order.
    fn places(language: Language) -> Vec<(usize, usize)> {
        let all = format!("{:?}", language.texts());
        let texts = all.split('"').skip(1).step_by(2).enumerate();
        let count = |(at, text): (usize, &str)| (at, text.matches("{}").count());
        texts.map(count).filter(|(_, places)| *places > 0).collect()
    }

    #[test]
    fn translations_have_the_same_places_and_no_empty_text() {
        for language in Language::ALL {
            assert_eq!(places(language), places(Language::English), "{language:?}");
            let all = format!("{:?}", language.texts());
            assert!(!all.contains("\"\""), "{language:?} has an empty text");
        }
    }
}
