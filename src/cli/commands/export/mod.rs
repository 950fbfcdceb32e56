//! Defines the command `flowgate export`, which writes rows as CSV or JSON Lines.
//!
//! The rows come from the queries of the lists, page by page, so neither the server nor the command
//! holds all of them. A CSV of forms has a column for each answer. To know these columns, the
//! command reads the rows twice.
//!
//! See [`table`] for the columns and cells.

mod kind;
mod table;

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::admin::{AdminError, AdminRequest, ListFilter};
use crate::cli::args::parse_since;
use crate::cli::exit_code::CliError;
use crate::domain::ids::FlowName;
use crate::domain::time::Timestamp;
use kind::ExportKind;
use table::CsvTable;

/// Sends a request and passes each row of the response to a function.
pub(in crate::cli) type SendFn<'a> =
    dyn FnMut(&AdminRequest, &mut dyn FnMut(Value) -> bool) -> Result<(), CliError> + 'a;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Kind of the rows
    kind: ExportKind,
    /// Format of the rows. Default: csv; with --json: jsonl
    #[arg(long, value_name = "FORMAT")]
    format: Option<ExportFormat>,
    /// Only rows of this flow. Default: all flows
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    flow: Option<FlowName>,
    /// Only rows in this state. Default: all states
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only rows since this time: a length (90m, 2h, 7d), a date (UTC) or an RFC 3339 time.
    /// Default: no limit
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Only rows before this time, written as --since. Default: no limit
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// Table for spreadsheets
    Csv,
    /// JSON Lines: one JSON object per line
    Jsonl,
}

impl ExportArgs {
    /// Writes the rows to `output`.
    pub(in crate::cli) fn run(
        &self,
        json: bool,
        send: &mut SendFn<'_>,
        output: &mut impl Write,
    ) -> Result<(), CliError> {
        self.check()?;
        let format = match (self.format, json) {
            (Some(ExportFormat::Csv), true) => {
                let problem = "--json writes JSON Lines: leave out --json or --format csv";
                return Err(AdminError::invalid(problem).into());
            }
            (Some(format), _) => format,
            (None, true) => ExportFormat::Jsonl,
            (None, false) => ExportFormat::Csv,
        };
        match format {
            ExportFormat::Jsonl => self.write_json_lines(send, output),
            ExportFormat::Csv => self.write_csv(send, output),
        }
    }

    /// Refuses a filter that the rows do not have.
    fn check(&self) -> Result<(), CliError> {
        let filters = self.kind.filters();
        for (option, is_set, is_known) in [
            ("--flow", self.flow.is_some(), filters.flow),
            ("--state", self.state.is_some(), filters.state),
            ("--since", self.since.is_some(), filters.time),
            ("--until", self.until.is_some(), filters.time),
        ] {
            if is_set && !is_known {
                let kind = self.kind.name();
                let problem = format!("{kind} can't be filtered by {option}: leave it out");
                return Err(AdminError::invalid(problem).into());
            }
        }
        Ok(())
    }

    /// Calls `visit` with each row that the filters include. `visit` returns `false` to stop.
    fn for_each_row(
        &self,
        send: &mut SendFn<'_>,
        mut visit: impl FnMut(Value) -> bool,
    ) -> Result<(), CliError> {
        let query = (self.kind.query())(ListFilter {
            state: self.state.clone(),
            flow: self.flow.clone(),
            since: self.since,
            ..ListFilter::default()
        });
        let field = self.kind.time_field();
        send(&query.into(), &mut |row| {
            let at = row.get(field).and_then(Value::as_str);
            let at = at.and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let is_later =
                (self.until.zip(at)).is_some_and(|(until, at)| Timestamp::from_jiff(at) >= until);
            is_later || visit(row)
        })
    }

    fn write_json_lines(
        &self,
        send: &mut SendFn<'_>,
        output: &mut impl Write,
    ) -> Result<(), CliError> {
        let mut written = Ok(());
        self.for_each_row(send, |row| {
            written = writeln!(output, "{row}");
            written.is_ok()
        })?;
        Ok(written?)
    }

    fn write_csv(&self, send: &mut SendFn<'_>, output: &mut impl Write) -> Result<(), CliError> {
        let mut table = CsvTable::new(self.kind);
        if table.has_answers() {
            self.for_each_row(send, |row| {
                table.add_answers(&row);
                true
            })?;
        }
        let mut writer = csv::Writer::from_writer(output);
        let mut written = writer.write_record(table.header());
        let mut unreadable = 0_usize;
        if written.is_ok() {
            self.for_each_row(send, |row| {
                let is_unreadable = row.get("error").is_some()
                    && row.get("state").and_then(Value::as_str) == Some("unreadable");
                unreadable += usize::from(is_unreadable);
                written = writer.write_record(table.cells(&row));
                written.is_ok()
            })?;
        }
        written.map_err(into_io_error)?;
        writer.flush()?;
        if unreadable > 0 {
            let problem = format!(
                "{unreadable} rows can't be read and have empty cells: run `flowgate check`"
            );
            return Err(AdminError::failed(problem).into());
        }
        Ok(())
    }
}

/// Returns the error of the output itself, so that a closed pipe is recognized.
fn into_io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
