//! Defines the command `flowgate bookings`, which lists, cancels and moves bookings of slots.

use clap::{Args, Subcommand};
use jiff::civil::{Date, Time};

use super::AdminCall;
use crate::admin::{AdminRequest, ListFilter};
use crate::cli::args::{ListOptions, parse_date, parse_time};
use crate::cli::output::OutputFormat;
use crate::domain::ids::BookingId;
use crate::domain::time::Timestamp;

/// List, cancel and move bookings
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BookingsCommand {
    #[command(subcommand)]
    subcommand: Option<BookingsSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum BookingsSubcommand {
    /// List bookings, newest first
    List(ListArgs),
    /// Show a booking
    Show {
        /// Booking ID
        id: u64,
    },
    /// Cancel a booking. Its place in the slot is free again
    Cancel {
        /// Booking ID
        id: u64,
    },
    /// Move a booking to another slot of its calendar
    Move {
        /// Booking ID
        id: u64,
        /// Date of the new slot, for example 2026-11-24
        #[arg(value_parser = parse_date)]
        date: Date,
        /// Start time of the new slot in the time zone of the calendar, for example 09:00
        #[arg(value_parser = parse_time)]
        time: Time,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
    /// Only bookings in this state: confirmed or cancelled. Default: all states
    #[arg(long)]
    state: Option<String>,
}

impl BookingsCommand {
    /// Converts the arguments to an admin call. A relative `--since` counts back from `now`.
    #[must_use]
    pub fn into_call(self, now: Timestamp) -> AdminCall {
        let ListArgs { options, state } = match self.subcommand {
            Some(BookingsSubcommand::Show { id }) => {
                return AdminCall::single(AdminRequest::Booking {
                    id: BookingId::new(id),
                });
            }
            Some(BookingsSubcommand::Cancel { id }) => {
                return AdminCall::single(AdminRequest::CancelBooking {
                    id: BookingId::new(id),
                });
            }
            Some(BookingsSubcommand::Move { id, date, time }) => {
                return AdminCall::single(AdminRequest::MoveBooking {
                    id: BookingId::new(id),
                    date,
                    time,
                });
            }
            Some(BookingsSubcommand::List(list)) => list,
            None => self.list,
        };
        let filter = ListFilter {
            state,
            ..options.to_filter(now)
        };
        let columns = &[
            ("ID", "id"),
            ("CALENDAR", "calendar"),
            ("DATE", "date"),
            ("TIME", "time"),
            ("STATE", "state"),
            ("SUBMISSION", "submission_id"),
        ];
        AdminCall {
            request: AdminRequest::Bookings(filter),
            format: OutputFormat::Table {
                columns,
                empty: "no bookings",
            },
        }
    }
}
