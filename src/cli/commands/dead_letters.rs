//! Defines the command `flowgate dead-letters`, which lists, retries and discards failed jobs. They
//! stay stored until an admin retries or discards them.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminCommand, AdminQuery, DeadLetterRow, JobSelector, ListFilter};
use crate::cli::args;
use crate::cli::confirmation::Question;
use crate::cli::output::{Column, TableRow};
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Timestamp;

impl TableRow for DeadLetterRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("ID", |row| json!(row.job.id)),
        ("KIND", |row| json!(row.job.kind)),
        ("DIED", |row| json!(row.died_at)),
        ("ATTEMPTS", |row| json!(row.job.attempts)),
        ("SUBMISSION", |row| json!(row.job.submission_id)),
        ("DESTINATION", |row| json!(row.destination)),
        ("EVENT", |row| json!(row.event)),
        ("REASON", |row| json!(row.reason)),
    ];
    const EMPTY: &'static str = "no dead letters";
}

impl FilteredRow for DeadLetterRow {
    const FILTERS: &'static [Filter] = &[Filter::Since, Filter::Flow, Filter::Delivery];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::DeadLetters;
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersVerb {
    /// List dead letters, newest first
    List(ListArgs<DeadLetterRow>),
    /// Show a dead letter with its whole payload
    Show {
        /// Job ID of the dead letter
        id: JobId,
    },
    /// Retry one dead letter, or many
    Retry {
        #[command(flatten)]
        selection: DeadLetterArgs,
        /// JSON to use in place of the stored message or body, which stays stored: JSON text, or a
        /// file that contains it. Default: the stored payload
        #[arg(long, value_name = "JSON|FILE", value_parser = args::parse_payload, conflicts_with = "all")]
        payload: Option<String>,
        /// Maximum rate of the retries: 10/s, 100/m or 1000/h. Default: all at once. All retries
        /// are scheduled now, within at most 7 days, and a restart does not change them
        #[arg(long, value_name = "RATE", value_parser = Rate::parse, conflicts_with = "id")]
        rate: Option<Rate>,
    },
    /// Discard one dead letter, or many. A discarded dead letter can't be retried
    Discard(DeadLetterArgs),
}

/// A single dead letter, or all that match the filters.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
pub(crate) struct DeadLetterArgs {
    /// Job ID of the dead letter
    id: Option<JobId>,
    /// Select all dead letters that match the filters
    #[arg(long)]
    all: bool,
    /// Only dead letters of this flow. Default: all flows
    #[arg(long, value_name = "NAME", value_parser = FlowName::new, conflicts_with = "id")]
    flow: Option<FlowName>,
    /// Only dead letters that failed since this time: a length (90m, 2h, 7d), a date (UTC) or an
    /// RFC 3339 time. Default: no limit
    #[arg(long, value_name = "WHEN", value_parser = args::parse_since, conflicts_with = "id")]
    since: Option<Timestamp>,
    /// Only deliveries to this destination. Default: all dead letters
    #[arg(long, value_name = "NAME", value_parser = DestinationName::new, conflicts_with = "id")]
    destination: Option<DestinationName>,
    /// Only deliveries of this event. Default: all dead letters
    #[arg(long, value_name = "EVENT", value_parser = args::parse_event, conflicts_with = "id")]
    event: Option<EventKind>,
    /// Change nothing. Show the number of selected dead letters and the first three
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    /// Do not ask for confirmation. A script that discards all needs this
    #[arg(long, conflicts_with_all = ["id", "dry_run"])]
    yes: bool,
}

impl DeadLetterArgs {
    fn needs_confirmation(&self) -> bool {
        self.all && !self.dry_run && !self.yes
    }

    fn into_selector(self, payload: Option<String>, rate: Option<Rate>) -> JobSelector {
        match self.id {
            Some(id) => JobSelector::One { id, payload },
            None => JobSelector::All {
                filter: ListFilter {
                    flow: self.flow,
                    since: self.since,
                    destination: self.destination,
                    event: self.event,
                    ..ListFilter::default()
                },
                dry_run: self.dry_run,
                rate,
            },
        }
    }
}

impl RowsVerb for DeadLettersVerb {
    type Row = DeadLetterRow;

    fn into_call(self) -> AdminCall {
        match self {
            Self::List(options) => options.into(),
            Self::Show { id } => AdminCall::record(AdminQuery::DeadLetter { id }),
            Self::Retry {
                selection,
                payload,
                rate,
            } => {
                let question = selection.needs_confirmation().then_some(Question {
                    action_and_objects: ["retry", "dead letters"],
                    count: |preview| preview.expired_messages.unwrap_or_default(),
                    consequence: "of them are messages to people and are older than `max_age` of their destination",
                    requires_yes_flag: false,
                });
                let selector = selection.into_selector(payload, rate);
                AdminCall::change_jobs(AdminCommand::RetryDeadLetters, selector, question)
            }
            Self::Discard(selection) => {
                let question = selection.needs_confirmation().then_some(Question {
                    action_and_objects: ["discard", "dead letters"],
                    count: |preview| preview.would_change,
                    consequence: "can't be retried afterwards",
                    requires_yes_flag: true,
                });
                let selector = selection.into_selector(None, None);
                AdminCall::change_jobs(AdminCommand::DiscardDeadLetters, selector, question)
            }
        }
    }
}
