//! Defines the command `flowgate destinations`, which lists destinations of events with their
//! state, and pauses, resumes and tests them.

use clap::{Args, Subcommand};
use serde_json::json;

use super::AdminCall;
use crate::admin::{AdminCommand, AdminQuery, DestinationRow, ServerCommand};
use crate::cli::args;
use crate::cli::output::{Column, TableRow};
use crate::domain::event::EventKind;
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;

impl TableRow for DestinationRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("NAME", |row| json!(row.name)),
        ("HOST", |row| json!(row.host)),
        ("STATE", |row| json!(row.state)),
        ("WAITING", |row| json!(row.waiting)),
        ("NEXT DUE", |row| json!(row.next_due)),
        ("IN FLIGHT", |row| json!(row.stats.in_flight)),
        ("LAST SUCCESS", |row| json!(row.stats.last_success_at)),
        ("LAST FAILURE", |row| json!(row.stats.last_failure_at)),
        ("REASON", |row| json!(row.stats.last_failure)),
    ];
    const EMPTY: &'static str = "no destinations";
}

#[derive(Debug, Subcommand)]
pub(crate) enum DestinationsVerb {
    /// List destinations: all of the config, and others for which deliveries wait
    List,
    /// Pause a destination until it is resumed. Its deliveries stay queued
    Pause(DestinationArg),
    /// Resume a paused or disabled destination
    Resume(DestinationArg),
    /// Send a signed test to a destination and show the response. No delivery is stored. Without
    /// --to, a WhatsApp destination only queries its own phone number at Meta. A gateway
    /// destination needs --to
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Name of the destination in the config
    #[arg(value_parser = DestinationName::new)]
    name: DestinationName,
    /// Phone number that gets the test message of a WhatsApp or gateway destination, with its
    /// country code: +491511234567. Default: no message is sent
    #[arg(long, value_name = "NUMBER", value_parser = PhoneNumber::parse)]
    to: Option<PhoneNumber>,
    /// Send a sample of this event instead of a test, to a webhook or e-mail destination. Default:
    /// a test, or a sample of an event if the payload is a template
    #[arg(long, value_name = "EVENT", value_parser = args::parse_event, conflicts_with = "to")]
    event: Option<EventKind>,
}

#[derive(Debug, Args)]
pub(crate) struct DestinationArg {
    /// Name of the destination in the config
    #[arg(value_parser = DestinationName::new)]
    name: DestinationName,
}

impl From<DestinationsVerb> for AdminCall {
    fn from(verb: DestinationsVerb) -> Self {
        match verb {
            DestinationsVerb::List => Self::table::<DestinationRow>(AdminQuery::Destinations),
            DestinationsVerb::Pause(DestinationArg { name }) => {
                Self::record(AdminCommand::PauseDestination { name })
            }
            DestinationsVerb::Resume(DestinationArg { name }) => {
                Self::record(AdminCommand::ResumeDestination { name })
            }
            DestinationsVerb::Test(TestArgs { name, to, event }) => {
                Self::record(ServerCommand::TestDestination { name, to, event })
            }
        }
    }
}
