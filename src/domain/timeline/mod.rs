//! Builds the timeline of a form: each step from its receipt to the last acknowledgement, as
//! operators read it.
//!
//! The functions turn stored rows into entries with a time and a sentence. Rows keep the current
//! state, not each change, so a step without a stored time has no entry.
//!
//! See [`form`] for the form and what it became, [`work`] for jobs and deliveries, and [`target`]
//! for what can be traced.

pub mod form;
pub mod target;
pub mod work;

use super::ids::{BookingId, JobId, LeadId};
use super::time::Timestamp;

named_enum! {
    /// Kind of an entry.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum EntryKind {
        /// The customer sent the form.
        Sent = "sent",
        /// The form was accepted.
        Received = "received",
        /// The signature of the request, or the reason why none was needed.
        Signature = "signature",
        /// An answer is invalid.
        Problem = "problem",
        /// Another copy of the form arrived.
        Copy = "copy",
        /// A slot was reserved, or its booking was cancelled.
        Booking = "booking",
        /// The requested slot was not free.
        Conflict = "conflict",
        /// A lead was created, assigned or closed.
        Lead = "lead",
        /// An attempt of a job.
        Attempt = "attempt",
        /// The state of a job after its attempts.
        Job = "job",
        /// An event became true and was queued for a destination.
        Event = "event",
        /// The state of a delivery after its attempts.
        Delivery = "delivery",
        /// Status of a WhatsApp message.
        Receipt = "receipt",
        /// A job became a dead letter.
        DeadLetter = "dead_letter",
        /// A form is begun and not completed.
        Draft = "draft",
    }
}

/// Step of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Time of the step, in UTC. A planned step is in the future.
    pub at: Timestamp,
    /// Kind of the step.
    pub kind: EntryKind,
    /// Sentence for people. It may contain what a customer wrote.
    pub text: String,
    /// Job or delivery of the step.
    pub job_id: Option<JobId>,
    /// Lead of the step.
    pub lead_id: Option<LeadId>,
    /// Booking of the step.
    pub booking_id: Option<BookingId>,
}

impl TimelineEntry {
    /// Creates an entry.
    #[must_use]
    pub fn new(at: Timestamp, kind: EntryKind, text: impl Into<String>) -> Self {
        Self {
            at,
            kind,
            text: text.into(),
            job_id: None,
            lead_id: None,
            booking_id: None,
        }
    }

    fn of_job(self, id: JobId) -> Self {
        Self {
            job_id: Some(id),
            ..self
        }
    }
}

/// Sorts entries by time. Entries of one time keep their order: the caller adds them in the order
/// of cause and effect.
pub fn sort_entries(entries: &mut [TimelineEntry]) {
    entries.sort_by_key(|entry| entry.at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_time_keep_their_order() {
        let entry = |at, kind| TimelineEntry::new(Timestamp::from_millis(at), kind, "");
        let mut entries = [
            entry(5, EntryKind::Received),
            entry(5, EntryKind::Booking),
            entry(9, EntryKind::Job),
            entry(3, EntryKind::Sent),
            entry(5, EntryKind::Event),
        ];
        sort_entries(&mut entries);
        let kinds = entries.map(|entry| entry.kind.as_str());
        assert_eq!(kinds, ["sent", "received", "booking", "event", "job"]);
    }
}
