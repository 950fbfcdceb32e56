//! `flowgate drafts`: forms that somebody has begun and not finished.

use clap::{Args, Subcommand};

use super::Asked;
use crate::admin::{Filter, Question};
use crate::cli::args::{OfFlow, Window};
use crate::cli::show::Look;
use crate::domain::time::Timestamp;

/// Forms that are begun and not finished
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Drafts {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, the one that changed last first
    List(List),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    of: OfFlow,
    /// Only those in this state: open, or abandoned (still for longer than `abandoned_after` of their flow)
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

impl Drafts {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, of, state } = match self.verb {
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let filter = Filter { flow: of.flow, state, ..window.filter(now) };
        let columns = &[
            ("UPDATED", "updated_at"),
            ("FLOW", "flow"),
            ("USER", "user"),
            ("STATE", "state"),
            ("SCREEN", "screen"),
            ("DATA", "data"),
        ];
        Asked { question: Question::Drafts(filter), look: Look::Table { columns, empty: "no drafts" } }
    }
}
