//! Kinds of rows that can be exported, with their queries and filters.

use clap::ValueEnum;

use crate::admin::{AdminQuery, ListFilter};

/// Kind of rows to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportKind {
    /// Accepted forms, with their answers
    Submissions,
    /// Forms that are begun and not completed, with their answers
    Drafts,
    /// Leads
    Leads,
    /// Bookings
    Bookings,
    /// Deliveries of events to destinations
    Deliveries,
    /// Dead letters
    DeadLetters,
    /// Background jobs
    Jobs,
    /// Sales agents
    Agents,
}

/// Filters that a kind of rows has.
pub(super) struct Filters {
    pub(super) flow: bool,
    pub(super) state: bool,
    pub(super) time: bool,
}

impl ExportKind {
    /// Returns the query that lists the rows.
    pub(super) const fn query(self) -> fn(ListFilter) -> AdminQuery {
        match self {
            Self::Submissions => AdminQuery::Submissions,
            Self::Drafts => AdminQuery::Drafts,
            Self::Leads => AdminQuery::Leads,
            Self::Bookings => AdminQuery::Bookings,
            Self::Deliveries => AdminQuery::Deliveries,
            Self::DeadLetters => AdminQuery::DeadLetters,
            Self::Jobs => AdminQuery::Jobs,
            Self::Agents => AdminQuery::Agents,
        }
    }

    /// Returns the filters of the list. The filter by time uses the field of [`Self::time_field`].
    pub(super) const fn filters(self) -> Filters {
        let [flow, state, time] = match self {
            Self::Submissions | Self::Drafts | Self::Leads | Self::Deliveries | Self::Jobs => {
                [true, true, true]
            }
            Self::DeadLetters => [true, false, true],
            Self::Bookings => [false, true, true],
            Self::Agents => [false, false, false],
        };
        Filters { flow, state, time }
    }

    /// Returns the field with the time by which the list is filtered.
    pub(super) const fn time_field(self) -> &'static str {
        match self {
            Self::Submissions => "received_at",
            Self::Drafts => "updated_at",
            Self::Bookings => "made_at",
            Self::DeadLetters => "died_at",
            Self::Leads | Self::Deliveries | Self::Jobs | Self::Agents => "created_at",
        }
    }

    /// Returns the name of the kind on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
