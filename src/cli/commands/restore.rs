//! `flowgate restore`: makes a data file from a backup.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::backup::print_violations;
use crate::admin::{AdminClient, AdminError, socket_path};
use crate::backup::{BackupError, RestoreSource, RestoredFile, restore_copy};
use crate::bootstrap::store_options::store_options;
use crate::cli::args::parse_since;
use crate::cli::exit_code::CliError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::time::Timestamp;

/// Arguments of `flowgate restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// Copy of the data file, or a folder of copies
    source: PathBuf,
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
        let RestoreSource::Copy(copy) = RestoreSource::find(&self.source, self.at)?;
        let restored = restore_copy(&copy, &options, self.force, &clock)?;
        Ok(print_restored(&restored, json, output)?)
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
        kept,
    } = restored;
    if json {
        let row = json!({
            "file": file, "source": source, "committed_at": committed_at,
            "submissions": summary.submissions, "rows": summary.rows,
            "violations": summary.violations, "bytes": summary.bytes, "kept": kept,
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
    if let Some(kept) = kept {
        writeln!(output, "the old file is {}", kept.display())?;
    }
    writeln!(output, "next: `flowgate serve`")
}
