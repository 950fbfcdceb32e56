//! Defines the command `flowgate deliveries`, which lists, shows and discards deliveries of events,
//! and shows the responses of destinations.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminCommand, AdminQuery, DeliveryRow, JobSelector, ListFilter};
use crate::cli::confirmation::Question;
use crate::cli::output::{Column, TableRow};
use crate::domain::ids::{DestinationName, JobId};

impl TableRow for DeliveryRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("ID", |delivery| json!(delivery.id)),
        ("DESTINATION", |delivery| json!(delivery.destination)),
        ("EVENT", |delivery| json!(delivery.event)),
        ("SUBMISSION", |delivery| json!(delivery.submission_id)),
        ("STATE", |delivery| json!(delivery.state)),
        ("ATTEMPTS", |delivery| json!(delivery.attempts)),
        ("STATUS", |delivery| json!(delivery.status)),
        ("DUE", |delivery| json!(delivery.due_at)),
        ("LAST ERROR", |delivery| json!(delivery.last_error)),
    ];
    const EMPTY: &'static str = "no deliveries";
}

impl FilteredRow for DeliveryRow {
    const FILTERS: &'static [Filter] = &[
        Filter::Since,
        Filter::Flow,
        Filter::Delivery,
        Filter::State(
            "Only deliveries in this state: scheduled, running, done, dead, discarded or expired. \
             Default: all states",
        ),
    ];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::Deliveries;
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeliveriesVerb {
    /// List deliveries, newest first
    List(ListArgs<DeliveryRow>),
    /// Show a delivery with its body and the response to each attempt
    Show {
        /// Delivery ID
        id: JobId,
    },
    /// Discard a waiting delivery, or all that wait for a destination. Discarded deliveries are
    /// never sent
    ///
    /// Use this for example after a destination was removed from the config. A delivery that is in
    /// flight may still arrive. Use `flowgate dead-letters discard` for dead letters.
    Discard(DeliveryArgs),
}

/// A single delivery, or all that wait for a destination.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
pub(crate) struct DeliveryArgs {
    /// Delivery ID
    id: Option<JobId>,
    /// Select all deliveries that wait for --destination
    #[arg(long, requires = "destination")]
    all: bool,
    /// Destination of the deliveries (required with --all). The config may no longer contain it
    #[arg(long, value_name = "NAME", value_parser = DestinationName::new, conflicts_with = "id")]
    destination: Option<DestinationName>,
    /// Change nothing. Show the number of selected deliveries and the first three
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    /// Do not ask for confirmation. A script that discards all needs this
    #[arg(long, conflicts_with_all = ["id", "dry_run"])]
    yes: bool,
}

impl From<DeliveryArgs> for AdminCall {
    fn from(args: DeliveryArgs) -> Self {
        let needs_confirmation = args.all && !args.dry_run && !args.yes;
        let question = needs_confirmation.then_some(Question {
            action_and_objects: ["discard", "deliveries"],
            count: |preview| preview.would_change,
            consequence: "will never be sent",
            requires_yes_flag: true,
        });
        let selector = match args.id {
            Some(id) => JobSelector::One { id, payload: None },
            None => JobSelector::All {
                filter: ListFilter {
                    destination: args.destination,
                    ..ListFilter::default()
                },
                dry_run: args.dry_run,
                rate: None,
            },
        };
        Self::change_jobs(AdminCommand::DiscardDeliveries, selector, question)
    }
}

impl RowsVerb for DeliveriesVerb {
    type Row = DeliveryRow;

    fn into_call(self) -> AdminCall {
        match self {
            Self::List(options) => options.into(),
            Self::Show { id } => AdminCall::record(AdminQuery::Delivery { id }),
            Self::Discard(selection) => selection.into(),
        }
    }
}
