//! Parses the command line, runs the command and chooses the exit code.
//!
//! Most commands are admin requests, sent to a running server over its socket or executed on the
//! data file of a stopped server. `serve`, `try`, `demo`, `flows check`, `keys`, `compact`,
//! `config` and `completions` are not. Only this file chooses exit codes:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success |
//! | 1 | failure |
//! | 2 | usage or config error |
//! | 3 | not found |
//! | 4 | server, data file or Meta unreachable |
//! | 5 | disk not trusted |
//! | 6 | data file damaged |
//!
//! See [`self::commands`] for arguments and output formats, [`self::connect`] for the
//! choice of socket or file.

pub mod args;
pub mod commands;
mod confirmation;
pub mod connect;
mod deferred_error_writer;
pub mod demo;
pub mod flow_arg;
mod flow_client;
mod graph_api;
pub mod meta_client;
pub mod output;
pub mod sample_form;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use crate::admin::{AdminError, AdminRequest, ErrorCode, ReloadRow, StatusRow};
use crate::bootstrap::error::{ServeError, StartupErrors};
use crate::bootstrap::serve_args::ServeArgs;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError};
use commands::flows::{FlowJsonCheckError, FlowsAction};
use commands::keys::{KeysError, MetaKeyError};
use commands::try_submission::{TryArgs, TryError};
use commands::{AdminCall, reload, status};
use confirmation::{Confirmation, ConfirmationError};
use deferred_error_writer::DeferredErrorWriter;
use demo::{DemoArgs, DemoError};
use flow_arg::FlowArgError;
use flow_client::FlowClientError;
use graph_api::GraphApiError;
use meta_client::MetaClientError;
use output::OutputWriter;

/// Accept each WhatsApp Flow submission once, store it durably, and process it to a lead and a
/// booking
#[derive(Debug, Parser)]
#[command(name = "flowgate", version, max_term_width = 100)]
struct Cli {
    /// Config file. Default: ./config.toml, then /etc/flowgate/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object per line, for scripts
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    Submissions(commands::submissions::SubmissionsCommand),
    Drafts(commands::drafts::DraftsCommand),
    Jobs(commands::jobs::JobsCommand),
    #[command(name = "dead-letters", visible_alias = "dead")]
    DeadLetters(commands::dead_letters::DeadLettersCommand),
    Deliveries(commands::deliveries::DeliveriesCommand),
    Destinations(commands::destinations::DestinationsCommand),
    Leads(commands::leads::LeadsCommand),
    Agents(commands::agents::AgentsCommand),
    Bookings(commands::bookings::BookingsCommand),
    Slots(commands::slots::SlotsCommand),
    /// Check every invariant across all tables
    Check,
    /// Return unused space of a stopped server's data file to the disk
    ///
    /// redb reuses freed pages of the file but never returns them to the disk. The command verifies
    /// the whole file first. The disk must have one tenth of the file size free, plus 64 MiB.
    Compact,
    /// Check the config
    #[command(subcommand)]
    Config(ConfigSubcommand),
    Flows(commands::flows::FlowsCommand),
    Gateways(commands::gateways::GatewaysCommand),
    Keys(commands::keys::KeysCommand),
    /// Print a script that completes commands in a shell
    Completions {
        /// Name of the shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigSubcommand {
    /// Show a summary of the config and all its problems
    Check,
}

/// Cause of a failed command. The module that causes an error also writes its message. This file
/// maps each error to an exit code.
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
    #[error("the server can't start with {}:\n{errors}", file.display())]
    UnresolvedConfig {
        file: PathBuf,
        errors: StartupErrors,
    },
    #[error(transparent)]
    Confirmation(#[from] ConfirmationError),
    #[error(transparent)]
    FlowCheck(#[from] FlowJsonCheckError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("the verification found discrepancies: see the report")]
    VerificationFailed,
    #[error("can't write the output: {0}")]
    Print(#[from] io::Error),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Admin(error)
            | Self::Try(
                TryError::Admin(error) | TryError::FlowClient(FlowClientError::Admin(error)),
            ) => admin_exit_code(error.code),
            Self::Serve(error) => serve_exit_code(error),
            Self::Try(
                TryError::NotRunning(_)
                | TryError::Send(MetaClientError::NotListening { .. })
                | TryError::FlowClient(FlowClientError::Send(MetaClientError::NotListening {
                    ..
                })),
            )
            | Self::FlowCheck(FlowJsonCheckError::Read { .. }) => 4,
            Self::Keys(KeysError::Meta(error)) => meta_key_exit_code(error),
            Self::Keys(KeysError::NoFlow(_))
            | Self::FlowCheck(FlowJsonCheckError::FlowArg(FlowArgError::Unknown { .. })) => 3,
            Self::FlowCheck(
                FlowJsonCheckError::Config(_)
                | FlowJsonCheckError::FlowArg(_)
                | FlowJsonCheckError::TooLarge(_)
                | FlowJsonCheckError::NotFlowJson { .. },
            )
            | Self::Keys(KeysError::Config(_) | KeysError::FlowKey(_))
            | Self::Config(_)
            | Self::UnresolvedConfig { .. }
            | Self::Confirmation(ConfirmationError::NoTerminal(_))
            | Self::Try(TryError::FlowArg(_) | TryError::NoSample { .. }) => 2,
            Self::FlowCheck(_)
            | Self::Keys(_)
            | Self::Try(_)
            | Self::Demo(_)
            | Self::VerificationFailed
            | Self::Confirmation(_)
            | Self::Print(_) => 1,
        }
    }
}

const fn admin_exit_code(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::Failed => 1,
        ErrorCode::Invalid => 2,
        ErrorCode::NotFound => 3,
        ErrorCode::Unreachable | ErrorCode::Busy => 4,
        ErrorCode::Untrusted => 5,
        ErrorCode::Damaged => 6,
    }
}

fn meta_key_exit_code(error: &MetaKeyError) -> u8 {
    match error {
        MetaKeyError::Failed(failed) if failed.iter().any(|(_, error)| error.is_unreachable()) => 4,
        MetaKeyError::Failed(_) | MetaKeyError::FormsFail(_) | MetaKeyError::Io(_) => 1,
        MetaKeyError::Graph(error) if !matches!(error, GraphApiError::BadToken) => 1,
        _ => 2,
    }
}

fn serve_exit_code(error: &ServeError) -> u8 {
    match error {
        ServeError::Store(error) => admin_exit_code(ErrorCode::from(error)),
        ServeError::InUse(_) => admin_exit_code(ErrorCode::Busy),
        ServeError::Config(_) | ServeError::Startup(_) => 2,
        _ => 1,
    }
}

/// Runs the command of `argv`, whose first item is the program name. Returns the exit code of the
/// process.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` also arrive here and exit with code 0.
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

/// Returns `true` if the command succeeded and only the reader of its output has closed the pipe
/// (`| head`).
///
/// A broken pipe of the command's own work, for example of a confirmation, does not count.
fn is_closed_pipe(error: &CliError) -> bool {
    matches!(error, CliError::Print(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let Cli {
        config,
        json,
        command,
    } = cli;
    let load = || Config::load_or_search(config.as_deref());
    let now = SystemClock::new().now();
    let call = match command {
        Command::Serve(args) => return Ok(crate::bootstrap::serve::run(load, &args)?),
        Command::Try(args) => {
            return run_with_output(|output| {
                Ok(commands::try_submission::run(
                    &load()?,
                    &args,
                    json,
                    output,
                )?)
            });
        }
        Command::Demo(args) => {
            return if demo::run(args)? {
                Ok(())
            } else {
                Err(CliError::VerificationFailed)
            };
        }
        Command::Status => return print_status(config.as_deref(), json),
        Command::Reload => return print_reload(config.as_deref(), json),
        Command::Check => return print_check(config.as_deref(), json),
        Command::Compact => return Ok(commands::compact::run(&load()?, json, &mut io::stdout())??),
        Command::Config(ConfigSubcommand::Check) => {
            return run_with_output(|out| print_config(&load()?, json, out));
        }
        Command::Completions { shell } => {
            // The generator panics if its writer fails, so it writes to memory.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "flowgate", &mut script);
            return Ok(io::stdout().write_all(&script)?);
        }
        Command::Keys(args) => return run_with_output(|output| Ok(args.run(load, json, output)?)),
        Command::Submissions(args) => args.into_call(now),
        Command::Drafts(args) => args.into_call(now),
        Command::Jobs(jobs) => jobs.into_call(now),
        Command::DeadLetters(args) => {
            if let Some(confirmation) = args.confirmation(now) {
                require_confirmation(config.as_deref(), &confirmation)?;
            }
            args.into_call(now)
        }
        Command::Deliveries(args) => {
            if let Some(confirmation) = args.confirmation() {
                require_confirmation(config.as_deref(), &confirmation)?;
            }
            args.into_call(now)
        }
        Command::Destinations(args) => args.into_call(),
        Command::Leads(args) => args.into_call(now),
        Command::Agents(args) => args.into_call(),
        Command::Bookings(args) => args.into_call(now),
        Command::Slots(args) => args.into_call(),
        Command::Gateways(args) => args.into_call(),
        Command::Flows(args) => match args.into_action(now) {
            FlowsAction::Call(call) => call,
            FlowsAction::CheckFlowJson(check) => {
                return run_with_output(|output| Ok(check.run(load, json, output)?));
            }
        },
    };
    print_rows(config.as_deref(), call, json)
}

/// Runs a command that writes while it works. An error of the command has precedence over an error
/// of its output.
fn run_with_output(
    run: impl FnOnce(&mut DeferredErrorWriter<io::Stdout>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut output = DeferredErrorWriter::new(io::stdout());
    run(&mut output)?;
    Ok(output.finish()?)
}

/// Sends `request` and passes each row of the response to `output` as it arrives. A running server
/// gets the request even if the config is invalid.
fn send_request(
    named: Option<&Path>,
    request: &AdminRequest,
    output: &mut dyn FnMut(Value) -> bool,
) -> Result<(), CliError> {
    match Config::load_or_search(named) {
        Ok(config) => Ok(connect::send(&config, request, output)?),
        Err(wrong) => match Config::find_data_path(named) {
            // A running server continues with its active config, so it responds while an admin
            // edits the file.
            Some(data) => Ok(connect::send_to_server(&data, request, output)?.ok_or(wrong)?),
            None => Err(wrong.into()),
        },
    }
}

/// Shows the effect of a command and asks the person at the terminal for confirmation.
fn require_confirmation(named: Option<&Path>, confirmation: &Confirmation) -> Result<(), CliError> {
    let mut preview = Value::Null;
    send_request(named, &confirmation.dry_run, &mut |row| {
        preview = row;
        true
    })?;
    Ok(confirmation.confirm(&preview)?)
}

fn print_rows(
    named: Option<&Path>,
    AdminCall { request, format }: AdminCall,
    json: bool,
) -> Result<(), CliError> {
    let mut writer = OutputWriter::new(format, json);
    let answered = send_request(named, &request, &mut |row| writer.write_row(row));
    // Rows that arrived before an error are written as well. If none arrived, the text for an empty
    // list would be wrong.
    let written = if answered.is_ok() || writer.has_rows() {
        writer.finish()
    } else {
        Ok(())
    };
    answered?;
    Ok(written?)
}

/// Sends `request` and writes each row as JSON or, for people, with `write`. The command reads the
/// whole response, even if the reader of its output has closed the pipe.
fn print_response(
    named: Option<&Path>,
    request: &AdminRequest,
    json: bool,
    write: impl Fn(&Value, &mut DeferredErrorWriter<io::Stdout>) -> io::Result<()>,
) -> Result<(), CliError> {
    run_with_output(|out| {
        send_request(named, request, &mut |row| {
            // `DeferredErrorWriter` stores the error until the end.
            let _ = if json {
                writeln!(out, "{row}")
            } else {
                write(&row, out)
            };
            true
        })
    })
}

fn print_status(named: Option<&Path>, json: bool) -> Result<(), CliError> {
    print_response(
        named,
        &AdminRequest::Status,
        json,
        |row, out| match StatusRow::deserialize(row) {
            Ok(status) => status::write_status(&status, out),
            Err(_) => writeln!(out, "{row}"),
        },
    )
}

fn print_reload(named: Option<&Path>, json: bool) -> Result<(), CliError> {
    print_response(
        named,
        &AdminRequest::ReloadConfig,
        json,
        |row, out| match ReloadRow::deserialize(row) {
            Ok(done) => reload::write_reload(&done, out),
            Err(_) => writeln!(out, "{row}"),
        },
    )
}

fn print_check(named: Option<&Path>, json: bool) -> Result<(), CliError> {
    print_response(named, &AdminRequest::CheckIntegrity, json, |row, out| {
        writeln!(out, "{}", commands::check::format_row(row))
    })
}

fn print_config(config: &Config, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut summary = config.summary(clock.now());
    summary
        .warnings
        .extend(connect::app_secret_warning(&config.data));
    let text = if json {
        serde_json::to_string(&summary).map_err(io::Error::from)?
    } else {
        summary.to_string()
    };
    writeln!(out, "{text}")?;
    match crate::bootstrap::components::find_startup_errors(config, &clock) {
        Some(errors) => Err(CliError::UnresolvedConfig {
            file: config.file.clone(),
            errors,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn command_without_subcommand_lists() {
        let call = |line: &str| {
            let argv = line.split(' ').map(OsString::from);
            match Cli::try_parse_from(argv).unwrap().command {
                Command::Jobs(jobs) => jobs.into_call(crate::domain::time::Timestamp::ZERO).request,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            call("flowgate jobs --state dead"),
            call("flowgate jobs list --state dead")
        );
        assert_eq!(
            call("flowgate jobs --limit 3 --json"),
            call("flowgate --json jobs list --limit 3")
        );
    }

    #[test]
    fn only_broken_output_pipe_is_success() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&CliError::Print(closed())));
        for error in [
            CliError::Print(io::ErrorKind::StorageFull.into()),
            CliError::Confirmation(ConfirmationError::Io(closed())),
            CliError::Try(TryError::FlowClient(FlowClientError::Io(closed()))),
            CliError::Keys(KeysError::Meta(MetaKeyError::Io(closed()))),
            CliError::VerificationFailed,
        ] {
            assert!(!is_closed_pipe(&error) && error.exit_code() == 1, "{error}");
        }
    }

    #[test]
    fn data_file_error_has_one_exit_code() {
        use crate::store::{RowProblem, StoreError};
        let file = || PathBuf::from("flowgate.redb");
        let row = StoreError::Row {
            table: "jobs",
            key: "1".to_owned(),
            problem: RowProblem::Truncated,
        };
        for (error, code) in [
            (StoreError::Damaged(String::new()), 6),
            (StoreError::Untrusted(String::new()), 5),
            (StoreError::InUse(file()), 4),
            (
                StoreError::NotADataFile {
                    path: file(),
                    reason: String::new(),
                },
                4,
            ),
            (StoreError::NotOpen, 4),
            (StoreError::SecretMissing(file()), 2),
            (StoreError::NoSpace, 1),
            (row, 1),
        ] {
            assert_eq!(
                CliError::Serve(error.clone().into()).exit_code(),
                code,
                "{error}"
            );
            assert_eq!(
                CliError::Admin(error.clone().into()).exit_code(),
                code,
                "{error}"
            );
        }
    }

    #[test]
    fn dead_letter_selection_must_be_explicit() {
        let parsed = |line: &str| Cli::try_parse_from(line.split(' ').map(OsString::from)).is_ok();
        assert!(parsed("flowgate dead-letters retry 7") && parsed("flowgate dead retry 7"));
        assert!(parsed(
            "flowgate dead-letters retry --all --flow visit --dry-run"
        ));
        assert!(!parsed("flowgate dead-letters retry"));
        assert!(!parsed("flowgate dead-letters retry 7 --all"));
        assert!(!parsed("flowgate dead-letters discard 7 --dry-run"));
        assert!(!parsed("flowgate dead-letters discard 7 --yes"));
        assert!(parsed("flowgate dead-letters discard --all --yes"));
        assert!(parsed(
            "flowgate dead-letters retry --all --destination crm --event lead.assigned --rate 10/s"
        ));
        assert!(!parsed("flowgate dead-letters retry 7 --rate 10/s"));
        assert!(!parsed("flowgate dead-letters retry --all --payload {}"));
    }
}
