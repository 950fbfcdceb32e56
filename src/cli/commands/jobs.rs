//! Defines the command `flowgate jobs`, which lists and shows background jobs.

use clap::{Args, Subcommand};

use super::AdminCall;
use crate::admin::{AdminRequest, ListFilter};
use crate::cli::args::{FlowFilter, ListOptions};
use crate::cli::output::OutputFormat;
use crate::domain::ids::JobId;
use crate::domain::time::Timestamp;

/// List and show background jobs
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct JobsCommand {
    #[command(subcommand)]
    subcommand: Option<JobsSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum JobsSubcommand {
    /// List jobs, newest first
    List(ListArgs),
    /// Show a job with its attempts
    Show {
        /// Job ID
        id: u64,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
    #[command(flatten)]
    flow_filter: FlowFilter,
    /// Only jobs in this state: scheduled, running, done, dead, discarded or expired. Default: all
    /// states
    #[arg(long)]
    state: Option<String>,
}

impl JobsCommand {
    /// Converts the arguments to an admin call. A relative `--since` counts back from `now`.
    #[must_use]
    pub fn into_call(self, now: Timestamp) -> AdminCall {
        let ListArgs {
            options,
            flow_filter,
            state,
        } = match self.subcommand {
            Some(JobsSubcommand::Show { id }) => {
                return AdminCall::single(AdminRequest::Job { id: JobId::new(id) });
            }
            Some(JobsSubcommand::List(list)) => list,
            None => self.list,
        };
        let filter = ListFilter {
            flow: flow_filter.flow,
            state,
            ..options.to_filter(now)
        };
        let columns = &[
            ("ID", "id"),
            ("KIND", "kind"),
            ("STATE", "state"),
            ("ATTEMPTS", "attempts"),
            ("DUE", "due_at"),
            ("SUBMISSION", "submission_id"),
            ("LAST ERROR", "last_error"),
        ];
        AdminCall {
            request: AdminRequest::Jobs(filter),
            format: OutputFormat::Table {
                columns,
                empty: "no jobs",
            },
        }
    }
}
