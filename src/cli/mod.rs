//! The command line: argv in, exit code out.
//!
//! Most commands are questions to the admin desk, over the socket of a running server or on the file of a stopped one
//! ([`reach`]); `serve`, `try`, `demo`, `flows check`, `keys`, `config` and `completions` are not. What can be typed, and
//! how answers look, is in [`nouns`]. This file alone picks exit codes:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | fine |
//! | 1 | it failed |
//! | 2 | the command line or the config is wrong |
//! | 3 | there is no such thing |
//! | 4 | the server, the file or Meta can't be reached |
//! | 5 | the disk can't be trusted |
//! | 6 | the file is damaged |

pub mod args;
mod compact;
mod confirm;
pub mod demo;
pub mod flow_keys;
mod gateways;
mod graph;
pub mod nouns;
mod output;
mod phone;
mod private_file;
pub mod reach;
mod recipients;
pub mod sample;
pub mod secrets;
pub mod sender;
pub mod serve;
pub mod show;
mod test_send;
pub mod try_it;
pub mod upstreams;
pub mod which_flow;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use crate::admin::{AdminError, ErrorCode, Question, ReloadView, StatusView};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError};
use confirm::{Consent, Refused};
use demo::{DemoArgs, DemoError};
use graph::GraphError;
use nouns::flows::{CheckError, Does};
use nouns::keys::{AtMetaError, KeysError};
use nouns::{Asked, reload, status};
use output::Output;
use phone::WalkError;
use sender::SendError;
use serve::{Obstacles, ServeArgs, ServeError};
use show::Printer;
use try_it::{TryArgs, TryError};
use which_flow::WhichFlow;

/// Takes WhatsApp Flow submissions once, durably, in milliseconds, and carries each to a lead and a booking.
#[derive(Debug, Parser)]
#[command(name = "flowgate", version, max_term_width = 100)]
struct Cli {
    /// The config; unless given: ./config.toml, then /etc/flowgate/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For scripts: one JSON object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server
    Serve(ServeArgs),
    /// Sends one signed form to the running server and shows what becomes of it
    Try(TryArgs),
    /// Has the running server read its config again, with all secrets and keys in files; SIGHUP does the same
    ///
    /// All or nothing: if anything is wrong, all of it is told, and the server goes on as before. What takes effect
    /// only after a restart is named. Secrets in `env:` stay what they were when the server started.
    Reload,
    /// Shows the main job under a storm, on a server of its own, and reports
    Demo(DemoArgs),
    /// Says how things stand
    Status,
    Submissions(nouns::submissions::Submissions),
    Drafts(nouns::drafts::Drafts),
    Jobs(nouns::jobs::Jobs),
    Dead(nouns::dead::Dead),
    Deliveries(nouns::deliveries::Deliveries),
    Destinations(nouns::destinations::Destinations),
    Leads(nouns::leads::Leads),
    Agents(nouns::agents::Agents),
    Bookings(nouns::bookings::Bookings),
    Slots(nouns::slots::Slots),
    /// Looks at every invariant across all tables
    Check,
    /// Gives back to the disk what a stopped server's file no longer needs
    ///
    /// redb uses freed pages of the file again, and never gives them back. The whole file is verified first. A tenth of its
    /// size must be free on the disk.
    Compact,
    /// The config itself
    #[command(subcommand)]
    Config(ConfigVerb),
    Flows(nouns::flows::Flows),
    Gateways(nouns::gateways::Gateways),
    Keys(nouns::keys::Keys),
    /// Prints a script that completes commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Says what the config comes to, and all that is wrong with it
    Check,
}

/// Why a command failed. Each has been worded where it arose; here it gets its exit code.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Try(#[from] TryError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error("not all that {} names can be used:\n{obstacles}", file.display())]
    Named { file: PathBuf, obstacles: Obstacles },
    #[error(transparent)]
    Unconfirmed(#[from] Refused),
    #[error(transparent)]
    FlowCheck(#[from] CheckError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("something was lost or doubled: see the report")]
    NotWeathered,
    #[error("can't print the answer: {0}")]
    Print(#[from] io::Error),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Admin(error) | Self::Try(TryError::Admin(error) | TryError::Walk(WalkError::Admin(error))) => {
                of_admin(error.code)
            }
            Self::Serve(error) => of_serve(error),
            Self::Try(
                TryError::NotRunning(_)
                | TryError::Send(SendError::NotListening { .. })
                | TryError::Walk(WalkError::Send(SendError::NotListening { .. })),
            )
            | Self::FlowCheck(CheckError::Read { .. }) => 4,
            Self::Keys(KeysError::AtMeta(error)) => of_keys_at_meta(error),
            Self::Keys(KeysError::NoFlow(_)) | Self::FlowCheck(CheckError::Which(WhichFlow::Unknown { .. })) => 3,
            Self::FlowCheck(
                CheckError::Config(_) | CheckError::Which(_) | CheckError::TooLarge(_) | CheckError::NotFlowJson { .. },
            )
            | Self::Keys(KeysError::Config(_) | KeysError::FlowKey(_))
            | Self::Config(_)
            | Self::Named { .. }
            | Self::Unconfirmed(Refused::NoTerminal(_))
            | Self::Try(TryError::WhichFlow(_) | TryError::NoSample { .. }) => 2,
            Self::FlowCheck(_)
            | Self::Keys(_)
            | Self::Try(_)
            | Self::Demo(_)
            | Self::NotWeathered
            | Self::Unconfirmed(_)
            | Self::Print(_) => 1,
        }
    }
}

const fn of_admin(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::Failed => 1,
        ErrorCode::Invalid => 2,
        ErrorCode::NotFound => 3,
        ErrorCode::Unreachable | ErrorCode::Busy => 4,
        ErrorCode::Untrusted => 5,
        ErrorCode::Damaged => 6,
    }
}

fn of_keys_at_meta(error: &AtMetaError) -> u8 {
    match error {
        AtMetaError::Failed(failed) if failed.iter().any(|(_, error)| error.is_unreached()) => 4,
        AtMetaError::Failed(_) | AtMetaError::FormsFail(_) | AtMetaError::Io(_) => 1,
        AtMetaError::Graph(error) if !matches!(error, GraphError::BadToken) => 1,
        _ => 2,
    }
}

fn of_serve(error: &ServeError) -> u8 {
    match error {
        ServeError::Store(error) => of_admin(ErrorCode::from(error)),
        ServeError::InUse(_) => of_admin(ErrorCode::Busy),
        ServeError::Config(_) | ServeError::Unfit(_) => 2,
        _ => 1,
    }
}

/// Runs the command that `argv` (with the program's name in front) asks for.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and are no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Returns `true` if the command succeeded and only its reader has left (`| head`). A pipe that a command needs for its work,
/// as for a question, does not count.
fn is_closed_pipe(error: &CliError) -> bool {
    matches!(error, CliError::Print(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let Cli { config, json, command } = cli;
    let load = || Config::find(config.as_deref());
    let now = SystemClock::new().now();
    let asked = match command {
        Command::Serve(args) => return Ok(serve::run(load, &args)?),
        Command::Try(args) => return printing(|out| Ok(try_it::run(&load()?, &args, json, out)?)),
        Command::Demo(args) => return if demo::run(args)? { Ok(()) } else { Err(CliError::NotWeathered) },
        Command::Status => return print_status(config.as_deref(), json),
        Command::Reload => return print_reload(config.as_deref(), json),
        Command::Check => return print_check(config.as_deref(), json),
        Command::Compact => return Ok(compact::run(&load()?, json, &mut io::stdout())??),
        Command::Config(ConfigVerb::Check) => return printing(|out| print_config(&load()?, json, out)),
        Command::Completions { shell } => {
            // The generator panics where it can't write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "flowgate", &mut script);
            return Ok(io::stdout().write_all(&script)?);
        }
        Command::Keys(noun) => return printing(|out| Ok(noun.run(load, json, out)?)),
        Command::Submissions(noun) => noun.asked(now),
        Command::Drafts(noun) => noun.asked(now),
        Command::Jobs(noun) => noun.asked(now),
        Command::Dead(noun) => {
            if let Some(consent) = noun.consent(now) {
                agree(config.as_deref(), &consent)?;
            }
            noun.asked(now)
        }
        Command::Deliveries(noun) => {
            if let Some(consent) = noun.consent() {
                agree(config.as_deref(), &consent)?;
            }
            noun.asked(now)
        }
        Command::Destinations(noun) => noun.asked(),
        Command::Leads(noun) => noun.asked(now),
        Command::Agents(noun) => noun.asked(),
        Command::Bookings(noun) => noun.asked(now),
        Command::Slots(noun) => noun.asked(),
        Command::Gateways(noun) => noun.asked(),
        Command::Flows(noun) => match noun.does(now) {
            Does::Asks(asked) => asked,
            Does::Checks(check) => return printing(|out| Ok(check.run(load, json, out)?)),
        },
    };
    print(config.as_deref(), asked, json)
}

/// Runs a command that prints while it works. The result of the command comes before an error of its output.
fn printing(run: impl FnOnce(&mut Output<io::Stdout>) -> Result<(), CliError>) -> Result<(), CliError> {
    let mut out = Output::new(io::stdout());
    run(&mut out)?;
    Ok(out.finish()?)
}

/// Asks, and hands on each row as it comes. A running server is asked even where the config is wrong.
fn ask(named: Option<&Path>, question: &Question, out: &mut dyn FnMut(Value) -> bool) -> Result<(), CliError> {
    match Config::find(named) {
        Ok(config) => Ok(reach::ask(&config, question, out)?),
        Err(wrong) => match Config::data_of(named) {
            // A server goes on with the config it has, and answers while somebody is changing the file.
            Some(data) => Ok(reach::ask_server(&data, question, out)?.ok_or(wrong)?),
            None => Err(wrong.into()),
        },
    }
}

/// Shows what a command would do, and asks the person at the terminal whether it may.
fn agree(named: Option<&Path>, consent: &Consent) -> Result<(), CliError> {
    let mut preview = Value::Null;
    ask(named, &consent.dry_run, &mut |row| {
        preview = row;
        true
    })?;
    Ok(consent.obtain(&preview)?)
}

fn print(named: Option<&Path>, Asked { question, look }: Asked, json: bool) -> Result<(), CliError> {
    let mut printer = Printer::new(look, json);
    let answered = ask(named, &question, &mut |row| printer.take(row));
    // What came before an error is printed as well; that nothing came before it says nothing.
    let written = if answered.is_ok() || printer.has_rows() { printer.finish() } else { Ok(()) };
    answered?;
    Ok(written?)
}

/// Asks, and prints each row as JSON or, for people, as `tell` does. The answer is taken to its end, whoever reads it.
fn print_rows(
    named: Option<&Path>,
    question: &Question,
    json: bool,
    tell: impl Fn(&Value, &mut Output<io::Stdout>) -> io::Result<()>,
) -> Result<(), CliError> {
    printing(|out| {
        ask(named, question, &mut |row| {
            // `Output` keeps the error until the end.
            let _ = if json { writeln!(out, "{row}") } else { tell(&row, out) };
            true
        })
    })
}

fn print_status(named: Option<&Path>, json: bool) -> Result<(), CliError> {
    print_rows(named, &Question::Status, json, |row, out| match StatusView::deserialize(row) {
        Ok(status) => status::tell(&status, out),
        Err(_) => writeln!(out, "{row}"),
    })
}

fn print_reload(named: Option<&Path>, json: bool) -> Result<(), CliError> {
    print_rows(named, &Question::Reload, json, |row, out| match ReloadView::deserialize(row) {
        Ok(done) => reload::tell(&done, out),
        Err(_) => writeln!(out, "{row}"),
    })
}

fn print_check(named: Option<&Path>, json: bool) -> Result<(), CliError> {
    print_rows(named, &Question::Check, json, |row, out| writeln!(out, "{}", nouns::check::line(row)))
}

fn print_config(config: &Config, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut summary = config.summary(clock.now());
    summary.notes.extend(reach::app_secret_warning(&config.data));
    let text = if json { serde_json::to_string(&summary).map_err(io::Error::from)? } else { summary.to_string() };
    writeln!(out, "{text}")?;
    match serve::obstacles(config, &clock) {
        Some(obstacles) => Err(CliError::Named { file: config.file.clone(), obstacles }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_noun_alone_lists() {
        let asked = |line: &str| {
            let argv = line.split(' ').map(OsString::from);
            match Cli::try_parse_from(argv).unwrap().command {
                Command::Jobs(noun) => noun.asked(crate::domain::time::Timestamp::ZERO).question,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(asked("flowgate jobs --state dead"), asked("flowgate jobs list --state dead"));
        assert_eq!(asked("flowgate jobs --limit 3 --json"), asked("flowgate --json jobs list --limit 3"));
    }

    #[test]
    fn a_closed_pipe_is_no_failure_only_where_the_answer_was_to_be_printed() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&CliError::Print(closed())));
        for error in [
            CliError::Print(io::ErrorKind::StorageFull.into()),
            CliError::Unconfirmed(Refused::Io(closed())),
            CliError::Try(TryError::Walk(WalkError::Io(closed()))),
            CliError::Keys(KeysError::AtMeta(AtMetaError::Io(closed()))),
            CliError::NotWeathered,
        ] {
            assert!(!is_closed_pipe(&error) && error.exit_code() == 1, "{error}");
        }
    }

    #[test]
    fn an_error_of_the_data_file_has_one_exit_code_for_the_server_and_for_commands() {
        use crate::store::{RowProblem, StoreError};
        let file = || PathBuf::from("flowgate.redb");
        let row = StoreError::Row { table: "jobs", key: "1".to_owned(), problem: RowProblem::Cut };
        for (error, code) in [
            (StoreError::Damaged(String::new()), 6),
            (StoreError::Untrusted(String::new()), 5),
            (StoreError::InUse(file()), 4),
            (StoreError::Foreign { path: file(), what: String::new() }, 4),
            (StoreError::NotOpen, 4),
            (StoreError::SecretMissing(file()), 2),
            (StoreError::NoSpace, 1),
            (row, 1),
        ] {
            assert_eq!(CliError::Serve(error.clone().into()).exit_code(), code, "{error}");
            assert_eq!(CliError::Admin(error.clone().into()).exit_code(), code, "{error}");
        }
    }

    #[test]
    fn dead_letters_are_named_or_all_taken_but_never_by_accident() {
        let parsed = |line: &str| Cli::try_parse_from(line.split(' ').map(OsString::from)).is_ok();
        assert!(parsed("flowgate dead retry 7"));
        assert!(parsed("flowgate dead retry --all --flow visit --dry-run"));
        assert!(!parsed("flowgate dead retry"));
        assert!(!parsed("flowgate dead retry 7 --all"));
        assert!(!parsed("flowgate dead discard 7 --dry-run"));
        assert!(!parsed("flowgate dead discard 7 --yes"));
        assert!(parsed("flowgate dead discard --all --yes"));
        assert!(parsed("flowgate dead retry --all --destination crm --event lead.assigned --rate 10/s"));
        assert!(!parsed("flowgate dead retry 7 --rate 10/s"));
        assert!(!parsed("flowgate dead retry --all --payload {}"));
    }
}
