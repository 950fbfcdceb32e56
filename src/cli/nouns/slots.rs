//! `flowgate slots`: what can be booked, and how much of it is taken.

use clap::{Args, Subcommand};
use jiff::civil::Date;

use super::Asked;
use crate::admin::Question;
use crate::cli::args::date;
use crate::cli::show::Look;
use crate::domain::ids::CalendarName;

/// Slots that may be booked, with what is taken of them
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Slots {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them in order
    List(List),
}

#[derive(Debug, Args)]
struct List {
    /// Of one calendar; of all unless given
    #[arg(long, value_name = "NAME", value_parser = CalendarName::new)]
    calendar: Option<CalendarName>,
    /// From this day; from today unless given
    #[arg(long, value_name = "DATE", value_parser = date)]
    from: Option<Date>,
    /// Up to and with this day; a week unless given
    #[arg(long, value_name = "DATE", value_parser = date)]
    to: Option<Date>,
    /// Rows at the most; 0: all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

impl Slots {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self) -> Asked {
        let List { calendar, from, to, limit } = match self.verb {
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let columns = &[
            ("CALENDAR", "calendar"),
            ("DATE", "date"),
            ("TIME", "time"),
            ("CAPACITY", "capacity"),
            ("TAKEN", "taken"),
        ];
        let empty = "no slots in these days";
        Asked { question: Question::Slots { calendar, from, to, limit }, look: Look::Table { columns, empty } }
    }
}
