//! `flowgate deliveries`: what the outside is told, and what it answered.

use clap::{ArgGroup, Args, Subcommand};

use super::Asked;
use crate::admin::{Filter, Question, Selection};
use crate::cli::args::{OfFlow, ToOutside, Window};
use crate::cli::confirm::Consent;
use crate::cli::show::Look;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::time::Timestamp;

/// What destinations are told, and what they answered
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Deliveries {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, newest first
    List(List),
    /// Shows one: what is sent, and what came back from each attempt
    Show {
        /// Its number
        id: u64,
    },
    /// Gives one up that waits, or all that wait for a destination: they are never sent
    ///
    /// For a destination that is gone from the config, say. One that is under way just then may still arrive. Dead letters are
    /// given up by `flowgate dead discard`.
    Discard(Which),
}

/// One, or all that wait for a destination.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
struct Which {
    /// Its number
    id: Option<u64>,
    /// All that wait for --destination
    #[arg(long, requires = "destination")]
    all: bool,
    /// For this destination, whether the config has it or not
    #[arg(long, value_name = "NAME", value_parser = DestinationName::new, conflicts_with = "id")]
    destination: Option<DestinationName>,
    /// Only say how many there are, and show the first ones
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    /// Don't ask; a script that gives all up needs it
    #[arg(long, conflicts_with_all = ["id", "dry_run"])]
    yes: bool,
}

impl Which {
    fn selection(self) -> Selection {
        if let Some(id) = self.id {
            return Selection::One { id: JobId::new(id), payload: None };
        }
        let Self { destination, dry_run, .. } = self;
        Selection::All { filter: Filter { destination, ..Filter::default() }, dry_run, rate: None }
    }
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    of: OfFlow,
    #[command(flatten)]
    to: ToOutside,
    /// scheduled, running, done, dead, discarded or expired
    #[arg(long)]
    state: Option<String>,
}

impl Deliveries {
    /// What must be agreed to first, if anything.
    #[must_use]
    pub fn consent(&self) -> Option<Consent> {
        let Some(Verb::Discard(which)) = &self.verb else { return None };
        let asks = which.all && !which.dry_run && !which.yes;
        asks.then(|| Consent {
            dry_run: Question::DiscardDeliveries(Which { dry_run: true, ..which.clone() }.selection()),
            words: ["discard", "deliveries"],
            cause: ("would_change", "are never sent afterwards"),
            strict: true,
        })
    }

    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, of, to, state } = match self.verb {
            Some(Verb::Show { id }) => return Asked::whole(Question::Delivery { id: JobId::new(id) }),
            Some(Verb::Discard(which)) => return Asked::whole(Question::DiscardDeliveries(which.selection())),
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let filter =
            Filter { flow: of.flow, destination: to.destination, event: to.event, state, ..window.filter(now) };
        let columns = &[
            ("ID", "id"),
            ("DESTINATION", "destination"),
            ("EVENT", "event"),
            ("SUBMISSION", "submission_id"),
            ("STATE", "state"),
            ("ATTEMPTS", "attempts"),
            ("STATUS", "status"),
            ("DUE", "due_at"),
            ("LAST ERROR", "last_error"),
        ];
        Asked { question: Question::Deliveries(filter), look: Look::Table { columns, empty: "no deliveries" } }
    }
}
