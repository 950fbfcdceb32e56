//! `flowgate restore`: makes a data file from a backup.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::runtime::Runtime;

use super::backup::print_violations;
use crate::admin::AdminError;
use crate::admin_server::{AdminClient, socket_path};
use crate::backup::{BackupError, RestoreRequest, RestoreSource, RestoredFile, restore};
use crate::bootstrap::store_options::store_options;
use crate::cli::args::parse_since;
use crate::cli::exit_code::CliError;
use crate::clock::{Clock, SystemClock};
use crate::config::{BackupLocation, Config};
use crate::domain::time::Timestamp;

/// Arguments of `flowgate restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// Copy of the data file, folder of copies, or place of a continuous backup: its folder, or
    /// `s3://BUCKET/PREFIX`. Default: `backup.url` of the config
    source: Option<String>,
    /// Restore the data as of this time (2026-11-24T08:00:00Z). Default: the latest
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    at: Option<Timestamp>,
    /// File to write. Default: the data file of the config
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Take the place of an existing file, which is kept beside the restored one
    #[arg(long)]
    force: bool,
}

impl RestoreArgs {
    /// Restores the data file of `config`, or the named one.
    ///
    /// # Errors
    /// Returns the reason why the restore failed. The existing file is unchanged then.
    pub(in crate::cli) fn run(
        &self,
        config: &Config,
        json: bool,
        output: &mut impl Write,
    ) -> Result<(), CliError> {
        let mut options = store_options(config, false).map_err(BackupError::from)?;
        options.path = self.to.clone().unwrap_or(options.path);
        if AdminClient::connect(&socket_path(&options.path))?.is_some() {
            return Err(AdminError::failed(format!(
                "a server runs on {}: stop it first",
                options.path.display()
            ))
            .into());
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let location = find_location(config, self.source.as_deref())?;
        let request = RestoreRequest {
            source: RestoreSource::find(location, self.at)?,
            at: self.at,
            options: &options,
            s3: &config.backup.s3,
            force: self.force,
        };
        let runtime = Runtime::new()?;
        let restored = restore(&request, &clock, &runtime)?;
        Ok(print_restored(&restored, json, output)?)
    }
}

/// Returns the place of the backup that `named` names, or that of the config.
pub(super) fn find_location(
    config: &Config,
    named: Option<&str>,
) -> Result<BackupLocation, AdminError> {
    match named {
        // A path on the command line is relative to the folder of the shell.
        Some(named) => BackupLocation::parse(named, Path::new("")).map_err(AdminError::invalid),
        None => config.backup.location.clone().ok_or_else(|| {
            AdminError::invalid("the config has no `backup.url`: name the place of the backup")
        }),
    }
}

fn print_restored(
    restored: &RestoredFile,
    json: bool,
    output: &mut impl Write,
) -> std::io::Result<()> {
    let RestoredFile {
        file,
        source,
        committed_at,
        summary,
        replaced_file,
        missing_since,
    } = restored;
    if json {
        let row = json!({
            "file": file, "source": source, "committed_at": committed_at,
            "submissions": summary.submissions, "rows": summary.rows,
            "violations": summary.violations, "bytes": summary.bytes, "replaced_file": replaced_file,
            "missing_since": missing_since,
        });
        return writeln!(output, "{row}");
    }
    writeln!(
        output,
        "{} restored from {source}: {} submissions and {} rows in all, as of {committed_at}",
        file.display(),
        summary.submissions,
        summary.rows,
    )?;
    print_violations(summary.violations, output)?;
    if let Some(since) = missing_since {
        writeln!(
            output,
            "! the backup also has commits since {since} that can't be restored, because the first base after them is not complete"
        )?;
    }
    if let Some(replaced_file) = replaced_file {
        writeln!(output, "the old file is {}", replaced_file.display())?;
    }
    writeln!(output, "next: `flowgate serve`")
}
