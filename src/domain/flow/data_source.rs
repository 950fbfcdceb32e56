//! Defines the sources of the values that a screen shows.
//!
//! See [`super::screen_data`] for the values.

use serde_json::Value;

use super::choice_list::{ChoiceListOptions, is_selectable};
use crate::domain::ids::{CalendarName, TeamName};

/// Source of a value that a screen shows.
#[derive(Clone, Debug, PartialEq)]
pub enum DataSource {
    /// Text from the config.
    Constant(String),
    /// Answer in this field, in the JSON type of the field's kind. Empty if there is no answer.
    Answer(String),
    /// Slots as a choice list: those of the chosen day or, without a chosen day, the next ones.
    Slots {
        /// Calendar of the slots.
        calendar: CalendarName,
        /// Field that contains the chosen day.
        day_field: Option<String>,
        /// Options of the list.
        options: ChoiceListOptions,
    },
    /// Dates with a free slot, as a choice list.
    Dates {
        /// Calendar of the dates.
        calendar: CalendarName,
        /// Options of the list.
        options: ChoiceListOptions,
    },
    /// Name of an agent who can accept the lead: the agent whom the answers already name, or who
    /// would get the lead now.
    Agent {
        /// Team of the agent.
        team: TeamName,
    },
    /// Available agents, as a choice list.
    Agents {
        /// Team of the agents.
        team: TeamName,
        /// Options of the list.
        options: ChoiceListOptions,
    },
}

impl DataSource {
    /// Returns the options of the choice list. Returns `None` if the source is no choice list.
    #[must_use]
    pub const fn list_options(&self) -> Option<ChoiceListOptions> {
        match self {
            Self::Slots { options, .. }
            | Self::Dates { options, .. }
            | Self::Agents { options, .. } => Some(*options),
            Self::Constant(_) | Self::Answer(_) | Self::Agent { .. } => None,
        }
    }

    /// Returns `true` if `value` has a selectable date or slot. `None` if the source is not a list
    /// of dates or slots.
    #[must_use]
    pub fn has_free_time(&self, value: &Value) -> Option<bool> {
        let (Self::Slots { .. } | Self::Dates { .. }) = self else {
            return None;
        };
        Some(value.as_array()?.iter().any(is_selectable))
    }

    /// Returns the field with the chosen day if `value` has no selectable slot of that day.
    #[must_use]
    pub fn field_without_free_slot(&self, value: &Value) -> Option<&str> {
        let Self::Slots {
            day_field: Some(day),
            ..
        } = self
        else {
            return None;
        };
        self.has_free_time(value)
            .is_some_and(|has| !has)
            .then_some(day)
    }
}
