//! Defines the command `flowgate submissions`, which lists and shows accepted submissions.

use clap::{Args, Subcommand};

use super::AdminCall;
use crate::admin::{AdminRequest, ListFilter};
use crate::cli::args::{FlowFilter, ListOptions};
use crate::cli::output::OutputFormat;
use crate::domain::ids::{AgentName, SubmissionId};
use crate::domain::time::Timestamp;

/// List and show accepted submissions
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SubmissionsCommand {
    #[command(subcommand)]
    subcommand: Option<SubmissionsSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum SubmissionsSubcommand {
    /// List submissions, newest first
    List(ListArgs),
    /// Show a submission with all its data
    Show {
        /// Submission ID
        id: u64,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
    #[command(flatten)]
    flow_filter: FlowFilter,
    /// Only submissions in this state: accepted, done, conflict or dead. Default: all states
    #[arg(long)]
    state: Option<String>,
    /// Only submissions whose lead this agent has. Default: all submissions
    #[arg(long, value_name = "NAME", value_parser = AgentName::new)]
    agent: Option<AgentName>,
}

impl SubmissionsCommand {
    /// Converts the arguments to an admin call. A relative `--since` counts back from `now`.
    #[must_use]
    pub fn into_call(self, now: Timestamp) -> AdminCall {
        let ListArgs {
            options,
            flow_filter,
            state,
            agent,
        } = match self.subcommand {
            Some(SubmissionsSubcommand::Show { id }) => {
                return AdminCall::single(AdminRequest::Submission {
                    id: SubmissionId::new(id),
                });
            }
            Some(SubmissionsSubcommand::List(list)) => list,
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
            ("RECEIVED", "received_at"),
            ("FLOW", "flow"),
            ("CUSTOMER", "customer"),
            ("STATE", "state"),
            ("AGENT", "agent"),
            ("BOOKING", "booking_id"),
            ("DATA", "data"),
        ];
        AdminCall {
            request: AdminRequest::Submissions(filter),
            format: OutputFormat::Table {
                columns,
                empty: "no submissions",
            },
        }
    }
}
