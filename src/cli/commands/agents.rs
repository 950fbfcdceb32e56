//! Defines the command `flowgate agents`, which lists and changes sales agents, their weights and
//! their limits.

use clap::{Args, Subcommand};
use jiff::civil::Date;

use super::AdminCall;
use crate::admin::{AdminRequest, AgentSettings, ListFilter};
use crate::cli::args::parse_date;
use crate::cli::output::OutputFormat;
use crate::domain::ids::{AgentName, TeamName};

/// List and change sales agents
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AgentsCommand {
    #[command(subcommand)]
    subcommand: Option<AgentsSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum AgentsSubcommand {
    /// List agents, newest first
    List(ListArgs),
    /// Add an agent
    Add {
        #[command(flatten)]
        agent: AgentArg,
        /// Team whose leads the agent gets
        #[arg(long, value_parser = TeamName::new)]
        team: TeamName,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Change an agent. Settings that are not given stay unchanged
    Set {
        #[command(flatten)]
        agent: AgentArg,
        /// New team of the agent. Default: unchanged
        #[arg(long, value_parser = TeamName::new)]
        team: Option<TeamName>,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Stop new leads for an agent until `resume`. Open leads stay with the agent
    Pause(AgentArg),
    /// Give new leads to an agent again
    Resume(AgentArg),
    /// Stop new leads for an agent from one day to another. The absence ends automatically
    Absent {
        #[command(flatten)]
        agent: AgentArg,
        /// First day of the absence (UTC), for example 2026-11-24
        #[arg(value_parser = parse_date)]
        from: Date,
        /// Last day of the absence (UTC), included
        #[arg(value_parser = parse_date)]
        to: Date,
    },
    /// Remove an agent. Other agents get the open leads: 256 at once, the rest within seconds
    Remove(AgentArg),
}

#[derive(Debug, Args)]
struct AgentArg {
    /// Agent name
    #[arg(value_parser = AgentName::new)]
    name: AgentName,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Maximum number of rows (0 = no limit)
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Only this agent. Default: all agents
    #[arg(long, value_name = "NAME", value_parser = AgentName::new)]
    agent: Option<AgentName>,
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// Share of the leads relative to other agents, 1 to 1000. Default: 1 for a new agent, else
    /// unchanged
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Maximum number of open leads (0 = no limit). Default: 0 for a new agent, else unchanged
    #[arg(long, value_name = "N")]
    max: Option<u32>,
    /// Maximum number of leads per day (UTC) (0 = no limit). Default: 0 for a new agent, else
    /// unchanged
    #[arg(long, value_name = "N")]
    max_per_day: Option<u32>,
}

impl From<SettingsArgs> for AgentSettings {
    fn from(
        SettingsArgs {
            weight,
            max,
            max_per_day,
        }: SettingsArgs,
    ) -> Self {
        Self {
            weight,
            max_leads: max,
            max_leads_per_day: max_per_day,
        }
    }
}

impl AgentsCommand {
    /// Converts the arguments to an admin call.
    #[must_use]
    pub fn into_call(self) -> AdminCall {
        AdminCall::single(match self.subcommand {
            None => return self.list.into_call(),
            Some(AgentsSubcommand::List(list)) => return list.into_call(),
            Some(AgentsSubcommand::Add {
                agent,
                team,
                settings,
            }) => AdminRequest::AddAgent {
                name: agent.name,
                team,
                settings: settings.into(),
            },
            Some(AgentsSubcommand::Set {
                agent,
                team,
                settings,
            }) => AdminRequest::SetAgent {
                name: agent.name,
                team,
                settings: settings.into(),
            },
            Some(AgentsSubcommand::Pause(agent)) => AdminRequest::PauseAgent { name: agent.name },
            Some(AgentsSubcommand::Resume(agent)) => AdminRequest::ResumeAgent { name: agent.name },
            Some(AgentsSubcommand::Absent { agent, from, to }) => AdminRequest::SetAgentAbsence {
                name: agent.name,
                from,
                to,
            },
            Some(AgentsSubcommand::Remove(agent)) => AdminRequest::RemoveAgent { name: agent.name },
        })
    }
}

impl ListArgs {
    fn into_call(self) -> AdminCall {
        let columns = &[
            ("NAME", "name"),
            ("TEAM", "team"),
            ("ACTIVE", "active"),
            ("WEIGHT", "weight"),
            ("LEADS", "current_leads"),
            ("MAX", "max_leads"),
            ("TOTAL", "total_leads"),
            ("UNAVAILABLE", "unavailable_reason"),
        ];
        let empty = "no agents: `flowgate agents add NAME --team TEAM` adds one";
        let filter = ListFilter {
            agent: self.agent,
            limit: self.limit,
            ..ListFilter::default()
        };
        AdminCall {
            request: AdminRequest::Agents(filter),
            format: OutputFormat::Table { columns, empty },
        }
    }
}
