//! Defines the filters, selections and limits in the requests of an operator.
//!
//! See [`super::protocol`] for the requests.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::domain::day_range::DayRange;
use crate::domain::delivery::{Delivery, Event};
use crate::domain::event::EventKind;
use crate::domain::ids::{AgentName, CalendarName, DestinationName, FlowName, JobId};
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Timestamp;

/// Number of rows that a list has if the request sets no limit.
const DEFAULT_ROWS: usize = 50;
/// Number of rows that a search reads in each table if the request sets no limit.
const DEFAULT_SCAN: u64 = 1_000_000;

/// Limits of a request that searches tables without an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchLimits {
    /// Maximum number of results. 0: no limit.
    pub rows: usize,
    /// Maximum number of rows read in each table. 0: no limit.
    pub scan: u64,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self {
            rows: DEFAULT_ROWS,
            scan: DEFAULT_SCAN,
        }
    }
}

pub(super) const fn default_rows() -> usize {
    DEFAULT_ROWS
}

/// Filter of a search for customers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerFilter {
    /// Part of a phone number, ID, name or answer. `None`: all customers.
    pub text: Option<String>,
    /// Flow of the forms. `None`: all flows.
    pub flow: Option<FlowName>,
    /// Time of the oldest form, in UTC. `None`: no limit.
    pub since: Option<Timestamp>,
    #[serde(default)]
    pub limits: SearchLimits,
}

/// Calendar and days of a list of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotFilter {
    /// Calendar name. `None`: all calendars.
    pub calendar: Option<CalendarName>,
    /// Days by name, instead of `from` and `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<DayRange>,
    /// First day. `None`: today.
    pub from: Option<Date>,
    /// Last day, inclusive. `None`: one week including the first day.
    pub to: Option<Date>,
    /// Maximum number of rows. 0: no limit.
    #[serde(default = "default_rows")]
    pub limit: usize,
}

/// Filter of a list. A row must match all fields that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListFilter {
    /// State of the rows, by its name.
    pub state: Option<String>,
    /// Flow of the rows.
    pub flow: Option<FlowName>,
    /// Time of the oldest row, in UTC.
    pub since: Option<Timestamp>,
    /// Agent of the rows.
    pub agent: Option<AgentName>,
    /// Destination of the rows.
    pub destination: Option<DestinationName>,
    /// Event of the rows.
    pub event: Option<EventKind>,
    /// Calendar of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarName>,
    /// Days of the rows, in the time zone of their calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<DayRange>,
    /// Maximum number of rows. 0: no limit.
    #[serde(default = "default_rows")]
    pub limit: usize,
}

impl ListFilter {
    /// Returns `true` if rows of the time `at` are too old for the filter.
    pub(super) fn starts_after(&self, at: Timestamp) -> bool {
        self.since.is_some_and(|since| at < since)
    }

    /// Returns `true` if rows in this state match.
    pub(super) fn matches_state(&self, state: &str) -> bool {
        self.state.as_ref().is_none_or(|wanted| wanted == state)
    }

    /// Returns `true` if rows of this flow match.
    pub(super) fn matches_flow(&self, flow: Option<&FlowName>) -> bool {
        self.flow.is_none() || self.flow.as_ref() == flow
    }

    /// Returns `true` if rows of this agent match.
    pub(super) fn matches_agent(&self, agent: Option<&str>) -> bool {
        self.agent.is_none() || self.agent.as_ref().map(AgentName::as_str) == agent
    }

    /// Returns `true` if this delivery of this event matches by destination, event and flow.
    pub(super) fn matches_delivery(&self, delivery: &Delivery, event: &Event) -> bool {
        let is_to = |wanted: &DestinationName| delivery.destination == *wanted;
        self.destination.as_ref().is_none_or(is_to)
            && self.event.is_none_or(|wanted| event.kind == wanted)
            && self.matches_flow(event.flow.as_ref())
    }
}

/// Converts the limit of a request to a number of rows: 0 is no limit.
pub(super) const fn max_rows(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

/// Selection of dead letters or waiting deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum JobSelector {
    /// Single job, selected by its ID.
    One {
        id: JobId,
        /// Corrected payload as JSON text, for messages and deliveries. `None`: the payload stays
        /// unchanged.
        payload: Option<String>,
    },
    /// All jobs that match a filter.
    All {
        /// Filter for the jobs.
        filter: ListFilter,
        /// `true` if the request only counts the jobs and shows the first three.
        #[serde(default)]
        dry_run: bool,
        /// Rate at which the jobs become due, if they are retried. `None`: all at once.
        rate: Option<Rate>,
    },
}

impl JobSelector {
    /// Returns the dry run of the same selection. A single job has none.
    #[must_use]
    pub fn to_dry_run(&self) -> Self {
        match self {
            Self::One { .. } => self.clone(),
            Self::All { filter, .. } => Self::All {
                filter: filter.clone(),
                dry_run: true,
                rate: None,
            },
        }
    }
}

/// Selection of open leads. A lead must match all fields that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeadSelection {
    /// Agent of the leads.
    pub agent: Option<AgentName>,
    /// Flow of the leads.
    pub flow: Option<FlowName>,
    /// Time before which the leads were created, in UTC.
    pub created_before: Option<Timestamp>,
    /// `true` if the request only counts the leads and shows the first three.
    pub dry_run: bool,
}
