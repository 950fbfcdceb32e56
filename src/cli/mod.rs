//! Parses the command line and runs the command.
//!
//! Most commands are admin requests, sent to a running server over its socket or executed on the
//! data file of a stopped server. `serve`, `try`, `demo`, `flows check`, `keys`, `compact`,
//! `config` and `completions` are not.
//!
//! | module | content |
//! |---|---|
//! | `command_line` | the argument tree |
//! | `commands` | arguments, requests and output formats of each command |
//! | `connect` | choice of socket or file |
//! | `output` | tables, texts and JSON |
//! | `exit_code` | exit code of each error |

pub mod args;
mod command_line;
pub(crate) mod commands;
mod confirmation;
mod connect;
mod deferred_error_writer;
pub mod demo;
mod exit_code;
pub mod flow_arg;
mod flow_client;
mod graph_api;
pub mod meta_client;
pub(crate) mod output;
pub mod sample_form;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use serde::Deserialize;
use serde_json::Value;

use crate::admin::{
    AdminError, AdminQuery, AdminRequest, CheckRow, DryRunRow, ReloadRow, ServerCommand,
};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use command_line::{Cli, Command, ConfigSubcommand};
use commands::destinations::DestinationsVerb;
use commands::flows::{FlowsAction, FlowsVerb};
use commands::gateways::GatewaysVerb;
use commands::status::StatusAnswer;
use commands::{AdminCall, compact, try_submission};
use confirmation::Confirmation;
use deferred_error_writer::DeferredErrorWriter;
use exit_code::CliError;
use output::OutputWriter;

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
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let Cli {
        config,
        json,
        command,
    } = cli;
    let load = || Config::load_or_search(config.as_deref());
    let call: AdminCall = match command {
        Command::Serve(args) => return Ok(crate::bootstrap::serve::run(load, &args)?),
        Command::Try(args) => {
            return run_with_output(|out| Ok(try_submission::run(&load()?, &args, json, out)?));
        }
        Command::Demo(args) => {
            let is_verified = demo::run(args)?;
            return is_verified
                .then_some(())
                .ok_or(CliError::VerificationFailed);
        }
        Command::Compact => return Ok(compact::run(&load()?, json, &mut io::stdout())??),
        Command::Backup(args) => {
            let send = |query: AdminQuery, output: &mut dyn FnMut(Value) -> bool| {
                send_request(config.as_deref(), &query.into(), output)
            };
            return run_with_output(|out| args.run(&send, json, out));
        }
        Command::Follow(args) => return args.run(&load()?, config.as_deref()),
        Command::Promote => {
            return run_with_output(|out| commands::follow::promote(&load()?, json, out));
        }
        Command::Restore(args) => return run_with_output(|out| args.run(&load()?, json, out)),
        Command::Config(ConfigSubcommand::Check) => {
            return run_with_output(|out| print_config(&load()?, json, out));
        }
        Command::Completions { shell } => {
            // The generator panics if its writer fails, so it writes to memory.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "flowgate", &mut script);
            return Ok(io::stdout().write_all(&script)?);
        }
        Command::Keys(args) => return run_with_output(|out| Ok(args.run(load, json, out)?)),
        Command::Status => AdminCall::text::<StatusAnswer>(AdminQuery::Status, ""),
        Command::Reload => AdminCall::text::<ReloadRow>(ServerCommand::ReloadConfig, ""),
        Command::Check => AdminCall::text::<CheckRow>(AdminQuery::CheckIntegrity, ""),
        Command::Submissions(submissions) => submissions.into(),
        Command::Drafts(drafts) => drafts.into(),
        Command::Jobs(jobs) => jobs.into(),
        Command::DeadLetters(dead_letters) => dead_letters.into(),
        Command::Deliveries(deliveries) => deliveries.into(),
        Command::Destinations { verb } => verb.unwrap_or(DestinationsVerb::List).into(),
        Command::Leads(leads) => leads.into(),
        Command::Agents(agents) => agents.into(),
        Command::Bookings(bookings) => bookings.into(),
        Command::Slots(slots) => slots.into(),
        Command::Gateways { verb } => verb.unwrap_or(GatewaysVerb::List).into(),
        Command::Flows { verb } => match verb.unwrap_or(FlowsVerb::List).into() {
            FlowsAction::Call(call) => *call,
            FlowsAction::CheckFlowJson(check) => {
                return run_with_output(|out| Ok(check.run(load, json, out)?));
            }
        },
    };
    run_call(config.as_deref(), call, json)
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

/// Sends the request of `call` and writes the rows of its response. A call that needs a
/// confirmation asks for it first.
fn run_call(named: Option<&Path>, call: AdminCall, json: bool) -> Result<(), CliError> {
    if let Some(Confirmation { dry_run, question }) = call.confirmation {
        let mut preview = None;
        send_request(named, &dry_run, &mut |row| {
            preview = DryRunRow::deserialize(row).ok();
            true
        })?;
        // Without the number of affected rows, the admin can't know what they confirm.
        let preview = preview.ok_or_else(|| {
            AdminError::failed(
                "the number of affected rows is unknown: the server has another version of flowgate",
            )
        })?;
        question.ask(&preview)?;
    }
    let mut writer = OutputWriter::new(call.format, json);
    let answered = send_request(named, &call.request, &mut |row| writer.write_row(row));
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
