//! `flowgate destinations`: who is told, how they do, and what an admin can do about it.

use clap::{Args, Subcommand};

use super::Asked;
use crate::admin::Question;
use crate::cli::args;
use crate::cli::show::Look;
use crate::domain::event::EventKind;
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;

/// Those who are told what happens here
#[derive(Debug, Args)]
pub struct Destinations {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them: those of the config, and those that something still waits for
    List,
    /// Tells one nothing until it is resumed; what waits for it is kept
    Pause(Name),
    /// Tells one again, also where it had said that it wants no more
    Resume(Name),
    /// Sends one a signed test and shows what came back; no delivery comes of it. One that writes to people is only asked about
    /// the number that it writes from, unless --to says whom to write to
    Test(Test),
}

#[derive(Debug, Args)]
struct Test {
    /// Its name in the config
    #[arg(value_parser = DestinationName::new)]
    name: DestinationName,
    /// Writes to this number, where the destination writes to people: with its country code, as +491511234567
    #[arg(long, value_name = "NUMBER", value_parser = PhoneNumber::parse)]
    to: Option<PhoneNumber>,
    /// Sends a webhook or a mailbox an example of this event, rather than a test; where a body is a template, an example is sent
    /// anyway
    #[arg(long, value_name = "EVENT", value_parser = args::event, conflicts_with = "to")]
    event: Option<EventKind>,
}

#[derive(Debug, Args)]
struct Name {
    /// Its name in the config
    #[arg(value_parser = DestinationName::new)]
    name: DestinationName,
}

impl Destinations {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self) -> Asked {
        match self.verb.unwrap_or(Verb::List) {
            Verb::Pause(Name { name }) => Asked::whole(Question::PauseDestination { name }),
            Verb::Resume(Name { name }) => Asked::whole(Question::ResumeDestination { name }),
            Verb::Test(Test { name, to, event }) => Asked::whole(Question::TestDestination { name, to, event }),
            Verb::List => {
                let columns = &[
                    ("NAME", "name"),
                    ("HOST", "host"),
                    ("STATE", "state"),
                    ("WAITING", "waiting"),
                    ("NEXT DUE", "next_due"),
                    ("IN FLIGHT", "in_flight"),
                    ("LAST SUCCESS", "last_success_at"),
                    ("LAST FAILURE", "last_failure_at"),
                    ("WHY", "last_failure"),
                ];
                Asked { question: Question::Destinations, look: Look::Table { columns, empty: "no destinations" } }
            }
        }
    }
}
