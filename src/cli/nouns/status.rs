//! `flowgate status`: how things stand, in words.

use std::io::{self, Write};

use crate::admin::StatusView;
use crate::config::units::show_mebibytes;
use crate::domain::refusals::in_words;

/// Tells a status to `out`.
///
/// # Errors
/// Where `out` can't be written to.
pub fn tell(status: &StatusView, out: &mut impl Write) -> io::Result<()> {
    let server = match status.listen {
        Some(listen) => format!("{}, listening on http://{listen}", status.health.replace('_', " ")),
        None => "none runs".to_owned(),
    };
    let oldest = match status.oldest_due_seconds {
        Some(seconds) => format!(", the oldest due for {seconds} s"),
        None => String::new(),
    };
    let (jobs, leads, writer) = (status.jobs, status.leads, status.writer);
    let free =
        status.free_bytes.map_or_else(String::new, |free| format!(", {} free on its disk", show_mebibytes(free)));
    let lines = [
        ("server", server),
        ("submissions", format!("{}, and {} drafts", status.submissions, status.drafts)),
        ("jobs", format!("{} scheduled{oldest}, {} running, {} done", jobs.scheduled, jobs.running, jobs.done)),
        ("dead letters", jobs.dead.to_string()),
        ("leads", format!("{} open, {} of them waiting for an agent", leads.open, leads.unassigned)),
        ("bookings", format!("{} that stand", status.bookings)),
        (
            "writer",
            format!(
                "{} of {} waiting; {} changes in {} commits, the slowest {} us",
                writer.waiting,
                writer.room,
                writer.figures.changes,
                writer.figures.commits,
                writer.figures.slowest_commit_us
            ),
        ),
        ("refused", if status.refused.is_empty() { "none".to_owned() } else { in_words(&status.refused) }),
        ("file", format!("{}{free}", show_mebibytes(status.file_bytes))),
    ];
    for (name, text) in lines {
        writeln!(out, "{name:<14}{text}")?;
    }
    status.hints.iter().try_for_each(|hint| writeln!(out, "! {hint}"))
}
