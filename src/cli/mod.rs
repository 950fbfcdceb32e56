//! Parses the command line and runs the command.
//!
//! Most commands are admin requests, sent to a running server over its socket or executed on the
//! data file of a stopped server. `init`, `serve`, `try`, `demo`, `bench`, `doctor`,
//! `flows check`, `keys`, `compact`, `config`, `upgrade`, `healthcheck`, `completions` and
//! `man-pages` are not.
//!
//! | module | content |
//! |---|---|
//! | `command_line` | the argument tree |
//! | `commands` | arguments, requests and output formats of each command |
//! | `connect` | choice of socket or file |
//! | `output` | tables, texts and JSON |
//! | `exit_code` | exit code of each error |

pub mod args;
pub mod bench;
mod cell;
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
mod graph_app;
pub mod meta_client;
pub(crate) mod output;
pub mod sample_form;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{
    AdminError, AdminQuery, AdminRequest, CheckRow, DryRunRow, LogLevelRow, ReloadRow,
    ServerCommand,
};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError};
use bench::BenchArgs;
use command_line::{Cli, Command, ConfigSubcommand};
use commands::backup::BackupArgs;
use commands::calendars::CalendarsVerb;
use commands::destinations::DestinationsVerb;
use commands::doctor::DoctorArgs;
use commands::export::{ExportArgs, SendFn};
use commands::flows::{FlowsAction, FlowsVerb};
use commands::gateways::GatewaysVerb;
use commands::status::{StatusAnswer, StatusArgs};
use commands::{AdminCall, compact, healthcheck, try_submission, upgrade};
use confirmation::Confirmation;
use deferred_error_writer::DeferredErrorWriter;
use demo::DemoArgs;
use exit_code::CliError;
use output::{OutputFormat, OutputWriter};

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
    let mut send = |request: &AdminRequest, sink: &mut dyn FnMut(Value) -> bool| {
        send_request(config.as_deref(), request, sink)
    };
    let call: AdminCall = match command {
        Command::Init(args) => return run_with_output(|out| Ok(args.run(json, out)?)),
        Command::Serve(args) => return Ok(crate::bootstrap::serve::run(load, &args)?),
        Command::Try(args) => {
            return run_with_output(|out| Ok(try_submission::run(&load()?, &args, json, out)?));
        }
        Command::Demo(args) => return run_demo(args),
        Command::Bench(args) => return run_bench(&args, load, json),
        Command::Compact => return Ok(compact::run(&load()?, json, &mut io::stdout())??),
        Command::Backup(args) => return run_backup(config.as_deref(), &args, json),
        Command::Follow(args) => return args.run(&load()?, config.as_deref()),
        Command::Promote => {
            return run_with_output(|out| commands::follow::promote(&load()?, json, out));
        }
        Command::Restore(args) => return run_with_output(|out| args.run(&load()?, json, out)),
        Command::Config(ConfigSubcommand::Check) => {
            return run_with_output(|out| print_config(&load()?, json, out));
        }
        Command::Completions { shell } => return print_completions(shell),
        Command::ManPages { folder } => return write_man_pages(&folder),
        Command::Upgrade(_) => return check_upgrade(&load()?, json),
        Command::Import(args) => return write_record(&args.run(&mut send)?, json),
        Command::Export(args) => return run_export(&args, json, &mut send),
        Command::Doctor(args) => return run_doctor(&args, load, json),
        Command::Keys(args) => return run_with_output(|out| Ok(args.run(load, json, out)?)),
        Command::Status(args) => return run_status(config.as_deref(), args, json),
        Command::Healthcheck => return check_health(config.as_deref(), json),
        Command::Reload => AdminCall::text::<ReloadRow>(ServerCommand::ReloadConfig, ""),
        Command::LogLevel { filter } => {
            AdminCall::text::<LogLevelRow>(ServerCommand::LogLevel { filter }, "")
        }
        Command::Check => AdminCall::text::<CheckRow>(AdminQuery::CheckIntegrity, ""),
        Command::Trace(trace) => trace.into(),
        Command::Customers(customers) => customers.into(),
        Command::Submissions(submissions) => submissions.into(),
        Command::Drafts(drafts) => drafts.into(),
        Command::Jobs(jobs) => jobs.into(),
        Command::DeadLetters(dead_letters) => dead_letters.into(),
        Command::Deliveries(deliveries) => deliveries.into(),
        Command::Destinations { verb } => verb.unwrap_or(DestinationsVerb::List).into(),
        Command::Leads(leads) => leads.into(),
        Command::Agents(agents) => agents.into(),
        Command::Bookings(bookings) => bookings.into(),
        Command::Calendars { verb } => verb.unwrap_or(CalendarsVerb::List).into(),
        Command::Slots(slots) => slots.into(),
        Command::Forget(forget) => forget.into(),
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

fn run_demo(args: DemoArgs) -> Result<(), CliError> {
    let is_verified = demo::run(args)?;
    is_verified
        .then_some(())
        .ok_or(CliError::VerificationFailed)
}

fn run_backup(named: Option<&Path>, args: &BackupArgs, json: bool) -> Result<(), CliError> {
    let send = |query: AdminQuery, output: &mut dyn FnMut(Value) -> bool| {
        send_request(named, &query.into(), output)
    };
    run_with_output(|out| args.run(&send, json, out))
}

fn run_bench(
    args: &BenchArgs,
    load: impl FnOnce() -> Result<Config, ConfigError>,
    json: bool,
) -> Result<(), CliError> {
    let mut is_enough = false;
    run_with_output(|out| {
        is_enough = bench::run(args, load, json, out)?;
        Ok(())
    })?;
    is_enough.then_some(()).ok_or(CliError::TooSlow)
}

fn check_upgrade(config: &Config, json: bool) -> Result<(), CliError> {
    refuse_startup_errors(config, &system_clock())?;
    run_with_output(|out| Ok(upgrade::run(config, json, out)??))
}

/// Checks the health of the running server, also if the config is invalid.
fn check_health(named: Option<&Path>, json: bool) -> Result<(), CliError> {
    let data = match Config::find_data_path(named) {
        Some(data) => data,
        None => Config::load_or_search(named)?.data,
    };
    run_with_output(|out| Ok(healthcheck::run(&data, json, out)??))
}

fn print_completions(shell: clap_complete::Shell) -> Result<(), CliError> {
    // The generator panics if its writer fails, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "flowgate", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

fn write_man_pages(folder: &Path) -> Result<(), CliError> {
    let program = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(program, folder).map_err(|error| {
        AdminError::failed(format!("can't write to {}: {error}", folder.display())).into()
    })
}

/// Writes rows to standard output. A closed pipe ends the command early.
fn run_export(args: &ExportArgs, json: bool, send: &mut SendFn<'_>) -> Result<(), CliError> {
    let mut output = BufWriter::new(io::stdout().lock());
    args.run(json, send, &mut output)?;
    Ok(output.flush()?)
}

/// Checks the machine. A wrong line is a failure.
fn run_doctor(
    args: &DoctorArgs,
    load: impl FnOnce() -> Result<Config, ConfigError>,
    json: bool,
) -> Result<(), CliError> {
    let mut wrong = 0;
    run_with_output(|out| {
        wrong = args.run(load, json, out)?;
        Ok(())
    })?;
    match wrong {
        0 => Ok(()),
        wrong => Err(CliError::DoctorFindings(wrong)),
    }
}

/// Shows the status. With `--check`, a warning is a failure.
fn run_status(named: Option<&Path>, args: StatusArgs, json: bool) -> Result<(), CliError> {
    let call = AdminCall::text::<StatusAnswer>(AdminQuery::Status, "");
    let mut warnings = 0;
    let mut writer = OutputWriter::new(call.format, json, display_zone(named));
    send_request(named, &call.request, &mut |row| {
        let found = row.get("warnings").and_then(Value::as_array);
        // A machine that follows a backup has its problem in `error`.
        let has_error = row.get("error").is_some_and(Value::is_string);
        warnings = found.map_or(usize::from(has_error), Vec::len);
        writer.write_row(row)
    })?;
    writer.finish()?;
    if args.check && warnings > 0 {
        return Err(CliError::StatusWarnings(warnings));
    }
    Ok(())
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

/// Returns the time zone in which people read times: the one of the business, or the one of the
/// machine if the config is invalid.
fn display_zone(named: Option<&Path>) -> TimeZone {
    Config::load_or_search(named)
        .map_or_else(|_| TimeZone::system(), |config| config.business_zone())
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
        question.ask(&preview, &display_zone(named))?;
    }
    let mut writer = OutputWriter::new(call.format, json, display_zone(named));
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

/// Writes a single object.
fn write_record(row: &impl Serialize, json: bool) -> Result<(), CliError> {
    let mut writer = OutputWriter::new(OutputFormat::Record(&[]), json, TimeZone::UTC);
    writer.write_row(serde_json::to_value(row).map_err(io::Error::from)?);
    Ok(writer.finish()?)
}

fn print_config(config: &Config, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let clock = system_clock();
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
    refuse_startup_errors(config, &clock)
}

fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// Returns an error if the server can't start with the config, for example without a key file.
fn refuse_startup_errors(config: &Config, clock: &Arc<dyn Clock>) -> Result<(), CliError> {
    match crate::bootstrap::components::find_startup_errors(config, clock) {
        Some(errors) => Err(CliError::UnresolvedConfig {
            file: config.file.clone(),
            errors,
        }),
        None => Ok(()),
    }
}
