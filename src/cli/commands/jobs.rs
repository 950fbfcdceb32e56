//! Defines the command `flowgate jobs`, which lists and shows background jobs.

use clap::Subcommand;
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminQuery, JobRow, ListFilter};
use crate::cli::output::{Column, TableRow};
use crate::domain::ids::JobId;

impl TableRow for JobRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("ID", |job| json!(job.id)),
        ("KIND", |job| json!(job.kind)),
        ("STATE", |job| json!(job.state)),
        ("ATTEMPTS", |job| json!(job.attempts)),
        ("DUE", |job| json!(job.due_at)),
        ("SUBMISSION", |job| json!(job.submission_id)),
        ("LAST ERROR", |job| json!(job.last_error)),
    ];
    const EMPTY: &'static str = "no jobs";
}

impl FilteredRow for JobRow {
    const FILTERS: &'static [Filter] = &[
        Filter::Since,
        Filter::Flow,
        Filter::State(
            "Only jobs in this state: scheduled, running, done, dead, discarded or expired. \
             Default: all states",
        ),
    ];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::Jobs;
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsVerb {
    /// List jobs, newest first
    List(ListArgs<JobRow>),
    /// Show a job with its attempts
    Show {
        /// Job ID
        id: JobId,
    },
}

impl RowsVerb for JobsVerb {
    type Row = JobRow;

    fn into_call(self) -> AdminCall {
        match self {
            Self::List(options) => options.into(),
            Self::Show { id } => AdminCall::record(AdminQuery::Job { id }),
        }
    }
}
