//! Defines the command `flowgate leads`, which lists, assigns and closes leads, and shows the
//! reasons of the assignments.

use clap::Subcommand;
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminCommand, AdminQuery, LeadRow, ListFilter};
use crate::cli::output::{Column, TableRow};
use crate::domain::ids::{AgentName, LeadId};

impl TableRow for LeadRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("ID", |lead| json!(lead.id)),
        ("CREATED", |lead| json!(lead.created_at)),
        ("SUBMISSION", |lead| json!(lead.submission_id)),
        ("TEAM", |lead| json!(lead.team)),
        ("AGENT", |lead| json!(lead.agent)),
        ("STATE", |lead| json!(lead.state)),
        ("REASON", |lead| json!(lead.reason)),
    ];
    const EMPTY: &'static str = "no leads";
}

impl FilteredRow for LeadRow {
    const FILTERS: &'static [Filter] = &[
        Filter::Since,
        Filter::Flow,
        Filter::State("Only leads in this state: open or closed. Default: both"),
        Filter::Agent("Only leads of this agent. Default: all agents"),
    ];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::Leads;
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeadsVerb {
    /// List leads, newest first
    List(ListArgs<LeadRow>),
    /// Show a lead and why its agent has it: each candidate, its load, and the reason if it was not
    /// chosen
    #[command(visible_alias = "explain")]
    Show {
        /// Lead ID
        id: LeadId,
    },
    /// Close a lead. Its agent can get another one
    Close {
        /// Lead ID
        id: LeadId,
    },
    /// Assign a lead to an agent, even if the agent is at a limit
    Assign {
        /// Lead ID
        id: LeadId,
        /// Name of the new agent
        #[arg(value_parser = AgentName::new)]
        agent: AgentName,
    },
}

impl RowsVerb for LeadsVerb {
    type Row = LeadRow;

    fn into_call(self) -> AdminCall {
        match self {
            Self::List(options) => options.into(),
            Self::Show { id } => AdminCall::record(AdminQuery::Lead { id }),
            Self::Close { id } => AdminCall::record(AdminCommand::CloseLead { id }),
            Self::Assign { id, agent } => AdminCall::record(AdminCommand::AssignLead { id, agent }),
        }
    }
}
