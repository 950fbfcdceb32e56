//! `flowgate submissions`: what has come in.

use clap::{Args, Subcommand};

use super::Asked;
use crate::admin::{Filter, Question};
use crate::cli::args::{OfFlow, Window};
use crate::cli::show::Look;
use crate::domain::ids::{AgentName, SubmissionId};
use crate::domain::time::Timestamp;

/// Forms that were accepted
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Submissions {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, newest first
    List(List),
    /// Shows one, whole
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
    /// accepted, done, conflict or dead
    #[arg(long)]
    state: Option<String>,
    /// Only those whose lead this agent has
    #[arg(long, value_name = "NAME", value_parser = AgentName::new)]
    agent: Option<AgentName>,
}

impl Submissions {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, of, state, agent } = match self.verb {
            Some(Verb::Show { id }) => return Asked::whole(Question::Submission { id: SubmissionId::new(id) }),
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let filter = Filter { flow: of.flow, state, agent, ..window.filter(now) };
        let columns = &[
            ("ID", "id"),
            ("RECEIVED", "received_at"),
            ("FLOW", "flow"),
            ("USER", "user"),
            ("STATE", "state"),
            ("AGENT", "agent"),
            ("BOOKING", "booking_id"),
            ("DATA", "data"),
        ];
        Asked { question: Question::Submissions(filter), look: Look::Table { columns, empty: "no submissions" } }
    }
}
