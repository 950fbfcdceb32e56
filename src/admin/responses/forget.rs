//! Defines the row of a removed customer.

use serde::Serialize;
use serde_json::Value;

use crate::store::ForgottenRows;

/// Rows of a customer that were removed, or that a dry run found.
#[derive(Debug, Serialize)]
pub(crate) struct ForgetRow {
    /// Number of rows that would be removed. Absent after a removal.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_change: Option<usize>,
    /// Number of removed rows. Absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<usize>,
    submissions: usize,
    drafts: usize,
    leads: usize,
    bookings: usize,
    deliveries: usize,
    /// Number of these deliveries that waited.
    waiting_deliveries: usize,
    dead_letters: usize,
    messages: usize,
    completions: usize,
    flow_errors: usize,
    health_events: usize,
    name_changes: usize,
    last_agents: usize,
    /// Number of texts in other rows that were replaced.
    texts: usize,
    /// Number of rows that can't be read and stay. `flowgate check` lists them.
    unreadable: usize,
    /// Always empty: a confirmation shows no personal data.
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<Vec<Value>>,
}

impl ForgetRow {
    pub(crate) fn new(rows: ForgottenRows, dry_run: bool) -> Self {
        let total = rows.total();
        Self {
            would_change: dry_run.then_some(total),
            removed: (!dry_run).then_some(total),
            submissions: rows.submissions,
            drafts: rows.drafts,
            leads: rows.leads,
            bookings: rows.bookings,
            deliveries: rows.deliveries,
            waiting_deliveries: rows.waiting_deliveries,
            dead_letters: rows.dead_letters,
            messages: rows.messages,
            completions: rows.completions,
            flow_errors: rows.flow_errors,
            health_events: rows.health_events,
            name_changes: rows.name_changes,
            last_agents: rows.last_agents,
            texts: rows.texts,
            unreadable: rows.unreadable,
            samples: dry_run.then(Vec::new),
        }
    }
}
