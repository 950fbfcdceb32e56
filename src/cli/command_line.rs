//! Defines the command line: the global options, and all commands with their arguments.
//!
//! See [`super::commands`] for the verbs and options of each command.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::bench::BenchArgs;
use super::commands::admin::AdminVerb;
use super::commands::agents::AgentsVerb;
use super::commands::audit::AuditArgs;
use super::commands::backup::BackupArgs;
use super::commands::bookings::BookingsVerb;
use super::commands::calendars::CalendarsVerb;
use super::commands::customers::CustomersCommand;
use super::commands::dead_letters::DeadLettersVerb;
use super::commands::deliveries::DeliveriesVerb;
use super::commands::destinations::DestinationsVerb;
use super::commands::doctor::DoctorArgs;
use super::commands::drafts::DraftsVerb;
use super::commands::export::ExportArgs;
use super::commands::flows::FlowsVerb;
use super::commands::follow::FollowArgs;
use super::commands::forget::ForgetArgs;
use super::commands::gateways::GatewaysVerb;
use super::commands::import::ImportArgs;
use super::commands::init::args::InitArgs;
use super::commands::jobs::JobsVerb;
use super::commands::keys::KeysCommand;
use super::commands::leads::LeadsVerb;
use super::commands::list::RowsCommand;
use super::commands::restore::RestoreArgs;
use super::commands::slots::SlotsCommand;
use super::commands::status::StatusArgs;
use super::commands::submissions::SubmissionsVerb;
use super::commands::trace::TraceArgs;
use super::commands::try_submission::TryArgs;
use super::commands::upgrade::UpgradeArgs;
use super::demo::DemoArgs;
use crate::bootstrap::serve_args::ServeArgs;
use crate::cli::args::parse_log_filter;

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
    /// Set up a new machine: config, secrets, systemd units, proxy snippets
    ///
    /// Asks for everything that it needs, or takes it from options. Never overwrites a file without
    /// --force. Prints the next three steps.
    Init(Box<InitArgs>),
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
    /// Show or change the log level of the running server
    ///
    /// The change lasts until the next start. `log` in the config sets the level of the start.
    #[command(name = "log-level")]
    LogLevel {
        /// New level: off, error, warn, info, debug or trace; or levels of modules, for example
        /// `info,flowgate::store=debug`. Default: unchanged. At level debug the log contains
        /// personal data
        #[arg(value_name = "LEVEL|FILTER", value_parser = parse_log_filter)]
        filter: Option<String>,
    },
    /// Run a load test with a crash on a temporary server and verify the result
    Demo(DemoArgs),
    /// Measure the disk, a bare server and flowgate, and say whether this machine is fast enough
    ///
    /// The command starts a temporary server beside the data file. It changes no data, sends to
    /// this machine only, and removes its files at the end. The exit code is 1 if the machine is
    /// too slow.
    Bench(BenchArgs),
    /// Succeed if the running server can commit, for a container or a load balancer
    Healthcheck,
    /// Check the whole setup: config, secrets, files, disk, clock, proxy, Meta, destinations
    ///
    /// Each line is right, a warning or wrong, with what to do. Run the command as root: other
    /// users can't read the secrets of the service. The exit code is 1 if something is wrong.
    Doctor(DoctorArgs),
    /// Show server status
    Status(StatusArgs),
    /// Show the timeline of a form: receipt, signature, copies, slot, agent, each attempt
    Trace(TraceArgs),
    /// Find customers by phone number, name or answer, and show everything about one
    Customers(CustomersCommand),
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
    /// Invite people to the dashboard, and change their accounts
    #[command(subcommand)]
    Admin(AdminVerb),
    /// List who changed what, newest first
    ///
    /// The log has every change by the command line and by accounts of the dashboard. It names no
    /// customers. `retention.audit_log` in the config says how long it is kept.
    Audit(AuditArgs),
    /// List calendars, and make secret addresses of their feeds
    Calendars {
        #[command(subcommand)]
        verb: Option<CalendarsVerb>,
    },
    /// List upcoming slots, also full ones, with the number of booked places
    Slots(SlotsCommand),
    /// Write rows as CSV or JSON Lines
    ///
    /// The command writes to standard output, newest rows first. A CSV of forms has a column for
    /// each answer. A text that a spreadsheet would run as a formula gets an apostrophe in front.
    /// Phone numbers stay unchanged.
    Export(ExportArgs),
    /// Read agents, leads or bookings from a CSV file
    ///
    /// The whole file is checked first, and all problems are shown with their lines. The same file
    /// can be imported again: rows that are stored stay unchanged. Imported rows cause no events,
    /// so nobody gets a message about them.
    Import(ImportArgs),
    /// Remove a customer from all tables
    ///
    /// Removes the forms, drafts, leads and bookings of the customer, and all deliveries about the
    /// customer, also waiting ones. Places of upcoming bookings are free again. The command says
    /// how many rows of each kind it removed. If it is interrupted, the next start of the server
    /// continues it.
    Forget(ForgetArgs),
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
    /// Check whether this program can replace the installed one
    ///
    /// The check changes nothing, and a server may run meanwhile. It reads the config and the
    /// format of the data file, and prints the changes of this version.
    Upgrade(UpgradeArgs),
    /// Print a script that completes commands in a shell
    Completions {
        /// Name of the shell
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command to a folder
    #[command(name = "man-pages")]
    ManPages {
        /// Folder for the pages. It must exist
        folder: PathBuf,
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
