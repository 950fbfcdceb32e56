//! `flowgate deliveries`: what the outside is told, and what it answered.

use clap::{Args, Subcommand};

use super::Asked;
use crate::admin::{Filter, Question};
use crate::cli::args::{OfFlow, ToOutside, Window};
use crate::cli::show::Look;
use crate::domain::ids::JobId;
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
    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, of, to, state } = match self.verb {
            Some(Verb::Show { id }) => return Asked::whole(Question::Delivery { id: JobId::new(id) }),
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
