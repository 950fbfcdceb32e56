//! What time takes away: expired keys with the ends of their forms, and submissions, attempts, drafts and what was said of flows past their
//! retention. In slices, so that no commit is held up by them.
//!
//! Never taken: a submission whose job is not over or is a dead letter, whose lead is open, or whose booking lies ahead;
//! a dead letter at all. When slices are asked for is decided by `crate::work`.

use redb::ReadableTable;

use crate::domain::booking::{Booking, BookingState};
use crate::domain::complaint::Complaint;
use crate::domain::draft::{Draft, Patience};
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::job::{Attempt, Job, JobKind};
use crate::domain::lead::{Lead, LeadState};
use crate::domain::time::{Millis, Timestamp};

use super::accept::StoredSubmission;
use super::batch::{Batch, Transaction};
use super::{StoreError, bookings, codec, deliveries, drafts, ends, flow_events, leads};

/// Takes away one slice.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Where to go on.
    pub from: Place,
    /// Rows to look at, at the most: about 1 µs each.
    pub most: usize,
    /// How long submissions are kept, and all that belongs to them; and Meta's health events.
    pub submissions: Millis,
    /// How long the failed attempts of finished jobs are kept, and clients' complaints.
    pub attempts: Millis,
    /// How long flows wait for the next screen: what time takes away first is that a form may still be finished.
    pub patience: Patience,
}

/// Drafts told of as left in one slice at the most, and bytes of them: each is written whole once more.
const LEFT_MOST: usize = 64;
const LEFT_BYTES: usize = 1 << 20;

/// A place in the round of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Idempotency keys: the beginning of a round.
    Keys,
    /// Submissions behind this id.
    Submissions(u64),
    /// Jobs that read messages or deliver events, behind this id.
    Messages(u64),
    /// Failed attempts behind this job and number.
    Attempts(u64, u32),
    /// Drafts behind this key.
    Drafts([u8; 16]),
    /// The oldest complaints of clients.
    Complaints,
    /// Meta's oldest health events.
    HealthEvents,
}

/// What a slice took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Rows taken away.
    pub removed: usize,
    /// Where the next slice goes on; `None`: the round is over.
    pub next: Option<Place>,
}

impl Transaction for Sweep {
    type Outcome = Swept;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Swept, StoreError> {
        let swept = match self.from {
            Place::Keys => self.keys(batch)?,
            Place::Submissions(after) => self.submissions(batch, after)?,
            Place::Messages(after) => self.messages(batch, after)?,
            Place::Attempts(job, number) => self.attempts(batch, (job, number))?,
            Place::Drafts(after) => self.drafts(batch, after)?,
            Place::Complaints => self.complaints(batch)?,
            Place::HealthEvents => self.health_events(batch)?,
        };
        batch.dirty |= swept.removed > 0;
        Ok(swept)
    }
}

impl Sweep {
    fn keys(&self, batch: &mut Batch<'_, '_>) -> Result<Swept, StoreError> {
        let memory = &mut *batch.memory;
        let keys = memory.keys.expire(batch.tables, &memory.counters, batch.expiry, self.most)?;
        let ends = ends::expire(batch, self.most)?;
        let next = if keys.max(ends) == self.most { Place::Keys } else { Place::Submissions(0) };
        Ok(Swept { removed: keys + ends, next: Some(next) })
    }

    fn submissions(&self, batch: &mut Batch<'_, '_>, after: u64) -> Result<Swept, StoreError> {
        let before = horizon(batch, self.submissions);
        let mut seen = 0;
        let mut last = after;
        let mut leaving = Vec::new();
        for row in batch.tables.submissions.range(after.saturating_add(1)..)?.take(self.most) {
            let (id, bytes) = row?;
            let row: StoredSubmission = codec::decode(id.value(), bytes.value())?;
            if row.received_at >= before {
                break;
            }
            (seen, last) = (seen + 1, id.value());
            if is_over(batch, &row)? {
                leaving.push((SubmissionId::new(id.value()), row));
            }
        }
        for (id, row) in &leaving {
            remove(batch, *id, row)?;
        }
        let next = if seen == self.most { Place::Submissions(last) } else { Place::Messages(0) };
        Ok(Swept { removed: leaving.len(), next: Some(next) })
    }

    /// Jobs that read messages or deliver events hang on no submission: they are taken by themselves.
    fn messages(&self, batch: &mut Batch<'_, '_>, after: u64) -> Result<Swept, StoreError> {
        let before = horizon(batch, self.submissions);
        let (mut seen, mut last, mut leaving) = (0, after, Vec::new());
        for row in batch.tables.jobs.range(after.saturating_add(1)..)?.take(self.most) {
            let (id, bytes) = row?;
            let job: Job = codec::decode(id.value(), bytes.value())?;
            if job.created_at >= before {
                break;
            }
            (seen, last) = (seen + 1, id.value());
            if job.kind != JobKind::Process && job.state.is_over() {
                leaving.push((id.value(), job.kind));
            }
        }
        for (id, kind) in &leaving {
            if *kind == JobKind::Deliver {
                deliveries::remove(batch, JobId::new(*id))?;
            }
            batch.tables.jobs.remove(id)?;
            remove_attempts(batch, *id)?;
        }
        let next = if seen == self.most { Place::Messages(last) } else { Place::Attempts(0, 0) };
        Ok(Swept { removed: leaving.len(), next: Some(next) })
    }

    fn attempts(&self, batch: &mut Batch<'_, '_>, after: (u64, u32)) -> Result<Swept, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let before = horizon(batch, self.attempts);
        let (mut seen, mut last, mut leaving) = (0, after, Vec::new());
        for row in batch.tables.attempts.range::<(u64, u32)>((Excluded(after), Unbounded))?.take(self.most) {
            let (key, bytes) = row?;
            let attempt: Attempt = codec::decode(key.value(), bytes.value())?;
            (seen, last) = (seen + 1, key.value());
            if attempt.started_at < before {
                let job = batch.tables.jobs.get(key.value().0)?;
                let job = job.map(|row| codec::decode::<Job>(key.value().0, row.value())).transpose()?;
                if job.is_none_or(|job| job.state.is_over()) {
                    leaving.push(key.value());
                }
            }
        }
        for key in &leaving {
            batch.tables.attempts.remove(key)?;
            batch.tables.exchanges.remove(key)?;
        }
        let next = if seen == self.most { Place::Attempts(last.0, last.1) } else { Place::Drafts([0; 16]) };
        Ok(Swept { removed: leaving.len(), next: Some(next) })
    }

    /// Tells of drafts that their users have left, and takes away old ones.
    fn drafts(&self, batch: &mut Batch<'_, '_>, after: [u8; 16]) -> Result<Swept, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let before = horizon(batch, self.submissions);
        let (mut seen, mut last, mut leaving) = (0, after, Vec::new());
        let (mut left, mut left_bytes) = (Vec::new(), 0);
        for row in batch.tables.drafts.range::<&[u8; 16]>((Excluded(&after), Unbounded))?.take(self.most) {
            let (key, bytes) = row?;
            let draft: Draft = codec::decode(key.value(), bytes.value())?;
            (seen, last) = (seen + 1, *key.value());
            if draft.updated_at < before {
                leaving.push(last);
            }
            if self.patience.is_over(&draft, batch.now) && !drafts::was_told(batch, &last, &draft)? {
                left_bytes += draft.data.len();
                left.push((last, draft));
            }
            if left.len() == LEFT_MOST || left_bytes > LEFT_BYTES {
                seen = self.most;
                break;
            }
        }
        for (key, draft) in &left {
            drafts::tell(batch, key, draft)?;
        }
        for key in &leaving {
            drafts::remove(batch, key)?;
        }
        let next = if seen == self.most { Place::Drafts(last) } else { Place::Complaints };
        Ok(Swept { removed: leaving.len(), next: Some(next) })
    }

    fn complaints(&self, batch: &mut Batch<'_, '_>) -> Result<Swept, StoreError> {
        let before = horizon(batch, self.attempts);
        let is_old = |complaint: &Complaint| complaint.at < before;
        let removed = flow_events::take_oldest(&mut batch.tables.complaints, self.most, is_old)?;
        let next = if removed == self.most { Place::Complaints } else { Place::HealthEvents };
        Ok(Swept { removed, next: Some(next) })
    }

    fn health_events(&self, batch: &mut Batch<'_, '_>) -> Result<Swept, StoreError> {
        let before = horizon(batch, self.submissions);
        let is_old = |event: &HealthEvent| event.received_at < before;
        let removed = flow_events::take_oldest(&mut batch.tables.health_events, self.most, is_old)?;
        Ok(Swept { removed, next: (removed == self.most).then_some(Place::HealthEvents) })
    }
}

/// What came before this is past `retention`. Never more than really went by: a wall clock that jumps ahead must not
/// take away what came yesterday.
fn horizon(batch: &Batch<'_, '_>, retention: Millis) -> Timestamp {
    batch.now.min(batch.expiry).minus(retention)
}

/// Whether nobody needs the submission any more.
fn is_over(batch: &Batch<'_, '_>, row: &StoredSubmission) -> Result<bool, StoreError> {
    let Some(job) = batch.tables.jobs.get(row.job.get())? else { return Ok(true) };
    let job: Job = codec::decode(row.job, job.value())?;
    if !job.state.is_over() {
        return Ok(false);
    }
    if let Some(id) = job.lead
        && let Some(lead) = batch.tables.leads.get(id.get())?
    {
        let lead: Lead = codec::decode(id, lead.value())?;
        if lead.state == LeadState::Open {
            return Ok(false);
        }
    }
    if let Some(id) = row.booking
        && let Some(booking) = batch.tables.bookings.get(id.get())?
    {
        let booking: Booking = codec::decode(id, booking.value())?;
        return Ok(booking.state == BookingState::Cancelled || booking.end < batch.now);
    }
    Ok(true)
}

/// Removes a submission and all that belongs to it.
fn remove(batch: &mut Batch<'_, '_>, id: SubmissionId, row: &StoredSubmission) -> Result<(), StoreError> {
    batch.tables.submissions.remove(id.get())?;
    batch.tables.joins.retain_in((id.get(), 0)..=(id.get(), u64::MAX), |_, _| false)?;
    let job = match batch.tables.jobs.remove(row.job.get())? {
        Some(job) => Some(codec::decode::<Job>(row.job, job.value())?),
        None => None,
    };
    remove_attempts(batch, row.job.get())?;
    leads::forget_unnamed(batch, id)?;
    if let Some(lead) = job.and_then(|job| job.lead) {
        batch.tables.leads.remove(lead.get())?;
    }
    if let Some(id) = row.booking {
        bookings::remove(batch, id)?;
    }
    Ok(())
}

fn remove_attempts(batch: &mut Batch<'_, '_>, job: u64) -> Result<(), StoreError> {
    Ok(batch.tables.attempts.retain_in((job, 0)..=(job, u32::MAX), |_, _| false)?)
}
