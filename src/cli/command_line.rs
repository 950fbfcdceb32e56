//! Defines the command line: the global options, and all commands with their arguments.
//!
//! See [`super::commands`] for the verbs and options of each command.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::commands::agents::AgentsVerb;
use super::commands::backup::BackupArgs;
use super::commands::bookings::BookingsVerb;
use super::commands::dead_letters::DeadLettersVerb;
use super::commands::deliveries::DeliveriesVerb;
use super::commands::destinations::DestinationsVerb;
use super::commands::drafts::DraftsVerb;
use super::commands::flows::FlowsVerb;
use super::commands::follow::FollowArgs;
use super::commands::gateways::GatewaysVerb;
use super::commands::jobs::JobsVerb;
use super::commands::keys::KeysCommand;
use super::commands::leads::LeadsVerb;
use super::commands::list::RowsCommand;
use super::commands::restore::RestoreArgs;
use super::commands::slots::SlotsCommand;
use super::commands::submissions::SubmissionsVerb;
use super::commands::try_submission::TryArgs;
use super::demo::DemoArgs;
use crate::bootstrap::serve_args::ServeArgs;

/// Accept each WhatsApp Flow submission once, store it durably, and process it to a lead and a
/// booking
#[derive(Debug, Parser)]
#[command(name = "flowgate", version, max_term_width = 100)]
pub(super) struct Cli {
    /// Config file. Default: ./config.toml, then /etc/flowgate/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print one JSON object per line, for scripts
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Send one signed form to the running server and show its result
    Try(TryArgs),
    /// Reload the config of the running server, with all secrets and keys in files. SIGHUP does the
    /// same
    ///
    /// The reload changes everything or nothing. If anything is wrong, the command prints all
    /// problems and the server continues with the old config. The command lists the changes that
    /// need a restart. Secrets in `env:` also change only after a restart.
    Reload,
    /// Run a load test with a crash on a temporary server and verify the result
    Demo(DemoArgs),
    /// Show server status
    Status,
    /// List and show accepted submissions
    Submissions(RowsCommand<SubmissionsVerb>),
    /// List forms that are begun and not completed
    Drafts(RowsCommand<DraftsVerb>),
    /// List and show background jobs
    Jobs(RowsCommand<JobsVerb>),
    /// List, retry and discard dead letters
    #[command(name = "dead-letters", visible_alias = "dead")]
    DeadLetters(RowsCommand<DeadLettersVerb>),
    /// List, show and discard deliveries of events to destinations
    Deliveries(RowsCommand<DeliveriesVerb>),
    /// List, pause, resume and test destinations of events
    Destinations {
        #[command(subcommand)]
        verb: Option<DestinationsVerb>,
    },
    /// List, assign and close leads
    Leads(RowsCommand<LeadsVerb>),
    /// List and change sales agents
    Agents(RowsCommand<AgentsVerb>),
    /// List, cancel and move bookings
    Bookings(RowsCommand<BookingsVerb>),
    /// List upcoming slots, also full ones, with the number of booked places
    Slots(SlotsCommand),
    /// Check every invariant across all tables
    Check,
    /// Return unused space of a stopped server's data file to the disk
    ///
    /// redb reuses freed pages of the file but never returns them to the disk. The command verifies
    /// the whole file first. The disk must have one tenth of the file size free, plus 64 MiB.
    Compact,
    /// Copy the data file, also while the server runs
    ///
    /// The copy is consistent. It is opened, verified and counted before the command reports
    /// success. An existing file is never overwritten.
    Backup(BackupArgs),
    /// Make the data file from a backup
    ///
    /// The server must be stopped. The command never overwrites a data file: with --force, the old
    /// file is kept beside the new one under a dated name.
    Restore(RestoreArgs),
    /// Keep a second machine ready: follow the continuous backup of the first one
    ///
    /// The command restores the backup and then applies each new commit. It does not serve until
    /// `flowgate promote`. After that, the same process is the server.
    Follow(FollowArgs),
    /// Make a machine that follows a backup serve in place of the first one
    Promote,
    /// Check the config
    #[command(subcommand)]
    Config(ConfigSubcommand),
    /// List flows, their errors and their endpoint health, and check a Flow JSON
    Flows {
        #[command(subcommand)]
        verb: Option<FlowsVerb>,
    },
    /// List, show and repair unofficial gateways and their WhatsApp sessions
    Gateways {
        #[command(subcommand)]
        verb: Option<GatewaysVerb>,
    },
    Keys(KeysCommand),
    /// Print a script that completes commands in a shell
    Completions {
        /// Name of the shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigSubcommand {
    /// Show a summary of the config and all its problems
    Check,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::admin::{AdminQuery, AdminRequest, ListFilter};
    use crate::cli::commands::AdminCall;
    use crate::domain::event::EventKind;
    use crate::domain::ids::{DestinationName, FlowName};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let argv = ["flowgate"].into_iter().chain(line.split(' '));
        Cli::try_parse_from(argv).map(|cli| cli.command)
    }

    #[test]
    fn command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn command_without_verb_lists() {
        for (short, long) in [
            ("jobs --state dead", "jobs list --state dead"),
            ("jobs --limit 3 --json", "--json jobs list --limit 3"),
        ] {
            let [short, long] = [short, long].map(|line| match parse(line).unwrap() {
                Command::Jobs(jobs) => AdminCall::from(jobs).request,
                other => panic!("{other:?}"),
            });
            assert_eq!(short, long);
        }
    }

    #[test]
    fn each_list_has_only_its_own_filters() {
        let line = "deliveries --flow visit --event lead.waiting --destination crm --state dead";
        let request = match parse(line).unwrap() {
            Command::Deliveries(deliveries) => AdminCall::from(deliveries).request,
            other => panic!("{other:?}"),
        };
        let filter = ListFilter {
            state: Some("dead".to_owned()),
            flow: Some(FlowName::new("visit").unwrap()),
            destination: Some(DestinationName::new("crm").unwrap()),
            event: Some(EventKind::LeadWaiting),
            limit: 50,
            ..ListFilter::default()
        };
        assert_eq!(request, AdminRequest::Query(AdminQuery::Deliveries(filter)));
        for (line, is_valid) in [
            ("agents --agent Ann --limit 0", true),
            ("agents --since 1h", false),
            ("jobs --agent Ann", false),
            ("bookings --flow visit", false),
        ] {
            assert_eq!(parse(line).is_ok(), is_valid, "{line}");
        }
    }

    #[test]
    fn dead_letter_selection_must_be_explicit() {
        assert!(parse("dead retry 7").is_ok());
        for (options, is_valid) in [
            ("retry 7", true),
            ("retry --all --flow visit --dry-run", true),
            ("retry", false),
            ("retry 7 --all", false),
            ("discard 7 --dry-run", false),
            ("discard 7 --yes", false),
            ("discard --all --yes", true),
            (
                "retry --all --destination crm --event lead.assigned --rate 10/s",
                true,
            ),
            ("retry 7 --rate 10/s", false),
            ("retry --all --payload {}", false),
        ] {
            let parsed = parse(&format!("dead-letters {options}"));
            assert_eq!(parsed.is_ok(), is_valid, "{options}");
        }
    }
}
