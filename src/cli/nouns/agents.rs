//! `flowgate agents`: who takes leads, and how many.

use clap::{Args, Subcommand};
use jiff::civil::Date;

use super::Asked;
use crate::admin::{AgentSettings, Filter, Question};
use crate::cli::args::date;
use crate::cli::show::Look;
use crate::domain::ids::{AgentName, TeamName};

/// Sales agents
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Agents {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them
    List(List),
    /// Adds one
    Add {
        #[command(flatten)]
        who: Who,
        /// The team whose leads they take
        #[arg(long, value_parser = TeamName::new)]
        team: TeamName,
        #[command(flatten)]
        settings: Settings,
    },
    /// Changes one; what is left out stays
    Set {
        #[command(flatten)]
        who: Who,
        /// Another team
        #[arg(long, value_parser = TeamName::new)]
        team: Option<TeamName>,
        #[command(flatten)]
        settings: Settings,
    },
    /// No new leads until resumed
    Pause(Who),
    /// New leads again
    Resume(Who),
    /// No new leads from one day to another
    Absent {
        #[command(flatten)]
        who: Who,
        /// The first day (UTC)
        #[arg(value_parser = date)]
        from: Date,
        /// The last day (UTC)
        #[arg(value_parser = date)]
        to: Date,
    },
    /// Removes one; their open leads go to others: 256 at once, the rest within seconds
    Remove(Who),
}

#[derive(Debug, Args)]
struct Who {
    /// The agent
    #[arg(value_parser = AgentName::new)]
    name: AgentName,
}

#[derive(Debug, Args)]
struct List {
    /// Rows at the most; 0: all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Only this one
    #[arg(long, value_name = "NAME", value_parser = AgentName::new)]
    agent: Option<AgentName>,
}

#[derive(Debug, Args)]
struct Settings {
    /// Share of the leads, 1 to 1000; 1 unless given
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Open leads at the most; 0: no limit
    #[arg(long, value_name = "N")]
    max: Option<u32>,
    /// Leads in one day (UTC) at the most; 0: no limit
    #[arg(long, value_name = "N")]
    max_per_day: Option<u32>,
}

impl From<Settings> for AgentSettings {
    fn from(Settings { weight, max, max_per_day }: Settings) -> Self {
        Self { weight, max, max_per_day }
    }
}

impl Agents {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self) -> Asked {
        Asked::whole(match self.verb {
            None => return self.list.asked(),
            Some(Verb::List(list)) => return list.asked(),
            Some(Verb::Add { who, team, settings }) => {
                Question::AddAgent { name: who.name, team, settings: settings.into() }
            }
            Some(Verb::Set { who, team, settings }) => {
                Question::SetAgent { name: who.name, team, settings: settings.into() }
            }
            Some(Verb::Pause(who)) => Question::PauseAgent { name: who.name },
            Some(Verb::Resume(who)) => Question::ResumeAgent { name: who.name },
            Some(Verb::Absent { who, from, to }) => Question::AgentAbsent { name: who.name, from, to },
            Some(Verb::Remove(who)) => Question::RemoveAgent { name: who.name },
        })
    }
}

impl List {
    fn asked(self) -> Asked {
        let columns = &[
            ("NAME", "name"),
            ("TEAM", "team"),
            ("ACTIVE", "active"),
            ("WEIGHT", "weight"),
            ("LEADS", "current_leads"),
            ("MAX", "max_leads"),
            ("TOTAL", "total_leads"),
            ("NOT FREE BECAUSE", "obstacle"),
        ];
        let empty = "no agents: `flowgate agents add NAME --team TEAM` adds one";
        let filter = Filter { agent: self.agent, limit: self.limit, ..Filter::default() };
        Asked { question: Question::Agents(filter), look: Look::Table { columns, empty } }
    }
}
