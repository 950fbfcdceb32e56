//! `flowgate backup`: copies the data file, also while a server runs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::{AdminError, AdminQuery, CopyRow};
use crate::backup::{BackupError, CopiedFile, copy_to_new_file, remove_old_copies};
use crate::cli::exit_code::CliError;
use crate::clock::{Clock, SystemClock};
use crate::config::units::{format_mebibytes, parse_duration};
use crate::domain::time::Millis;
use crate::store::{CopyEnd, StoreError};

/// Arguments of `flowgate backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// New file, or an existing folder, in which the copy gets a dated name
    path: PathBuf,
    /// Make a copy again and again, at this interval (6h, 1d), until the command is stopped. PATH
    /// must be a folder
    #[arg(long, value_name = "INTERVAL", value_parser = parse_interval)]
    every: Option<Millis>,
    /// With --every: number of copies to keep in the folder
    #[arg(long, value_name = "N", default_value_t = 7, requires = "every",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    keep: usize,
}

fn parse_interval(text: &str) -> Result<Millis, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Millis::from_secs(60) {
        return Err("must be at least 1m".to_owned());
    }
    Ok(interval)
}

/// Sends a request and passes each row of the response to the callback.
type SendRequest<'a> =
    dyn Fn(AdminQuery, &mut dyn FnMut(Value) -> bool) -> Result<(), CliError> + 'a;

impl BackupArgs {
    /// Makes one copy, or copies at the interval. `send` reaches the server or the file.
    ///
    /// # Errors
    /// Returns the reason why a copy failed.
    pub(in crate::cli) fn run(
        &self,
        send: &SendRequest<'_>,
        json: bool,
        output: &mut impl Write,
    ) -> Result<(), CliError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let Some(interval) = self.every else {
            return self.copy_once(send, &clock, json, output);
        };
        if !self.path.is_dir() {
            return Err(AdminError::invalid(format!(
                "{} is no folder: with --every, name an existing folder",
                self.path.display()
            ))
            .into());
        }
        let mut copy = || {
            self.copy_once(send, &clock, json, output)?;
            remove_old_copies(&self.path, self.keep, clock.now())?;
            Ok::<_, CliError>(output.flush()?)
        };
        // An error of the first copy is one of the command.
        copy()?;
        loop {
            let next = clock.elapsed().saturating_add(interval.to_duration());
            while let Some(rest) = next
                .checked_sub(clock.elapsed())
                .filter(|rest| !rest.is_zero())
            {
                thread::park_timeout(rest);
            }
            match copy() {
                Err(error) if error.is_closed_pipe() => return Err(error),
                Err(error) => {
                    writeln!(io::stderr(), "the copy failed, and is tried again: {error}")?;
                }
                Ok(()) => {}
            }
        }
    }

    fn copy_once(
        &self,
        send: &SendRequest<'_>,
        clock: &Arc<dyn Clock>,
        json: bool,
        output: &mut impl Write,
    ) -> Result<(), CliError> {
        let copied = copy_to_new_file(&self.path, clock, |apply| receive(send, apply))?;
        Ok(print_copy(&copied, json, output)?)
    }
}

/// Receives a copy and passes its changes to `apply`. Returns the end of the copy.
fn receive(
    send: &SendRequest<'_>,
    apply: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<CopyEnd, CliError> {
    let (mut end, mut failure) = (None, None);
    send(AdminQuery::CopyData, &mut |row| {
        let received = match CopyRow::deserialize(row) {
            Ok(CopyRow::Changes(text)) => STANDARD
                .decode(text)
                .map_err(|_| BackupError::Incomplete)
                .and_then(|changes| Ok(apply(&changes)?)),
            Ok(CopyRow::End(last)) => {
                end = Some(last);
                Ok(())
            }
            Err(_) => Err(BackupError::Incomplete),
        };
        failure = received.err();
        failure.is_none()
    })?;
    match (failure, end) {
        (Some(failure), _) => Err(failure.into()),
        (None, Some(end)) => Ok(end),
        (None, None) => Err(BackupError::Incomplete.into()),
    }
}

fn print_copy(copied: &CopiedFile, json: bool, output: &mut impl Write) -> std::io::Result<()> {
    let CopiedFile {
        file,
        committed_at,
        summary,
    } = copied;
    if json {
        let row = json!({
            "file": file, "committed_at": committed_at, "submissions": summary.submissions,
            "rows": summary.rows, "violations": summary.violations, "bytes": summary.bytes,
        });
        return writeln!(output, "{row}");
    }
    writeln!(
        output,
        "{}: {}, {} submissions and {} rows in all, as of {committed_at}; opened, verified and counted",
        file.display(),
        format_mebibytes(summary.bytes),
        summary.submissions,
        summary.rows,
    )?;
    print_violations(summary.violations, output)
}

/// Prints a hint about violations, which the file has from its source.
pub(super) fn print_violations(violations: u64, output: &mut impl Write) -> std::io::Result<()> {
    if violations == 0 {
        return Ok(());
    }
    writeln!(
        output,
        "! {violations} things are not as they should be, as in the source: `flowgate check` lists them"
    )
}
