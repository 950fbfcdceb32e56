//! Data that every template has: texts, links, the reader, and functions for numbers and times.
//!
//! Templates pass fields by reference and results by value. `impl Borrow` takes both.

use std::borrow::Borrow;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::format;
use super::links::Links;
use super::texts::{self, Language, Texts};
use crate::domain::access::{AccountPrincipal, Role};
use crate::domain::ids::AccountName;
use crate::domain::named_enum;
use crate::domain::time::Timestamp;

/// Number of entries of the navigation that a phone has a place for.
const VISIBLE_ENTRIES: usize = 5;

named_enum! {
    /// Colours of the pages. The names are those in cookies, forms and templates.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Theme {
        /// The choice of the browser or its system.
        System = "system",
        Light = "light",
        Dark = "dark",
    }
}

impl Theme {
    /// Returns the media for which a page has the dark colours. `None`: none.
    pub(super) const fn dark_media(self) -> Option<&'static str> {
        match self {
            Self::System => Some("screen and (prefers-color-scheme: dark)"),
            Self::Light => None,
            Self::Dark => Some("screen"),
        }
    }
}

/// Data of the frame around a page, and the formats of its values.
#[derive(Debug)]
pub(super) struct View {
    pub(super) texts: &'static Texts,
    pub(super) language: Language,
    pub(super) theme: Theme,
    pub(super) links: Links,
    /// Path of the page below the base path, with its query.
    pub(super) path: String,
    /// Token of the hidden field `csrf` in each form.
    pub(super) csrf: String,
    /// Account of the reader. `None`: nobody has signed in.
    pub(super) account: Option<AccountPrincipal>,
    /// Result of the action before, shown once.
    pub(super) notice: Option<&'static str>,
    /// Time zone of the business.
    pub(super) zone: TimeZone,
    pub(super) now: Timestamp,
}

/// Entry of the navigation.
#[derive(Debug)]
pub(super) struct NavEntry {
    pub(super) link: String,
    pub(super) icon: &'static str,
    pub(super) label: &'static str,
    pub(super) is_current: bool,
    /// `true` if the entry is behind the button "More" on a phone.
    pub(super) is_folded: bool,
}

/// Button of a menu with one chosen value.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) label: &'static str,
    /// Language tag of the label.
    pub(super) tag: &'static str,
    pub(super) is_chosen: bool,
}

impl View {
    /// Returns the address of a path below the base path.
    pub(super) fn link(&self, path: &str) -> String {
        self.links.link(path)
    }

    /// Returns the address of an embedded file.
    pub(super) fn asset(&self, name: &str) -> String {
        self.links.asset(name)
    }

    /// Returns the navigation with the pages that the reader may open.
    pub(super) fn navigation(&self) -> Vec<NavEntry> {
        let texts = &self.texts.common;
        let entries = [
            ("/", "today", texts.nav_today),
            ("/calendar", "calendar", texts.nav_calendar),
            ("/leads", "leads", texts.nav_leads),
            ("/customers", "customers", texts.nav_customers),
            ("/agents", "agents", texts.nav_agents),
            ("/operations", "operations", texts.nav_operations),
            ("/accounts", "key", texts.nav_accounts),
        ];
        let entry = |(path, icon, label): (&str, _, _)| {
            Some(NavEntry {
                link: self.links.page(path)?,
                icon,
                label,
                is_current: is_within(&self.path, path),
                is_folded: false,
            })
        };
        let mut entries: Vec<_> = entries.into_iter().filter_map(entry).collect();
        if entries.len() > VISIBLE_ENTRIES {
            let folded = entries.iter_mut().skip(VISIBLE_ENTRIES - 1);
            folded.for_each(|entry| entry.is_folded = true);
        }
        entries
    }

    /// Returns the themes to choose from.
    pub(super) fn themes(&self) -> [Choice; Theme::ALL.len()] {
        let texts = &self.texts.common;
        Theme::ALL.map(|theme| Choice {
            value: theme.as_str(),
            label: match theme {
                Theme::System => texts.theme_system,
                Theme::Light => texts.theme_light,
                Theme::Dark => texts.theme_dark,
            },
            tag: self.language.tag(),
            is_chosen: theme == self.theme,
        })
    }

    /// Returns the languages to choose from.
    pub(super) fn languages(&self) -> [Choice; Language::ALL.len()] {
        Language::ALL.map(|language| Choice {
            value: language.as_str(),
            label: language.own_name(),
            tag: language.tag(),
            is_chosen: language == self.language,
        })
    }

    /// Returns a text with its places `{}` filled by a value.
    #[expect(clippy::unused_self, reason = "templates call functions of the view")]
    pub(super) fn fill(&self, text: &str, value: impl fmt::Display) -> String {
        texts::fill(text, &[&value.to_string()])
    }

    /// Returns the name of a role.
    pub(super) fn role_name(&self, role: impl Borrow<Role>) -> &'static str {
        match role.borrow() {
            Role::Owner => self.texts.access.role_owner,
            Role::Agent => self.texts.access.role_agent,
            Role::Viewer => self.texts.access.role_viewer,
        }
    }

    /// Returns the explanation of a role.
    pub(super) fn role_hint(&self, role: impl Borrow<Role>) -> &'static str {
        match role.borrow() {
            Role::Owner => self.texts.access.role_owner_hint,
            Role::Agent => self.texts.access.role_agent_hint,
            Role::Viewer => self.texts.access.role_viewer_hint,
        }
    }

    /// Returns `true` if the account is the one of the reader.
    pub(super) fn is_reader(&self, name: &AccountName) -> bool {
        self.account
            .as_ref()
            .is_some_and(|account| account.name == *name)
    }

    /// Formats a whole number.
    pub(super) fn number(&self, number: impl fmt::Display) -> String {
        format::number(&self.texts.common, &number.to_string())
    }

    /// Formats a point in time as day and time in the business time zone.
    pub(super) fn day_and_time(&self, at: impl Borrow<Timestamp>) -> String {
        format::day_and_time(&self.texts.common, *at.borrow(), self.now, &self.zone)
    }

    /// Formats a point in the past as the time since then.
    pub(super) fn age(&self, at: impl Borrow<Timestamp>) -> String {
        format::age(&self.texts.common, *at.borrow(), self.now, &self.zone)
    }

    /// Returns the current date in the business time zone.
    pub(super) fn today(&self) -> Date {
        format::local_date(self.now, &self.zone)
    }

    /// Returns the characters of a phone number that a phone dials (*RFC 3966*).
    #[expect(clippy::unused_self, reason = "templates call functions of the view")]
    pub(super) fn dialled(&self, phone: &str) -> String {
        let is_dialled = |character: &char| character.is_ascii_digit() || *character == '+';
        phone.chars().filter(is_dialled).collect()
    }

    /// Formats a date with its weekday.
    pub(super) fn date(&self, date: Date) -> String {
        format::date(&self.texts.common, date, self.today())
    }

    /// Formats a date of a row, as `2026-11-24`, as today, tomorrow or a date.
    pub(super) fn row_date(&self, date: &str) -> String {
        date.parse().map_or_else(
            |_| date.to_owned(),
            |date| format::near_date(&self.texts.common, date, self.today()),
        )
    }
}

/// Returns `true` if a phone has no place for all entries of the navigation.
pub(super) fn is_folded(entries: &[NavEntry]) -> bool {
    entries.iter().any(|entry| entry.is_folded)
}

/// Returns `true` if the page at `path` belongs to the section at `section`.
fn is_within(path: &str, section: &str) -> bool {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    if section == "/" {
        return path == "/";
    }
    path.strip_prefix(section)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Splits a message of the admin layer into texts and the commands between backticks.
pub(super) fn message_parts(message: &str) -> Vec<MessagePart<'_>> {
    let parts = message.split('`').enumerate();
    parts
        .filter(|(_, text)| !text.is_empty())
        .map(|(at, text)| MessagePart {
            text,
            is_code: !at.is_multiple_of(2),
        })
        .collect()
}

/// Part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MessagePart<'a> {
    pub(super) text: &'a str,
    pub(super) is_code: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_contain_their_pages() {
        assert!(is_within("/?notice=x", "/"));
        assert!(!is_within("/leads", "/"));
        assert!(is_within("/leads", "/leads"));
        assert!(is_within("/leads/7?x=1", "/leads"));
        assert!(!is_within("/leadsx", "/leads"));
    }

    #[test]
    fn commands_in_messages_are_code() {
        let parts = message_parts("2 jobs: `flowgate jobs` lists them");
        let shown: Vec<_> = parts.iter().map(|part| (part.text, part.is_code)).collect();
        let expected = [
            ("2 jobs: ", false),
            ("flowgate jobs", true),
            (" lists them", false),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn themes_have_names() {
        for theme in Theme::ALL {
            assert_eq!(Theme::from_name(theme.as_str()), Some(theme));
        }
        assert_eq!(Theme::from_name("pink"), None);
    }
}
