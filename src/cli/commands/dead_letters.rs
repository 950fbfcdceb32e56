//! Defines the command `flowgate dead-letters`, which lists, retries and discards failed jobs. They
//! stay stored until an admin retries or discards them.

use clap::{ArgGroup, Args, Subcommand};

use super::AdminCall;
use crate::admin::{AdminRequest, JobSelector, ListFilter};
use crate::cli::args::{self, DeliveryFilter, FlowFilter, ListOptions, Since};
use crate::cli::confirmation::Confirmation;
use crate::cli::output::OutputFormat;
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Timestamp;

/// List, retry and discard dead letters
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DeadLettersCommand {
    #[command(subcommand)]
    subcommand: Option<DeadLettersSubcommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum DeadLettersSubcommand {
    /// List dead letters, newest first
    List(ListArgs),
    /// Show a dead letter with its whole payload
    Show {
        /// Job ID of the dead letter
        id: u64,
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

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
    #[command(flatten)]
    flow_filter: FlowFilter,
    #[command(flatten)]
    delivery_filter: DeliveryFilter,
}

/// A single dead letter, or all that match the filters.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
struct DeadLetterArgs {
    /// Job ID of the dead letter
    id: Option<u64>,
    /// Select all dead letters that match the filters
    #[arg(long)]
    all: bool,
    /// Only dead letters of this flow. Default: all flows
    #[arg(long, value_name = "NAME", value_parser = FlowName::new, conflicts_with = "id")]
    flow: Option<FlowName>,
    /// Only dead letters that failed since this time: a length (90m, 2h, 7d), a date (UTC) or an
    /// RFC 3339 time. Default: no limit
    #[arg(long, value_name = "WHEN", value_parser = args::parse_since, conflicts_with = "id")]
    since: Option<Since>,
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
    /// Returns the dry run that must be confirmed before all selected dead letters change. Returns
    /// `None` if no confirmation is needed.
    fn preview(&self, now: Timestamp) -> Option<JobSelector> {
        let needs_confirmation = self.all && !self.dry_run && !self.yes;
        needs_confirmation.then(|| {
            Self {
                dry_run: true,
                ..self.clone()
            }
            .into_selector(None, None, now)
        })
    }

    fn into_selector(
        self,
        payload: Option<String>,
        rate: Option<Rate>,
        now: Timestamp,
    ) -> JobSelector {
        if let Some(id) = self.id {
            return JobSelector::One {
                id: JobId::new(id),
                payload,
            };
        }
        let options = ListOptions {
            limit: 0,
            since: self.since,
        };
        let Self {
            flow,
            destination,
            event,
            dry_run,
            ..
        } = self;
        JobSelector::All {
            filter: ListFilter {
                flow,
                destination,
                event,
                ..options.to_filter(now)
            },
            dry_run,
            rate,
        }
    }
}

impl DeadLettersCommand {
    /// Returns the confirmation that the command needs. Returns `None` if the command needs none.
    #[must_use]
    pub fn confirmation(&self, now: Timestamp) -> Option<Confirmation> {
        match &self.subcommand {
            Some(DeadLettersSubcommand::Discard(selection)) => selection.preview(now).map(|preview| Confirmation {
                dry_run: AdminRequest::DiscardDeadLetters(preview),
                action_and_objects: ["discard", "dead letters"],
                trigger: ("would_change", "can't be retried afterwards"),
                requires_yes_flag: true,
            }),
            Some(DeadLettersSubcommand::Retry { selection, .. }) => {
                selection.preview(now).map(|preview| Confirmation {
                    dry_run: AdminRequest::RetryDeadLetters(preview),
                    action_and_objects: ["retry", "dead letters"],
                    trigger: (
                        "expired_messages",
                        "of them are messages to people and are older than `max_age` of their destination",
                    ),
                    requires_yes_flag: false,
                })
            }
            Some(DeadLettersSubcommand::List(_) | DeadLettersSubcommand::Show { .. }) | None => None,
        }
    }

    /// Converts the arguments to an admin call. A relative `--since` counts back from `now`.
    #[must_use]
    pub fn into_call(self, now: Timestamp) -> AdminCall {
        let ListArgs {
            options,
            flow_filter,
            delivery_filter,
        } = match self.subcommand {
            Some(DeadLettersSubcommand::Show { id }) => {
                return AdminCall::single(AdminRequest::DeadLetter { id: JobId::new(id) });
            }
            Some(DeadLettersSubcommand::Retry {
                selection,
                payload,
                rate,
            }) => {
                return AdminCall::single(AdminRequest::RetryDeadLetters(
                    selection.into_selector(payload, rate, now),
                ));
            }
            Some(DeadLettersSubcommand::Discard(selection)) => {
                return AdminCall::single(AdminRequest::DiscardDeadLetters(
                    selection.into_selector(None, None, now),
                ));
            }
            Some(DeadLettersSubcommand::List(list)) => list,
            None => self.list,
        };
        let filter = ListFilter {
            flow: flow_filter.flow,
            destination: delivery_filter.destination,
            event: delivery_filter.event,
            ..options.to_filter(now)
        };
        let columns = &[
            ("ID", "id"),
            ("KIND", "kind"),
            ("DIED", "died_at"),
            ("ATTEMPTS", "attempts"),
            ("SUBMISSION", "submission_id"),
            ("DESTINATION", "destination"),
            ("EVENT", "event"),
            ("REASON", "reason"),
        ];
        AdminCall {
            request: AdminRequest::DeadLetters(filter),
            format: OutputFormat::Table {
                columns,
                empty: "no dead letters",
            },
        }
    }
}
