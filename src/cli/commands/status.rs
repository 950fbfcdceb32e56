//! Formats the output of `flowgate status`.

use std::fmt;

use serde::Deserialize;

use crate::admin::StatusRow;
use crate::backup::{BackupStatus, FollowStatus};
use crate::config::units::format_mebibytes;
use crate::domain::health::refusal_counters::format_counts;
use crate::domain::time::Timestamp;

/// Status of a server or file, or of a machine that follows a backup.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum StatusAnswer {
    /// Server or file.
    Server(Box<StatusRow>),
    /// Machine that follows a backup.
    Follower(FollowStatus),
}

impl fmt::Display for StatusAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self {
            Self::Server(status) => return status.fmt(f),
            Self::Follower(status) => status,
        };
        writeln!(f, "following     {}", status.following)?;
        match (status.committed_at, status.behind_seconds) {
            (Some(at), Some(seconds)) => {
                write!(f, "data          up to {at}; compared {seconds} s ago")?;
            }
            (Some(at), None) => write!(f, "data          up to {at}; not compared yet")?,
            (None, _) => write!(f, "data          the first restore is in progress")?,
        }
        if let Some(error) = &status.error {
            write!(f, "\n! the backup can't be followed: {error}")?;
        }
        write!(f, "\nnext: `flowgate promote` makes this machine serve")
    }
}

/// Arguments of `status`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct StatusArgs {
    /// Exit with code 1 if there is a warning, for monitoring
    #[arg(long)]
    pub(crate) check: bool,
}

/// Formats one line for each topic and one for each warning.
impl fmt::Display for StatusRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (jobs, leads, writer, stats) = (self.jobs, self.leads, self.writer, self.writer.stats);
        match self.listen {
            Some(listen) => writeln!(
                f,
                "server        {}, listening on http://{listen}",
                self.health.replace('_', " ")
            )?,
            None => writeln!(f, "server        not running")?,
        }
        let (submissions, drafts) = (self.submissions, self.drafts);
        writeln!(f, "submissions   {submissions}, and {drafts} drafts")?;
        write!(f, "jobs          {} scheduled", jobs.scheduled)?;
        if let Some(seconds) = self.oldest_due_seconds {
            write!(f, ", the oldest overdue by {seconds} s")?;
        }
        writeln!(f, ", {} running, {} done", jobs.running, jobs.done)?;
        writeln!(f, "dead letters  {}", jobs.dead)?;
        writeln!(
            f,
            "leads         {} open, {} of them waiting for an agent",
            leads.open, leads.unassigned
        )?;
        writeln!(f, "bookings      {} confirmed", self.bookings)?;
        let (queued, capacity) = (writer.queued, writer.capacity);
        write!(f, "writer        {queued} of {capacity} queued; ")?;
        writeln!(
            f,
            "{} transactions in {} commits, the slowest {} us",
            stats.changes, stats.commits, stats.slowest_commit_us
        )?;
        match format_counts(&self.refused) {
            none if none.is_empty() => writeln!(f, "refused       none")?,
            counts => writeln!(f, "refused       {counts}")?,
        }
        write!(f, "file          {}", format_mebibytes(self.file_bytes))?;
        if let Some(free) = self.free_bytes {
            write!(f, ", {} free on its disk", format_mebibytes(free))?;
        }
        if let Some(backup) = &self.backup {
            write_backup(backup, f)?;
        }
        for warning in &self.warnings {
            write!(f, "\n! {warning}")?;
        }
        Ok(())
    }
}

fn write_backup(backup: &BackupStatus, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let time = |at: Option<Timestamp>| at.map_or("none yet".to_owned(), |at| at.to_string());
    if let Some(url) = &backup.url {
        write!(f, "\nbackup        {url}, ")?;
        match backup.behind_seconds {
            Some(0) => write!(f, "up to date")?,
            Some(seconds) => write!(f, "{seconds} s behind")?,
            None => write!(f, "starting")?,
        }
        write!(f, "; last base: {}", time(backup.base_at))?;
    } else {
        write!(f, "\nbackup        last copy: {}", time(backup.copied_at))?;
    }
    Ok(())
}
