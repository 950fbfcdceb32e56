//! Defines the command `flowgate submissions`, which lists and shows accepted submissions.

use clap::Subcommand;
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminQuery, ListFilter, SubmissionRow};
use crate::cli::output::{Column, TableRow};
use crate::domain::ids::SubmissionId;

impl TableRow for SubmissionRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("ID", |submission| json!(submission.id)),
        ("RECEIVED", |submission| json!(submission.received_at)),
        ("FLOW", |submission| json!(submission.flow)),
        ("CUSTOMER", |submission| json!(submission.customer)),
        ("STATE", |submission| json!(submission.state)),
        ("AGENT", |submission| json!(submission.agent)),
        ("BOOKING", |submission| json!(submission.booking_id)),
        ("DATA", |submission| submission.data.clone()),
    ];
    const EMPTY: &'static str = "no submissions";
}

impl FilteredRow for SubmissionRow {
    const FILTERS: &'static [Filter] = &[
        Filter::Since,
        Filter::Flow,
        Filter::State(
            "Only submissions in this state: accepted, done, conflict or dead. Default: all states",
        ),
        Filter::Agent("Only submissions whose lead this agent has. Default: all submissions"),
    ];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::Submissions;
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubmissionsVerb {
    /// List submissions, newest first
    List(ListArgs<SubmissionRow>),
    /// Show a submission with all its data
    Show {
        /// Submission ID
        id: SubmissionId,
    },
}

impl RowsVerb for SubmissionsVerb {
    type Row = SubmissionRow;

    fn into_call(self) -> AdminCall {
        match self {
            Self::List(options) => options.into(),
            Self::Show { id } => AdminCall::record(AdminQuery::Submission { id }),
        }
    }
}
