//! Defines the command `flowgate import`, which reads agents, leads and bookings from a CSV file.
//!
//! The whole file is checked first, and all problems are shown together. Nothing is imported until
//! every line is valid. The same file can be imported again: rows that are stored stay unchanged.
//!
//! See [`rows`] for the columns.

mod rows;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::export::SendFn;
use crate::admin::{AdminCommand, AdminError, FormImport, ImportProblem, ImportRow, ImportedForm};
use crate::cli::exit_code::CliError;
use crate::domain::ids::FlowName;

/// Maximum size of a file in bytes. The rows are held in memory.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Maximum number of forms in one request, and of the bytes of their answers. The server looks for
/// known rows once in each request.
const FORMS_PER_REQUEST: usize = 5000;
const BYTES_PER_REQUEST: usize = 3 << 20;
/// Maximum number of problems that are shown.
const PROBLEMS_SHOWN_MAX: usize = 50;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Kind of the rows
    kind: ImportKind,
    /// CSV file with a header line, separated by comma, semicolon or tab. `-`: standard input
    file: PathBuf,
    /// Flow to which the leads or bookings belong
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    flow: Option<FlowName>,
    /// Change nothing. Check the file and show what an import would do
    #[arg(long)]
    dry_run: bool,
}

/// Kind of rows to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportKind {
    /// Sales agents: name, team, and optional weight and limits
    Agents,
    /// Leads of a flow: a phone number or user ID, and answers
    Leads,
    /// Appointments: as leads, with a date and a time
    Bookings,
}

impl ImportArgs {
    /// Checks the file, and imports it if it is valid and no dry run.
    pub(in crate::cli) fn run(&self, send: &mut SendFn<'_>) -> Result<ImportRow, CliError> {
        let text = read_file(&self.file)?;
        let flow = match (self.kind, &self.flow) {
            (ImportKind::Agents, None) => return self.import_agents(&text, send),
            (ImportKind::Agents, Some(_)) => {
                return Err(invalid("agents belong to no flow: leave out --flow"));
            }
            (_, None) => return Err(invalid("name the flow of the rows: --flow NAME")),
            (_, Some(flow)) => flow,
        };
        let forms = rows::parse_forms(&text, flow).map_err(|found| self.refuse(&found))?;
        let checked = self.send_forms(flow, &forms, true, send)?;
        if !checked.problems.is_empty() {
            return Err(self.refuse(&checked.problems));
        }
        if self.dry_run {
            return Ok(checked);
        }
        let imported = self.send_forms(flow, &forms, false, send)?;
        self.check_result(imported)
    }

    fn import_agents(&self, text: &str, send: &mut SendFn<'_>) -> Result<ImportRow, CliError> {
        let agents = rows::parse_agents(text).map_err(|found| self.refuse(&found))?;
        let request = |dry_run| AdminCommand::ImportAgents {
            agents: agents.clone(),
            dry_run,
        };
        let checked = send_for_row(request(true), send)?;
        if !checked.problems.is_empty() {
            return Err(self.refuse(&checked.problems));
        }
        if self.dry_run {
            return Ok(checked);
        }
        send_for_row(request(false), send)
    }

    fn send_forms(
        &self,
        flow: &FlowName,
        forms: &[ImportedForm],
        dry_run: bool,
        send: &mut SendFn<'_>,
    ) -> Result<ImportRow, CliError> {
        let mut result = ImportRow::new(dry_run);
        let mut rest = forms;
        while !rest.is_empty() {
            let (rows, later) = rest.split_at(count_for_request(rest));
            let import = FormImport {
                flow: flow.clone(),
                books: self.kind == ImportKind::Bookings,
                rows: rows.to_vec(),
                dry_run,
            };
            result.add(send_for_row(AdminCommand::ImportForms(import), send)?);
            rest = later;
        }
        Ok(result)
    }

    /// Returns an error if lines were refused.
    fn check_result(&self, row: ImportRow) -> Result<ImportRow, CliError> {
        if row.problems.is_empty() {
            return Ok(row);
        }
        let lines = self.describe(&row.problems);
        let done = row.added + row.changed;
        Err(AdminError::failed(format!(
            "{done} rows were imported, and these were not:\n{lines}\ncorrect these lines and import the file again: rows that are stored stay unchanged"
        ))
        .into())
    }

    /// Returns the error for a file of which nothing was imported.
    fn refuse(&self, problems: &[ImportProblem]) -> CliError {
        let lines = self.describe(problems);
        invalid(format!("nothing was imported:\n{lines}"))
    }

    fn describe(&self, problems: &[ImportProblem]) -> String {
        let file = self.file.display();
        let shown = problems.iter().take(PROBLEMS_SHOWN_MAX);
        let mut lines: Vec<String> = shown
            .map(|found| format!("  {file}, line {}: {}", found.line, found.problem))
            .collect();
        let more = problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
        if more > 0 {
            lines.push(format!("  and {more} more lines"));
        }
        lines.join("\n")
    }
}

/// Returns how many of these forms one request contains: at least one.
fn count_for_request(forms: &[ImportedForm]) -> usize {
    let mut bytes = 0_usize;
    let fitting = forms.iter().take(FORMS_PER_REQUEST).take_while(|form| {
        bytes = bytes.saturating_add(form.data.len());
        bytes <= BYTES_PER_REQUEST
    });
    fitting.count().max(1).min(forms.len())
}

fn invalid(problem: impl Into<String>) -> CliError {
    AdminError::invalid(problem).into()
}

fn send_for_row(command: AdminCommand, send: &mut SendFn<'_>) -> Result<ImportRow, CliError> {
    let mut result = None;
    send(&command.into(), &mut |row| {
        result = ImportRow::deserialize(row).ok();
        true
    })?;
    result.ok_or_else(|| {
        let problem = "the result is unknown: the server has another version of flowgate";
        AdminError::failed(problem).into()
    })
}

fn read_file(path: &Path) -> Result<String, CliError> {
    let failed = |error: io::Error| invalid(format!("can't read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin()
            .lock()
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
    } else {
        let file = File::open(path).map_err(failed)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    };
    read.map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        let mib = FILE_BYTES_MAX >> 20;
        return Err(invalid(format!(
            "{} is larger than {mib} MiB: split it into several files",
            path.display()
        )));
    }
    String::from_utf8(bytes).map_err(|_| {
        invalid(format!(
            "{} is not UTF-8: save it as \"CSV UTF-8\" in the spreadsheet",
            path.display()
        ))
    })
}
