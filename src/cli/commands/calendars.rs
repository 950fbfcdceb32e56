//! Defines the command `flowgate calendars`, which lists calendars and makes the secret addresses
//! of their feeds.

use clap::{Args, Subcommand};
use serde_json::json;

use super::AdminCall;
use crate::admin::{AdminCommand, AdminQuery, CalendarRow};
use crate::cli::output::{Column, TableRow};
use crate::domain::calendar_feed::FeedTarget;
use crate::domain::ids::CalendarName;

impl TableRow for CalendarRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("NAME", |calendar| json!(calendar.name)),
        ("TIME ZONE", |calendar| json!(calendar.time_zone)),
        ("CAPACITY", |calendar| json!(calendar.capacity)),
        ("FEED SINCE", |calendar| json!(calendar.feed_since)),
    ];
    const EMPTY: &'static str = "no calendars: the config has no [calendars.NAME]";
}

#[derive(Debug, Subcommand)]
pub(crate) enum CalendarsVerb {
    /// List the calendars of the config
    List,
    /// Make a secret address under which calendar programs read the bookings
    ///
    /// The command prints the path once. Put the public address of the server in front. Whoever has
    /// the address can read the names and answers of customers. The previous address of the
    /// calendar becomes invalid.
    Feed {
        /// Calendar name
        #[arg(value_parser = CalendarName::new)]
        name: CalendarName,
        #[command(flatten)]
        options: FeedOptions,
    },
}

#[derive(Debug, Args)]
pub(crate) struct FeedOptions {
    /// Make no address, and revoke the current one
    #[arg(long)]
    revoke: bool,
}

impl FeedOptions {
    /// Creates the call that makes or revokes an address.
    pub(crate) fn into_call(self, target: FeedTarget) -> AdminCall {
        AdminCall::record(if self.revoke {
            AdminCommand::RevokeFeed { target }
        } else {
            AdminCommand::CreateFeed { target }
        })
    }
}

impl From<CalendarsVerb> for AdminCall {
    fn from(verb: CalendarsVerb) -> Self {
        match verb {
            CalendarsVerb::List => Self::table::<CalendarRow>(AdminQuery::Calendars),
            CalendarsVerb::Feed { name, options } => options.into_call(FeedTarget::Calendar(name)),
        }
    }
}
