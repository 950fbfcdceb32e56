//! Defines the command `flowgate slots`, which lists slots that can be booked, with the number of
//! booked places.

use clap::{Args, Subcommand};
use jiff::civil::Date;

use super::AdminCall;
use crate::admin::AdminRequest;
use crate::cli::args::parse_date;
use crate::cli::output::OutputFormat;
use crate::domain::ids::CalendarName;

/// List slots that can be booked, with the number of booked places
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SlotsCommand {
    #[command(subcommand)]
    subcommand: Option<SlotsSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum SlotsSubcommand {
    /// List slots by calendar, in order of time
    List(ListArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only slots of this calendar. Default: all calendars
    #[arg(long, value_name = "NAME", value_parser = CalendarName::new)]
    calendar: Option<CalendarName>,
    /// First day, in the time zone of the calendar. Default: today
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    from: Option<Date>,
    /// Last day, included. Default: 6 days after the first day
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    to: Option<Date>,
    /// Maximum number of rows (0 = no limit)
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

impl SlotsCommand {
    /// Converts the arguments to an admin call.
    #[must_use]
    pub fn into_call(self) -> AdminCall {
        let ListArgs {
            calendar,
            from,
            to,
            limit,
        } = match self.subcommand {
            Some(SlotsSubcommand::List(list)) => list,
            None => self.list,
        };
        let columns = &[
            ("CALENDAR", "calendar"),
            ("DATE", "date"),
            ("TIME", "time"),
            ("CAPACITY", "capacity"),
            ("TAKEN", "taken"),
        ];
        let empty = "no slots on these days";
        AdminCall {
            request: AdminRequest::Slots {
                calendar,
                from,
                to,
                limit,
            },
            format: OutputFormat::Table { columns, empty },
        }
    }
}
