//! Chooses the screens of a form: the next and the previous one, and the screen of the slot.
//!
//! See [`super::screen`] for the rules that a screen declares.

use std::fmt;

use serde_json::{Map, Value};

use super::Flow;
use super::field::Field;
use super::screen::{NextScreen, Screen};
use super::value::scalar_text;
use crate::domain::truncation::truncate_name;

/// Result of the submission of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenStage {
    /// The form is complete.
    Final,
    /// The form is not complete. [`Flow::next_screen`] returns the screen to show.
    Draft,
    /// The customer selected a value on the screen. The screen must be shown again with the data
    /// that depends on this value.
    Refresh,
}

/// Error for a screen that the flow does not declare. `Display` is for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownScreen {
    screen: Option<String>,
    declared: Vec<String>,
}

impl fmt::Display for UnknownScreen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.screen {
            Some(screen) => write!(f, "screen {screen:?} is not a screen of this flow")?,
            None => f.write_str("screen is missing")?,
        }
        write!(f, ": it has {}", self.declared.join(", "))
    }
}

impl Flow {
    /// Returns the stage of the form after `screen` was submitted with the answers `data`. Without
    /// declared screens, every screen is final.
    ///
    /// # Errors
    /// [`UnknownScreen`] if the flow declares screens and `screen` is missing or not declared.
    pub fn screen_stage(
        &self,
        screen: Option<&str>,
        data: &Map<String, Value>,
    ) -> Result<ScreenStage, UnknownScreen> {
        if self.screens.is_empty() {
            return Ok(ScreenStage::Final);
        }
        Ok(match self.require_screen(screen)? {
            sent if sent.is_refresh_request(data) => ScreenStage::Refresh,
            sent if sent.is_final => ScreenStage::Final,
            _ => ScreenStage::Draft,
        })
    }

    /// Returns the screen with this name.
    ///
    /// # Errors
    /// [`UnknownScreen`] if the name is missing or the flow does not declare the screen.
    pub fn require_screen(&self, screen: Option<&str>) -> Result<&Screen, UnknownScreen> {
        let declared = self.screens.iter().map(|screen| screen.name.clone());
        let found = screen.and_then(|name| self.find_screen(name));
        found.ok_or_else(|| UnknownScreen {
            screen: screen.map(truncate_name),
            declared: declared.collect(),
        })
    }

    /// Returns the screen that follows `screen` with the answers so far, including the answers of
    /// `screen`. Returns `None` after a final screen.
    #[must_use]
    pub fn next_screen(&self, screen: &Screen, answers: &Map<String, Value>) -> Option<&Screen> {
        if screen.is_final {
            return None;
        }
        match &screen.next {
            NextScreen::Following => screen_after(&self.screens, screen),
            NextScreen::Screen(name) => self.find_screen(name),
            NextScreen::ByField {
                field,
                cases,
                default,
            } => {
                let value = answers.get(field).and_then(scalar_text);
                let chosen = value.and_then(|value| cases.get(value.as_ref()));
                match chosen.or(default.as_ref()) {
                    Some(name) => self.find_screen(name),
                    None => screen_after(&self.screens, screen),
                }
            }
        }
    }

    /// Returns all screens that can follow `screen`, in the order of their declaration.
    #[must_use]
    pub fn next_screens(&self, screen: &Screen) -> Vec<&Screen> {
        next_screens(&self.screens, screen)
    }

    /// Returns the previous screen of `screen` with the answers so far: a screen that leads to
    /// `screen` with these answers. Of several such screens, the function returns the last declared
    /// one that was answered. The previous screen of the first screen is the first screen itself.
    #[must_use]
    pub fn previous_screen(&self, screen: &str, answers: &Map<String, Value>) -> Option<&Screen> {
        let is_screen = |next: &Screen| next.name == screen;
        let leads_here = |from: &&Screen| self.next_screen(from, answers).is_some_and(is_screen);
        let may_lead_here = |from: &&Screen| self.next_screens(from).into_iter().any(is_screen);
        let is_answered = |field: &Field| answers.contains_key(&field.name);
        let was_answered = |from: &&Screen| from.fields.iter().any(is_answered);
        let candidates = || self.screens.iter().filter(leads_here);
        let answered = candidates().rfind(was_answered);
        answered
            .or_else(|| candidates().next())
            .or_else(|| self.screens.iter().find(may_lead_here))
            .or_else(|| self.find_screen(screen))
    }

    /// Returns the screen on which the customer chooses the slot. The screen with the time field
    /// comes first, the screen with the date field second.
    #[must_use]
    pub fn slot_screen(&self) -> Option<&Screen> {
        let booking = self.booking.as_ref()?;
        self.screen_with_field(&booking.time_field)
            .or_else(|| self.screen_with_field(&booking.date_field))
    }

    fn screen_with_field(&self, name: &str) -> Option<&Screen> {
        let mut screens = self.screens.iter();
        screens.find(|screen| screen.find_field(name).is_some())
    }

    /// Returns the screen on which the customer can choose another date. Used if `screen` gets
    /// `data` in which the chosen date has no free slot.
    #[must_use]
    pub fn date_selection_screen(
        &self,
        screen: &Screen,
        data: &Map<String, Value>,
    ) -> Option<&Screen> {
        let mut sources = screen.data_sources.iter();
        let day =
            sources.find_map(|(name, source)| source.field_without_free_slot(data.get(name)?))?;
        self.screen_with_field(day)
            .filter(|_| screen.find_field(day).is_none())
    }
}

/// Returns all of `screens` that may follow `screen`, in the order of declaration.
fn next_screens<'a>(screens: &'a [Screen], screen: &Screen) -> Vec<&'a Screen> {
    if screen.is_final {
        return Vec::new();
    }
    let following = || screen_after(screens, screen).map(|next| &next.name);
    let names: Vec<&String> = match &screen.next {
        NextScreen::Following => following().into_iter().collect(),
        NextScreen::Screen(name) => vec![name],
        NextScreen::ByField { cases, default, .. } => {
            let otherwise = default.as_ref().or_else(following);
            cases.values().chain(otherwise).collect()
        }
    };
    let leads_there = |other: &&Screen| names.contains(&&other.name);
    screens.iter().filter(leads_there).collect()
}

/// Returns all of `screens` that are reachable from `start`, including `start` as the first.
#[must_use]
pub fn reachable_screens<'a>(screens: &'a [Screen], start: Option<&'a Screen>) -> Vec<&'a Screen> {
    let mut reached: Vec<&Screen> = start.into_iter().collect();
    let mut at = 0;
    while let Some(screen) = reached.get(at).copied() {
        at += 1;
        for next in next_screens(screens, screen) {
            if reached.iter().all(|known| known.name != next.name) {
                reached.push(next);
            }
        }
    }
    reached
}

/// Returns the screen that is declared after `screen`.
fn screen_after<'a>(screens: &'a [Screen], screen: &Screen) -> Option<&'a Screen> {
    let mut from_screen = screens.iter().skip_while(|other| other.name != screen.name);
    from_screen.nth(1)
}
