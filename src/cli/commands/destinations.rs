//! Defines the command `flowgate destinations`, which lists destinations of events with their
//! state, and pauses, resumes and tests them.

use clap::{Args, Subcommand};

use super::AdminCall;
use crate::admin::AdminRequest;
use crate::cli::args;
use crate::cli::output::OutputFormat;
use crate::domain::event::EventKind;
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;

/// List, pause, resume and test destinations of events
#[derive(Debug, Args)]
pub struct DestinationsCommand {
    #[command(subcommand)]
    subcommand: Option<DestinationsSubcommand>,
}

#[derive(Debug, Subcommand)]
enum DestinationsSubcommand {
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
struct TestArgs {
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
struct DestinationArg {
    /// Name of the destination in the config
    #[arg(value_parser = DestinationName::new)]
    name: DestinationName,
}

impl DestinationsCommand {
    /// Converts the arguments to an admin call.
    #[must_use]
    pub fn into_call(self) -> AdminCall {
        match self.subcommand.unwrap_or(DestinationsSubcommand::List) {
            DestinationsSubcommand::Pause(DestinationArg { name }) => {
                AdminCall::single(AdminRequest::PauseDestination { name })
            }
            DestinationsSubcommand::Resume(DestinationArg { name }) => {
                AdminCall::single(AdminRequest::ResumeDestination { name })
            }
            DestinationsSubcommand::Test(TestArgs { name, to, event }) => {
                AdminCall::single(AdminRequest::TestDestination { name, to, event })
            }
            DestinationsSubcommand::List => {
                let columns = &[
                    ("NAME", "name"),
                    ("HOST", "host"),
                    ("STATE", "state"),
                    ("WAITING", "waiting"),
                    ("NEXT DUE", "next_due"),
                    ("IN FLIGHT", "in_flight"),
                    ("LAST SUCCESS", "last_success_at"),
                    ("LAST FAILURE", "last_failure_at"),
                    ("REASON", "last_failure"),
                ];
                AdminCall {
                    request: AdminRequest::Destinations,
                    format: OutputFormat::Table {
                        columns,
                        empty: "no destinations",
                    },
                }
            }
        }
    }
}
