//! `flowgate leads`: who has which, and why.

use clap::{Args, Subcommand};

use super::Asked;
use crate::admin::{Filter, Question};
use crate::cli::args::{OfFlow, Window};
use crate::cli::show::Look;
use crate::domain::ids::{AgentName, LeadId};
use crate::domain::time::Timestamp;

/// Leads, and who has them
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Leads {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, newest first
    List(List),
    /// Shows one, with why its agent has it: each agent that was looked at, its load, and why it was passed over
    #[command(visible_alias = "explain")]
    Show {
        /// Its number
        id: u64,
    },
    /// Closes one: its agent has room again
    Close {
        /// Its number
        id: u64,
    },
    /// Gives one to an agent, whatever their limit
    Assign {
        /// Its number
        id: u64,
        /// The agent
        #[arg(value_parser = AgentName::new)]
        agent: AgentName,
    },
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    of: OfFlow,
    /// open or closed
    #[arg(long)]
    state: Option<String>,
    /// Only those of this agent
    #[arg(long, value_name = "NAME", value_parser = AgentName::new)]
    agent: Option<AgentName>,
}

impl Leads {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, of, state, agent } = match self.verb {
            Some(Verb::Show { id }) => return Asked::whole(Question::Lead { id: LeadId::new(id) }),
            Some(Verb::Close { id }) => return Asked::whole(Question::CloseLead { id: LeadId::new(id) }),
            Some(Verb::Assign { id, agent }) => {
                return Asked::whole(Question::AssignLead { id: LeadId::new(id), agent });
            }
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let filter = Filter { flow: of.flow, state, agent, ..window.filter(now) };
        let columns = &[
            ("ID", "id"),
            ("CREATED", "created_at"),
            ("SUBMISSION", "submission_id"),
            ("TEAM", "team"),
            ("AGENT", "agent"),
            ("STATE", "state"),
            ("REASON", "reason"),
        ];
        Asked { question: Question::Leads(filter), look: Look::Table { columns, empty: "no leads" } }
    }
}
