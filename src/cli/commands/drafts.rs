//! Defines the command `flowgate drafts`, which lists forms that customers began and did not
//! complete.

use clap::{Args, Subcommand};

use super::AdminCall;
use crate::admin::{AdminRequest, ListFilter};
use crate::cli::args::{FlowFilter, ListOptions};
use crate::cli::output::OutputFormat;
use crate::domain::time::Timestamp;

/// List forms that are begun and not completed
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DraftsCommand {
    #[command(subcommand)]
    subcommand: Option<DraftsSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum DraftsSubcommand {
    /// List drafts, the most recently changed first
    List(ListArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
    #[command(flatten)]
    flow_filter: FlowFilter,
    /// Only drafts in this state: open, or abandoned (unchanged for longer than `abandoned_after`
    /// of the flow). Default: both
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

impl DraftsCommand {
    /// Converts the arguments to an admin call. A relative `--since` counts back from `now`.
    #[must_use]
    pub fn into_call(self, now: Timestamp) -> AdminCall {
        let ListArgs {
            options,
            flow_filter,
            state,
        } = match self.subcommand {
            Some(DraftsSubcommand::List(list)) => list,
            None => self.list,
        };
        let filter = ListFilter {
            flow: flow_filter.flow,
            state,
            ..options.to_filter(now)
        };
        let columns = &[
            ("UPDATED", "updated_at"),
            ("FLOW", "flow"),
            ("CUSTOMER", "customer"),
            ("STATE", "state"),
            ("SCREEN", "screen"),
            ("DATA", "data"),
        ];
        AdminCall {
            request: AdminRequest::Drafts(filter),
            format: OutputFormat::Table {
                columns,
                empty: "no drafts",
            },
        }
    }
}
