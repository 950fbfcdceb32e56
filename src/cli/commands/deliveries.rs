//! Defines the command `flowgate deliveries`, which lists, shows and discards deliveries of events,
//! and shows the responses of destinations.

use clap::{ArgGroup, Args, Subcommand};

use super::AdminCall;
use crate::admin::{AdminRequest, JobSelector, ListFilter};
use crate::cli::args::{DeliveryFilter, FlowFilter, ListOptions};
use crate::cli::confirmation::Confirmation;
use crate::cli::output::OutputFormat;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::time::Timestamp;

/// List, show and discard deliveries of events to destinations
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DeliveriesCommand {
    #[command(subcommand)]
    subcommand: Option<DeliveriesSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum DeliveriesSubcommand {
    /// List deliveries, newest first
    List(ListArgs),
    /// Show a delivery with its body and the response to each attempt
    Show {
        /// Delivery ID
        id: u64,
    },
    /// Discard a waiting delivery, or all that wait for a destination. Discarded deliveries are
    /// never sent
    ///
    /// Use this for example after a destination was removed from the config. A delivery that is in
    /// flight may still arrive. Use `flowgate dead-letters discard` for dead letters.
    Discard(DeliveryArgs),
}

/// A single delivery, or all that wait for a destination.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
struct DeliveryArgs {
    /// Delivery ID
    id: Option<u64>,
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

impl DeliveryArgs {
    fn into_selector(self) -> JobSelector {
        if let Some(id) = self.id {
            return JobSelector::One {
                id: JobId::new(id),
                payload: None,
            };
        }
        let Self {
            destination,
            dry_run,
            ..
        } = self;
        JobSelector::All {
            filter: ListFilter {
                destination,
                ..ListFilter::default()
            },
            dry_run,
            rate: None,
        }
    }
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
    #[command(flatten)]
    flow_filter: FlowFilter,
    #[command(flatten)]
    delivery_filter: DeliveryFilter,
    /// Only deliveries in this state: scheduled, running, done, dead, discarded or expired.
    /// Default: all states
    #[arg(long)]
    state: Option<String>,
}

impl DeliveriesCommand {
    /// Returns the confirmation that the command needs. Returns `None` if the command needs none.
    #[must_use]
    pub fn confirmation(&self) -> Option<Confirmation> {
        let Some(DeliveriesSubcommand::Discard(selection)) = &self.subcommand else {
            return None;
        };
        let needs_confirmation = selection.all && !selection.dry_run && !selection.yes;
        needs_confirmation.then(|| Confirmation {
            dry_run: AdminRequest::DiscardDeliveries(
                DeliveryArgs {
                    dry_run: true,
                    ..selection.clone()
                }
                .into_selector(),
            ),
            action_and_objects: ["discard", "deliveries"],
            trigger: ("would_change", "will never be sent"),
            requires_yes_flag: true,
        })
    }

    /// Converts the arguments to an admin call. A relative `--since` counts back from `now`.
    #[must_use]
    pub fn into_call(self, now: Timestamp) -> AdminCall {
        let ListArgs {
            options,
            flow_filter,
            delivery_filter,
            state,
        } = match self.subcommand {
            Some(DeliveriesSubcommand::Show { id }) => {
                return AdminCall::single(AdminRequest::Delivery { id: JobId::new(id) });
            }
            Some(DeliveriesSubcommand::Discard(selection)) => {
                return AdminCall::single(AdminRequest::DiscardDeliveries(
                    selection.into_selector(),
                ));
            }
            Some(DeliveriesSubcommand::List(list)) => list,
            None => self.list,
        };
        let filter = ListFilter {
            flow: flow_filter.flow,
            destination: delivery_filter.destination,
            event: delivery_filter.event,
            state,
            ..options.to_filter(now)
        };
        let columns = &[
            ("ID", "id"),
            ("DESTINATION", "destination"),
            ("EVENT", "event"),
            ("SUBMISSION", "submission_id"),
            ("STATE", "state"),
            ("ATTEMPTS", "attempts"),
            ("STATUS", "status"),
            ("DUE", "due_at"),
            ("LAST ERROR", "last_error"),
        ];
        AdminCall {
            request: AdminRequest::Deliveries(filter),
            format: OutputFormat::Table {
                columns,
                empty: "no deliveries",
            },
        }
    }
}
