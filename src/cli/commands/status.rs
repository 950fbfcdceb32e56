//! Formats the output of `flowgate status`.

use std::io::{self, Write};

use crate::admin::StatusRow;
use crate::config::units::format_mebibytes;
use crate::domain::health::refusal_counters::format_counts;

/// Writes a status to `output`, one line for each topic and one for each warning.
///
/// # Errors
/// Returns the error of `output` if a write fails.
pub fn write_status(status: &StatusRow, output: &mut impl Write) -> io::Result<()> {
    let server = match status.listen {
        Some(listen) => format!(
            "{}, listening on http://{listen}",
            status.health.replace('_', " ")
        ),
        None => "not running".to_owned(),
    };
    let oldest = match status.oldest_due_seconds {
        Some(seconds) => format!(", the oldest overdue by {seconds} s"),
        None => String::new(),
    };
    let (jobs, leads, writer) = (status.jobs, status.leads, status.writer);
    let free = status.free_bytes.map_or_else(String::new, |free| {
        format!(", {} free on its disk", format_mebibytes(free))
    });
    let lines = [
        ("server", server),
        (
            "submissions",
            format!("{}, and {} drafts", status.submissions, status.drafts),
        ),
        (
            "jobs",
            format!(
                "{} scheduled{oldest}, {} running, {} done",
                jobs.scheduled, jobs.running, jobs.done
            ),
        ),
        ("dead letters", jobs.dead.to_string()),
        (
            "leads",
            format!(
                "{} open, {} of them waiting for an agent",
                leads.open, leads.unassigned
            ),
        ),
        ("bookings", format!("{} confirmed", status.bookings)),
        (
            "writer",
            format!(
                "{} of {} queued; {} transactions in {} commits, the slowest {} us",
                writer.queued,
                writer.capacity,
                writer.stats.changes,
                writer.stats.commits,
                writer.stats.slowest_commit_us
            ),
        ),
        (
            "refused",
            if status.refused.is_empty() {
                "none".to_owned()
            } else {
                format_counts(&status.refused)
            },
        ),
        (
            "file",
            format!("{}{free}", format_mebibytes(status.file_bytes)),
        ),
    ];
    for (name, text) in lines {
        writeln!(output, "{name:<14}{text}")?;
    }
    status
        .warnings
        .iter()
        .try_for_each(|warning| writeln!(output, "! {warning}"))
}
