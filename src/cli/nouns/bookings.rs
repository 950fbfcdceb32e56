//! `flowgate bookings`: places that were taken.

use clap::{Args, Subcommand};
use jiff::civil::{Date, Time};

use super::Asked;
use crate::admin::{Filter, Question};
use crate::cli::args::{Window, date, time};
use crate::cli::show::Look;
use crate::domain::ids::BookingId;
use crate::domain::time::Timestamp;

/// Bookings
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bookings {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, newest first
    List(List),
    /// Shows one
    Show {
        /// Its number
        id: u64,
    },
    /// Cancels one: its place is free again
    Cancel {
        /// Its number
        id: u64,
    },
    /// Moves one to another slot of its calendar
    Move {
        /// Its number
        id: u64,
        /// The day
        #[arg(value_parser = date)]
        date: Date,
        /// The time, on the calendar's clock
        #[arg(value_parser = time)]
        time: Time,
    },
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    window: Window,
    /// confirmed or cancelled
    #[arg(long)]
    state: Option<String>,
}

impl Bookings {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, state } = match self.verb {
            Some(Verb::Show { id }) => return Asked::whole(Question::Booking { id: BookingId::new(id) }),
            Some(Verb::Cancel { id }) => return Asked::whole(Question::CancelBooking { id: BookingId::new(id) }),
            Some(Verb::Move { id, date, time }) => {
                return Asked::whole(Question::MoveBooking { id: BookingId::new(id), date, time });
            }
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let filter = Filter { state, ..window.filter(now) };
        let columns = &[
            ("ID", "id"),
            ("CALENDAR", "calendar"),
            ("DATE", "date"),
            ("TIME", "time"),
            ("STATE", "state"),
            ("SUBMISSION", "submission_id"),
        ];
        Asked { question: Question::Bookings(filter), look: Look::Table { columns, empty: "no bookings" } }
    }
}
