//! Defines the command `flowgate leads`, which lists, assigns and closes leads, and shows the
//! reasons of the assignments.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminCommand, AdminQuery, LeadRow, LeadSelection, ListFilter};
use crate::cli::args;
use crate::cli::confirmation::Question;
use crate::cli::output::{Column, TableRow};
use crate::domain::ids::{AgentName, FlowName, LeadId};
use crate::domain::time::Timestamp;

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
    /// Close one lead, or all open leads that match the filters. Each agent can then get other
    /// leads. A closed lead can't be opened again
    Close(CloseArgs),
    /// Assign a lead to an agent, even if the agent is at a limit
    Assign {
        /// Lead ID
        id: LeadId,
        /// Name of the new agent
        #[arg(value_parser = AgentName::new)]
        agent: AgentName,
    },
}

/// A single lead, or all open leads that match the filters.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["id", "all", "agent", "flow", "older_than"]))]
pub(crate) struct CloseArgs {
    /// Lead ID
    #[arg(conflicts_with_all = ["all", "agent", "flow", "older_than"])]
    id: Option<LeadId>,
    /// Select all open leads
    #[arg(long)]
    all: bool,
    /// Only leads of this agent. Default: all agents, and leads that wait for an agent
    #[arg(long, value_name = "NAME", value_parser = AgentName::new)]
    agent: Option<AgentName>,
    /// Only leads of this flow. Default: all flows
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    flow: Option<FlowName>,
    /// Only leads that were created at least this long ago, for example 12h or 30d. Default: all
    /// ages
    #[arg(long, value_name = "AGE", value_parser = args::parse_age)]
    older_than: Option<Timestamp>,
    /// Change nothing. Show the number of selected leads and the first three
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    /// Do not ask for confirmation. A script that closes many leads needs this
    #[arg(long, conflicts_with_all = ["id", "dry_run"])]
    yes: bool,
}

impl From<CloseArgs> for AdminCall {
    fn from(args: CloseArgs) -> Self {
        if let Some(id) = args.id {
            return Self::record(AdminCommand::CloseLead { id });
        }
        let selection = LeadSelection {
            agent: args.agent,
            flow: args.flow,
            created_before: args.older_than,
            dry_run: args.dry_run,
        };
        let dry_run = LeadSelection {
            dry_run: true,
            ..selection.clone()
        };
        let question = Question {
            action_and_objects: ["close", "leads"],
            count: |preview| preview.would_change,
            consequence: "can't be opened again",
            requires_yes_flag: true,
        };
        let call = Self::record(AdminCommand::CloseLeads(selection));
        if args.dry_run || args.yes {
            call
        } else {
            call.with_question(AdminCommand::CloseLeads(dry_run), question)
        }
    }
}

impl RowsVerb for LeadsVerb {
    type Row = LeadRow;

    fn into_call(self) -> AdminCall {
        match self {
            Self::List(options) => options.into(),
            Self::Show { id } => AdminCall::record(AdminQuery::Lead { id }),
            Self::Close(args) => args.into(),
            Self::Assign { id, agent } => AdminCall::record(AdminCommand::AssignLead { id, agent }),
        }
    }
}
