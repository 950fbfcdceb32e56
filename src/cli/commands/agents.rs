//! Defines the command `flowgate agents`, which lists and changes sales agents, their weights and
//! their limits.

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde_json::json;

use super::AdminCall;
use super::calendars::FeedOptions;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminCommand, AdminQuery, AgentRow, AgentSettings, ListFilter};
use crate::cli::args::parse_date;
use crate::cli::output::{Column, TableRow};
use crate::domain::calendar_feed::FeedTarget;
use crate::domain::ids::{AgentName, TeamName};

impl TableRow for AgentRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("NAME", |agent| json!(agent.name)),
        ("TEAM", |agent| json!(agent.team)),
        ("ACTIVE", |agent| json!(agent.active)),
        ("WEIGHT", |agent| json!(agent.weight)),
        ("LEADS", |agent| json!(agent.current_leads)),
        ("MAX", |agent| json!(agent.max_leads)),
        ("TOTAL", |agent| json!(agent.total_leads)),
        ("UNAVAILABLE", |agent| json!(agent.unavailable_reason)),
    ];
    const EMPTY: &'static str = "no agents: `flowgate agents add NAME --team TEAM` adds one";
}

impl FilteredRow for AgentRow {
    const FILTERS: &'static [Filter] = &[Filter::Agent("Only this agent. Default: all agents")];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::Agents;
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsVerb {
    /// List agents, newest first
    List(ListArgs<AgentRow>),
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
        /// First day of the absence, for example 2026-11-24, in the time zone of the business
        /// (`timezone` in the config)
        #[arg(value_parser = parse_date)]
        from: Date,
        /// Last day of the absence, included
        #[arg(value_parser = parse_date)]
        to: Date,
    },
    /// Make a secret address under which calendar programs read the bookings of an agent
    ///
    /// The feed contains the bookings whose lead the agent has. The command prints the path once.
    /// Put the public address of the server in front. Whoever has the address can read the names
    /// and answers of customers. The previous address of the agent becomes invalid.
    Feed {
        #[command(flatten)]
        agent: AgentArg,
        #[command(flatten)]
        options: FeedOptions,
    },
    /// Remove an agent. Other agents get the open leads: up to 256 immediately, the rest
    /// within seconds
    Remove(AgentArg),
}

#[derive(Debug, Args)]
pub(crate) struct AgentArg {
    /// Agent name
    #[arg(value_parser = AgentName::new)]
    name: AgentName,
}

#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// Share of the leads relative to other agents, 1 to 1000. Default: 1 for a new agent, else
    /// unchanged
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Maximum number of open leads (0 = no limit). Default: 0 for a new agent, else unchanged
    #[arg(long, value_name = "N")]
    max: Option<u32>,
    /// Maximum number of leads per day, in the time zone of the business (0 = no limit). Default: 0
    /// for a new agent, else unchanged
    #[arg(long, value_name = "N")]
    max_per_day: Option<u32>,
}

impl From<SettingsArgs> for AgentSettings {
    fn from(args: SettingsArgs) -> Self {
        Self {
            weight: args.weight,
            max_leads: args.max,
            max_leads_per_day: args.max_per_day,
        }
    }
}

impl RowsVerb for AgentsVerb {
    type Row = AgentRow;

    fn into_call(self) -> AdminCall {
        AdminCall::record(match self {
            Self::List(options) => return options.into(),
            Self::Add {
                agent: AgentArg { name },
                team,
                settings,
            } => AdminCommand::AddAgent {
                name,
                team,
                settings: settings.into(),
            },
            Self::Set {
                agent: AgentArg { name },
                team,
                settings,
            } => AdminCommand::SetAgent {
                name,
                team,
                settings: settings.into(),
            },
            Self::Pause(AgentArg { name }) => AdminCommand::PauseAgent { name },
            Self::Resume(AgentArg { name }) => AdminCommand::ResumeAgent { name },
            Self::Absent {
                agent: AgentArg { name },
                from,
                to,
            } => AdminCommand::SetAgentAbsence { name, from, to },
            Self::Feed {
                agent: AgentArg { name },
                options,
            } => return options.into_call(FeedTarget::Agent(name)),
            Self::Remove(AgentArg { name }) => AdminCommand::RemoveAgent { name },
        })
    }
}
