//! Defines the command `flowgate bookings`, which lists, cancels and moves bookings of slots.

use clap::Subcommand;
use jiff::civil::{Date, Time};
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminCommand, AdminQuery, BookingRow, ListFilter};
use crate::cli::args::{parse_date, parse_time};
use crate::cli::output::{Column, TableRow};
use crate::domain::ids::BookingId;

impl TableRow for BookingRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("ID", |booking| json!(booking.id)),
        ("CALENDAR", |booking| json!(booking.calendar)),
        ("DATE", |booking| json!(booking.date)),
        ("TIME", |booking| json!(booking.time)),
        ("NAME", |booking| json!(booking.name)),
        ("PHONE", |booking| {
            json!(booking.phone.as_ref().or(booking.customer.as_ref()))
        }),
        ("STATE", |booking| json!(booking.state)),
        ("SUBMISSION", |booking| json!(booking.submission_id)),
    ];
    const EMPTY: &'static str = "no bookings";
}

impl FilteredRow for BookingRow {
    const FILTERS: &'static [Filter] = &[
        Filter::Day,
        Filter::Since,
        Filter::State(
            "Only bookings in this state: confirmed or cancelled. Default: confirmed with --date, \
             else all states",
        ),
    ];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::Bookings;
}

#[derive(Debug, Subcommand)]
pub(crate) enum BookingsVerb {
    /// List bookings with the name and phone number of the customer: newest first, or in order of
    /// time with --date
    List(ListArgs<BookingRow>),
    /// Show a booking
    Show {
        /// Booking ID
        id: BookingId,
    },
    /// Cancel a booking. Its place in the slot is free again
    Cancel {
        /// Booking ID
        id: BookingId,
    },
    /// Move a booking to another slot of its calendar
    Move {
        /// Booking ID
        id: BookingId,
        /// Date of the new slot, for example 2026-11-24
        #[arg(value_parser = parse_date)]
        date: Date,
        /// Start time of the new slot in the time zone of the calendar, for example 09:00
        #[arg(value_parser = parse_time)]
        time: Time,
    },
}

impl RowsVerb for BookingsVerb {
    type Row = BookingRow;

    fn into_call(self) -> AdminCall {
        match self {
            Self::List(options) => options.into(),
            Self::Show { id } => AdminCall::record(AdminQuery::Booking { id }),
            Self::Cancel { id } => AdminCall::record(AdminCommand::CancelBooking { id }),
            Self::Move { id, date, time } => {
                AdminCall::record(AdminCommand::MoveBooking { id, date, time })
            }
        }
    }
}
