//! Defines the command `flowgate leads`, which lists, assigns and closes leads, and shows the
//! reasons of the assignments.

use clap::{Args, Subcommand};

use super::AdminCall;
use crate::admin::{AdminRequest, ListFilter};
use crate::cli::args::{FlowFilter, ListOptions};
use crate::cli::output::OutputFormat;
use crate::domain::ids::{AgentName, LeadId};
use crate::domain::time::Timestamp;

/// List, assign and close leads
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LeadsCommand {
    #[command(subcommand)]
    subcommand: Option<LeadsSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum LeadsSubcommand {
    /// List leads, newest first
    List(ListArgs),
    /// Show a lead and why its agent has it: each candidate, its load, and the reason if it was not
    /// chosen
    #[command(visible_alias = "explain")]
    Show {
        /// Lead ID
        id: u64,
    },
    /// Close a lead. Its agent can get another one
    Close {
        /// Lead ID
        id: u64,
    },
    /// Assign a lead to an agent, even if the agent is at a limit
    Assign {
        /// Lead ID
        id: u64,
        /// Name of the new agent
        #[arg(value_parser = AgentName::new)]
        agent: AgentName,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
    #[command(flatten)]
    flow_filter: FlowFilter,
    /// Only leads in this state: open or closed. Default: both
    #[arg(long)]
    state: Option<String>,
    /// Only leads of this agent. Default: all agents
    #[arg(long, value_name = "NAME", value_parser = AgentName::new)]
    agent: Option<AgentName>,
}

impl LeadsCommand {
    /// Converts the arguments to an admin call. A relative `--since` counts back from `now`.
    #[must_use]
    pub fn into_call(self, now: Timestamp) -> AdminCall {
        let ListArgs {
            options,
            flow_filter,
            state,
            agent,
        } = match self.subcommand {
            Some(LeadsSubcommand::Show { id }) => {
                return AdminCall::single(AdminRequest::Lead {
                    id: LeadId::new(id),
                });
            }
            Some(LeadsSubcommand::Close { id }) => {
                return AdminCall::single(AdminRequest::CloseLead {
                    id: LeadId::new(id),
                });
            }
            Some(LeadsSubcommand::Assign { id, agent }) => {
                return AdminCall::single(AdminRequest::AssignLead {
                    id: LeadId::new(id),
                    agent,
                });
            }
            Some(LeadsSubcommand::List(list)) => list,
            None => self.list,
        };
        let filter = ListFilter {
            flow: flow_filter.flow,
            state,
            agent,
            ..options.to_filter(now)
        };
        let columns = &[
            ("ID", "id"),
            ("CREATED", "created_at"),
            ("SUBMISSION", "submission_id"),
            ("TEAM", "team"),
            ("AGENT", "agent"),
            ("STATE", "state"),
            ("REASON", "reason"),
        ];
        AdminCall {
            request: AdminRequest::Leads(filter),
            format: OutputFormat::Table {
                columns,
                empty: "no leads",
            },
        }
    }
}
