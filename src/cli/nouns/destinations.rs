//! `flowgate destinations`: who is told, how they do, and what an admin can do about it.

use clap::{Args, Subcommand};

use super::Asked;
use crate::admin::Question;
use crate::cli::args;
use crate::cli::show::Look;
use crate::domain::event::EventKind;
use crate::domain::ids::DestinationName;

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
    /// Sends one a signed test and shows what came back; no delivery comes of it
    Test {
        #[command(flatten)]
        which: Name,
        /// Send an example of this event, rather than a test; where the body is a template of one's own, an example is sent anyway
        #[arg(long, value_name = "EVENT", value_parser = args::event)]
        event: Option<EventKind>,
    },
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
            Verb::Test { which: Name { name }, event } => Asked::whole(Question::TestDestination { name, event }),
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
