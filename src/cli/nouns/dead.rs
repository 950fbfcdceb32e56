//! `flowgate dead`: what could not be done, kept whole until somebody decides.

use clap::{ArgGroup, Args, Subcommand};

use super::Asked;
use crate::admin::{Filter, Question, Selection};
use crate::cli::args::{self, OfFlow, Since, ToOutside, Window};
use crate::cli::confirm::Consent;
use crate::cli::show::Look;
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::pace::Rate;
use crate::domain::time::Timestamp;

/// Dead letters
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Dead {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, newest first
    List(List),
    /// Shows one with all that it was to carry
    Show {
        /// The number of its job
        id: u64,
    },
    /// Runs one again, or many
    Retry {
        #[command(flatten)]
        which: Which,
        /// Run it with this message, or send this body, in place of its own, which is kept: JSON, or a file with it
        #[arg(long, value_name = "JSON|FILE", value_parser = args::payload, conflicts_with = "all")]
        payload: Option<String>,
        /// So many at a time: 10/s, 100/m, 1000/h, over a week at the most; they are scheduled at once, and stay so over a restart
        #[arg(long, value_name = "RATE", value_parser = Rate::parse, conflicts_with = "id")]
        rate: Option<Rate>,
    },
    /// Gives one up, or many
    Discard(Which),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    of: OfFlow,
    #[command(flatten)]
    to: ToOutside,
}

/// One, or all that a filter lets through.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
struct Which {
    /// The number of its job
    id: Option<u64>,
    /// All of them, or those that the filters let through
    #[arg(long)]
    all: bool,
    /// Only those of this flow
    #[arg(long, value_name = "NAME", value_parser = FlowName::new, conflicts_with = "id")]
    flow: Option<FlowName>,
    /// Only those that died since: 90m, 2h, 7d, a date (UTC), or a point in time
    #[arg(long, value_name = "WHEN", value_parser = args::since, conflicts_with = "id")]
    since: Option<Since>,
    /// Only deliveries to this destination
    #[arg(long, value_name = "NAME", value_parser = DestinationName::new, conflicts_with = "id")]
    destination: Option<DestinationName>,
    /// Only deliveries that tell of this event
    #[arg(long, value_name = "EVENT", value_parser = args::event, conflicts_with = "id")]
    event: Option<EventKind>,
    /// Only say how many there are, and show the first ones
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
    /// Don't ask; a script that discards all needs it
    #[arg(long, conflicts_with_all = ["id", "dry_run"])]
    yes: bool,
}

impl Which {
    /// The dry run to look at before all of these are changed, unless nobody has to be asked.
    fn preview(&self, now: Timestamp) -> Option<Selection> {
        let asks = self.all && !self.dry_run && !self.yes;
        asks.then(|| Self { dry_run: true, ..self.clone() }.selection(None, None, now))
    }

    fn selection(self, payload: Option<String>, rate: Option<Rate>, now: Timestamp) -> Selection {
        if let Some(id) = self.id {
            return Selection::One { id: JobId::new(id), payload };
        }
        let window = Window { limit: 0, since: self.since };
        let Self { flow, destination, event, dry_run, .. } = self;
        Selection::All { filter: Filter { flow, destination, event, ..window.filter(now) }, dry_run, rate }
    }
}

impl Dead {
    /// What must be agreed to first, if anything.
    #[must_use]
    pub fn consent(&self, now: Timestamp) -> Option<Consent> {
        match &self.verb {
            Some(Verb::Discard(which)) => which.preview(now).map(|preview| Consent {
                dry_run: Question::Discard(preview),
                words: ["discard", "dead letters"],
                cause: ("would_change", "can't be run again afterwards"),
                strict: true,
            }),
            Some(Verb::Retry { which, .. }) => which.preview(now).map(|preview| Consent {
                dry_run: Question::Retry(preview),
                words: ["retry", "dead letters"],
                cause: (
                    "expired_messages",
                    "of them are messages to people, older than `expires` of their destination",
                ),
                strict: false,
            }),
            Some(Verb::List(_) | Verb::Show { .. }) | None => None,
        }
    }

    /// The question it comes to.
    #[must_use]
    pub fn asked(self, now: Timestamp) -> Asked {
        let List { window, of, to } = match self.verb {
            Some(Verb::Show { id }) => return Asked::whole(Question::DeadLetter { id: JobId::new(id) }),
            Some(Verb::Retry { which, payload, rate }) => {
                return Asked::whole(Question::Retry(which.selection(payload, rate, now)));
            }
            Some(Verb::Discard(which)) => return Asked::whole(Question::Discard(which.selection(None, None, now))),
            Some(Verb::List(list)) => list,
            None => self.list,
        };
        let filter = Filter { flow: of.flow, destination: to.destination, event: to.event, ..window.filter(now) };
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
        Asked { question: Question::DeadLetters(filter), look: Look::Table { columns, empty: "no dead letters" } }
    }
}
