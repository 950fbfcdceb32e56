//! Defines the command `flowgate submissions`, which lists and shows accepted submissions.

use clap::Subcommand;
use serde_json::{Value, json};

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminQuery, ListFilter, SubmissionRow};
use crate::cli::output::{Column, TableRow};
use crate::domain::contact::FormContact;
use crate::domain::delivery::message::display_value;
use crate::domain::ids::SubmissionId;
use crate::domain::truncation::truncate_chars;

impl TableRow for SubmissionRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("ID", |submission| json!(submission.id)),
        ("RECEIVED", |submission| json!(submission.received_at)),
        ("FLOW", |submission| json!(submission.flow)),
        ("CUSTOMER", |submission| json!(submission.customer)),
        ("NAME", |submission| json!(submission.name)),
        ("PHONE", |submission| json!(submission.phone)),
        ("STATE", |submission| json!(submission.state)),
        ("AGENT", |submission| json!(submission.agent)),
        ("BOOKING", |submission| json!(submission.booking_id)),
        ("ANSWERS", |submission| first_answers(&submission.data)),
    ];
    const EMPTY: &'static str = "no submissions";
}

/// Maximum number of answers in a table, and characters of each.
const ANSWERS_SHOWN: (usize, usize) = (3, 24);

/// Returns the first answers without name and phone number, which have columns of their own.
fn first_answers(data: &Value) -> Value {
    let Some(answers) = data.as_object() else {
        return data.clone();
    };
    let is_shown =
        |(key, value): &(&String, &Value)| !value.is_null() && !FormContact::is_contact_field(key);
    let mut shown = answers.iter().filter(is_shown);
    let (count, chars) = ANSWERS_SHOWN;
    let first = shown.by_ref().take(count).map(|(key, value)| {
        let value = display_value(value);
        format!("{key}: {}", truncate_chars(&value, chars))
    });
    let mut text = first.collect::<Vec<_>>().join(", ");
    if shown.next().is_some() {
        text.push_str(", …");
    }
    json!(text)
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
