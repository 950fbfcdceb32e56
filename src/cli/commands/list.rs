//! Defines the command line of all lists: the filters of `list`, and `list` as the verb of a
//! command that names none.
//!
//! Each command contributes its data: the filters in [`FilteredRow`], the columns in [`TableRow`].

use std::fmt::Debug;
use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::AdminCall;
use crate::admin::{AdminQuery, ListFilter};
use crate::cli::args::{DayFilter, DeliveryFilter, FlowFilter, LimitOption, SinceFilter};
use crate::cli::output::TableRow;
use crate::domain::ids::AgentName;

/// Filter of a list. All lists also have `--limit`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Filter {
    /// `--since`.
    Since,
    /// `--flow`.
    Flow,
    /// `--destination` and `--event`.
    Delivery,
    /// `--state` with its help text.
    State(&'static str),
    /// `--agent` with its help text.
    Agent(&'static str),
    /// `--date` and `--calendar`.
    Day,
}

impl Filter {
    fn add_to(self, command: Command) -> Command {
        let arg = |name: &'static str, help| Arg::new(name).long(name).help(help);
        match self {
            Self::Since => SinceFilter::augment_args(command),
            Self::Flow => FlowFilter::augment_args(command),
            Self::Delivery => DeliveryFilter::augment_args(command),
            Self::Day => DayFilter::augment_args(command),
            Self::State(help) => command.arg(arg("state", help).value_name("STATE")),
            Self::Agent(help) => {
                let agent = arg("agent", help).value_name("NAME");
                command.arg(agent.value_parser(AgentName::new))
            }
        }
    }
}

/// Row of a list that filters can narrow.
pub(crate) trait FilteredRow: TableRow + Debug {
    /// Filters, in the order of the help text.
    const FILTERS: &'static [Filter];
    /// Query that lists the rows.
    const QUERY: fn(ListFilter) -> AdminQuery;
}

/// Options of `list` for the rows `R`.
#[derive(Debug)]
pub(crate) struct ListArgs<R> {
    filter: ListFilter,
    row: PhantomData<R>,
}

impl<R: FilteredRow> From<ListArgs<R>> for AdminCall {
    fn from(options: ListArgs<R>) -> Self {
        Self::table::<R>((R::QUERY)(options.filter))
    }
}

impl<R: FilteredRow> Args for ListArgs<R> {
    fn augment_args(command: Command) -> Command {
        let command = LimitOption::augment_args(command);
        let filters = R::FILTERS.iter();
        filters.fold(command, |command, filter| filter.add_to(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<R: FilteredRow> FromArgMatches for ListArgs<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            filter: ListFilter {
                state: value(matches, "state"),
                flow: value(matches, "flow"),
                since: value(matches, "since"),
                agent: value(matches, "agent"),
                destination: value(matches, "destination"),
                event: value(matches, "event"),
                calendar: value(matches, "calendar"),
                days: value(matches, "date"),
                limit: value(matches, "limit").unwrap_or_default(),
            },
            row: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the value of an option. Returns `None` if it is not set, or the list has no such filter.
fn value<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.try_get_one(name).ok().flatten().cloned()
}

/// Verbs of a command about rows. Each has the verb `list`.
pub(crate) trait RowsVerb: Subcommand {
    /// Row of the list.
    type Row: FilteredRow;

    /// Converts the arguments to an admin call.
    fn into_call(self) -> AdminCall;
}

/// Command about rows: a verb, or the options of `list`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RowsCommand<V: RowsVerb> {
    #[command(subcommand)]
    verb: Option<V>,
    #[command(flatten)]
    list: ListArgs<V::Row>,
}

impl<V: RowsVerb> From<RowsCommand<V>> for AdminCall {
    fn from(command: RowsCommand<V>) -> Self {
        match command.verb {
            Some(verb) => verb.into_call(),
            None => command.list.into(),
        }
    }
}
