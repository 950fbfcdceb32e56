//! `flowgate dead`: what could not be done, kept whole until somebody decides.

use clap::{ArgGroup, Args, Subcommand};

use super::Asked;
use crate::admin::{Filter, Question, Selection};
use crate::cli::args::{OfFlow, Window};
use crate::cli::show::Look;
use crate::domain::ids::{FlowName, JobId};
use crate::domain::time::Timestamp;

/// Dead letters
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Dead {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, newest first
    List(List),
    /// Shows one with all that it was to carry
    Show {
        /// The number of its job
        id: u64,
    },
    /// Runs one again, or many
    Retry {
        #[command(flatten)]
        which: Which,
        /// Run it with this message (JSON) in place of its own, which is kept beside it
        #[arg(long, value_name = "JSON", conflicts_with = "all")]
        payload: Option<String>,
    },
    /// Gives one up, or many
    Discard(Which),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    of: OfFlow,
}

/// One, or all that a filter lets through.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
struct Which {
    /// The number of its job
    id: Option<u64>,
    /// All of them, or those that the filters let through
    #[arg(long)]
    all: bool,
    /// Only those of this flow
    #[arg(long, value_name = "NAME", value_parser = FlowName::new, conflicts_with = "id")]
    flow: Option<FlowName>,
    /// Only those that died since: 90m, 2h, 7d, a date (UTC), or a point in time
    #[arg(long, value_name = "WHEN", value_parser = crate::cli::args::since, conflicts_with = "id")]
    since: Option<crate::cli::args::Since>,
    /// Only say how many there are, and show the first ones
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
}

impl Which {
    fn selection(self, payload: Option<String>, now: Timestamp) -> Selection {
        if let Some(id) = self.id {
            return Selection::One { id: JobId::new(id), payload };
        }
        let window = Window { limit: 0, since: self.since };
        Selection::All { filter: Filter { flow: self.flow, ..window.filter(now) }, dry_run: self.dry_run }
    }
}

impl Dead {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, of } = match self.verb {
            Some(Verb::Show { id }) => return Asked::whole(Question::DeadLetter { id: JobId::new(id) }),
            Some(Verb::Retry { which, payload }) => {
                return Asked::whole(Question::Retry(which.selection(payload, now)));
            }
            Some(Verb::Discard(which)) => return Asked::whole(Question::Discard(which.selection(None, now))),
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let filter = Filter { flow: of.flow, ..window.filter(now) };
        let columns = &[
            ("ID", "id"),
            ("KIND", "kind"),
            ("DIED", "died_at"),
            ("ATTEMPTS", "attempts"),
            ("SUBMISSION", "submission_id"),
            ("REASON", "reason"),
        ];
        Asked { question: Question::DeadLetters(filter), look: Look::Table { columns, empty: "no dead letters" } }
    }
}
