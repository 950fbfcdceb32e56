//! Formats the output of `flowgate status`.

use std::fmt;

use crate::admin::StatusRow;
use crate::config::units::format_mebibytes;
use crate::domain::health::refusal_counters::format_counts;

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
        for warning in &self.warnings {
            write!(f, "\n! {warning}")?;
        }
        Ok(())
    }
}
