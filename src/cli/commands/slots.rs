//! Defines the command `flowgate slots`, which lists the upcoming slots of calendars, also full
//! ones, with their capacity and booked places.

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde_json::json;

use super::AdminCall;
use crate::admin::{AdminQuery, SlotFilter, SlotRow};
use crate::cli::args::{DayFilter, LimitOption, parse_date};
use crate::cli::output::{Column, TableRow};

impl TableRow for SlotRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("CALENDAR", |slot| json!(slot.calendar)),
        ("DATE", |slot| json!(slot.date)),
        ("TIME", |slot| json!(slot.time)),
        ("CAPACITY", |slot| json!(slot.capacity)),
        ("TAKEN", |slot| json!(slot.taken)),
    ];
    const EMPTY: &'static str = "no slots on these days";
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SlotsCommand {
    #[command(subcommand)]
    verb: Option<SlotsVerb>,
    #[command(flatten)]
    list: SlotArgs,
}

#[derive(Debug, Subcommand)]
enum SlotsVerb {
    /// List slots by calendar, in order of time
    List(SlotArgs),
}

#[derive(Debug, Args)]
struct SlotArgs {
    #[command(flatten)]
    day: DayFilter,
    /// First day, in the time zone of the calendar. Default: today
    #[arg(long, value_name = "DATE", value_parser = parse_date, conflicts_with = "date")]
    from: Option<Date>,
    /// Last day, included. Default: 6 days after the first day
    #[arg(long, value_name = "DATE", value_parser = parse_date, conflicts_with = "date")]
    to: Option<Date>,
    #[command(flatten)]
    limit: LimitOption,
}

impl From<SlotsCommand> for AdminCall {
    fn from(command: SlotsCommand) -> Self {
        let SlotArgs {
            day: DayFilter {
                calendar,
                date: days,
            },
            from,
            to,
            limit: LimitOption { limit },
        } = match command.verb {
            Some(SlotsVerb::List(list)) => list,
            None => command.list,
        };
        Self::table::<SlotRow>(AdminQuery::Slots(SlotFilter {
            calendar,
            days,
            from,
            to,
            limit,
        }))
    }
}
