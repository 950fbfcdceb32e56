//! `flowgate jobs`: the work behind the submissions.

use clap::{Args, Subcommand};

use super::Asked;
use crate::admin::{Filter, Question};
use crate::cli::args::{OfFlow, Window};
use crate::cli::show::Look;
use crate::domain::ids::JobId;
use crate::domain::time::Timestamp;

/// Background work
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Jobs {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, newest first
    List(List),
    /// Shows one with its attempts
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
    /// scheduled, running, done, dead, discarded or expired
    #[arg(long)]
    state: Option<String>,
}

impl Jobs {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, of, state } = match self.verb {
            Some(Verb::Show { id }) => return Asked::whole(Question::Job { id: JobId::new(id) }),
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let filter = Filter { flow: of.flow, state, ..window.filter(now) };
        let columns = &[
            ("ID", "id"),
            ("KIND", "kind"),
            ("STATE", "state"),
            ("ATTEMPTS", "attempts"),
            ("DUE", "due_at"),
            ("SUBMISSION", "submission_id"),
            ("LAST ERROR", "last_error"),
        ];
        Asked { question: Question::Jobs(filter), look: Look::Table { columns, empty: "no jobs" } }
    }
}
