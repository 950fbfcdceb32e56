//! Retention: removes expired keys with the ends of their forms, and rows past their retention; tells of drafts that their
//! users have left. In slices bounded by rows and bytes, so that no commit is held up.
//!
//! Never removed: a submission whose job is not over or is a dead letter, whose lead is open, or whose booking lies ahead;
//! a dead letter at all. A row that must stay, or can't be read, is looked at again after a day and holds up no other.
//! When slices are asked for is decided by `crate::work`.

use redb::{ReadableTable, Table};

use crate::domain::booking::{Booking, BookingState};
use crate::domain::draft::Patience;
use crate::domain::ids::{BookingId, JobId, LeadId, SubmissionId};
use crate::domain::job::{Job, JobKind};
use crate::domain::lead::{Lead, LeadState};
use crate::domain::time::{Millis, Timestamp};

use super::accept::StoredSubmission;
use super::batch::{Batch, Transaction};
use super::closings::minus;
use super::codec::{self, Row};
use super::deliveries::{self, LeavingDelivery};
use super::drafts::{self, StoredDraft};
use super::retention::{self, Entry, Queue};
use super::{StoreError, bookings, customers, ends, leads};

/// Bytes of rows that one slice reads: the slice ends with the row that reaches them.
const SLICE_BYTES: usize = 1 << 20;

/// Drafts that one slice tells of: each is written whole once more.
const LEFT_MOST: usize = 64;

/// How long a row that must stay is left alone before the sweep reads it again.
const AGAIN: Millis = Millis::from_secs(24 * 60 * 60);

/// Removes one slice.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Where to go on.
    pub from: Place,
    /// Maximum of rows to read: about 1 µs each.
    pub most: usize,
    /// How long submissions are kept, and all that belongs to them; drafts, customers and Meta's health events.
    pub submissions: Millis,
    /// How long the failed attempts of finished jobs are kept, and clients' complaints.
    pub attempts: Millis,
    /// How long flows wait for the next screen.
    pub patience: Patience,
}

/// A place in the round of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Idempotency keys: the beginning of a round.
    Keys,
    /// A queue of rows. No position is needed: what a slice has read leaves the front of the queue.
    Queue(Queue),
}

/// Result of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Rows read: entries of a queue, or keys.
    pub read: usize,
    /// Rows removed.
    pub removed: usize,
    /// Rows that are past their retention and can't be read: they stay, unless they hold a key.
    pub unreadable: usize,
    /// The first of these errors.
    pub first_error: Option<String>,
    /// Where the next slice goes on; `None`: the round is over.
    pub next: Option<Place>,
}

/// Decision about one entry of a queue. Made before anything is written: removing needs no further row to be readable.
enum Decision {
    /// The row is gone, or enters the queue again by itself: the entry goes.
    Forget,
    /// The row is looked at again when the entry has reached this age.
    Postpone(Timestamp),
    /// A submission goes with all that belongs to it.
    Submission(Leaving),
    /// A job that reads messages goes.
    Job,
    /// A job that delivers goes.
    Delivery(LeavingDelivery),
    /// The failed attempts of a job go.
    Attempts,
    /// A draft was left: that is told.
    Left(StoredDraft),
    /// A draft goes.
    Draft,
    /// A customer goes.
    Customer,
    /// A complaint goes.
    Complaint,
    /// A health event goes.
    HealthEvent,
}

/// All that belongs to a submission that goes.
struct Leaving {
    job: JobId,
    lead: Option<LeadId>,
    booking: Option<(BookingId, Booking)>,
}

impl Swept {
    const fn new(next: Option<Place>) -> Self {
        Self { read: 0, removed: 0, unreadable: 0, first_error: None, next }
    }

    pub(super) fn note_unreadable(&mut self, error: &StoreError) {
        self.unreadable += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }
}

impl Transaction for Sweep {
    type Outcome = Swept;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Swept, StoreError> {
        match self.from {
            Place::Keys => self.keys(batch),
            Place::Queue(queue) => self.queue(batch, queue),
        }
    }
}

impl Sweep {
    fn keys(&self, batch: &mut Batch<'_, '_>) -> Result<Swept, StoreError> {
        let mut swept = Swept::new(Some(Place::Queue(Queue::Submissions)));
        let memory = &mut *batch.memory;
        let expired = memory.keys.expire(batch.tables, &memory.counters, batch.expiry, self.most, &mut swept)?;
        let moved = memory.keys.evict(batch.tables, &mut memory.counters, self.most)?;
        let ends = ends::expire(batch, self.most)?;
        let changes = customers::forget(batch)?;
        batch.dirty |= expired + moved + ends + changes > 0;
        (swept.read, swept.removed) = (expired + moved + ends + changes, expired + ends + changes);
        if expired.max(moved).max(ends) >= self.most {
            swept.next = Some(Place::Keys);
        }
        Ok(swept)
    }

    fn queue(&self, batch: &mut Batch<'_, '_>, queue: Queue) -> Result<Swept, StoreError> {
        let next = queue.next().map(Place::Queue);
        let mut swept = Swept::new(next);
        // A file of flows that wait for nobody: nothing is ever left.
        let Some(retention) = self.retention(queue) else { return Ok(swept) };
        // A draft is left as soon as its flow has waited; a row goes once its retention is over.
        let moment = Millis::new(u64::from(queue != Queue::LeftDrafts));
        let until = batch.latest(retention).minus(moment);
        let again = until.plus(retention.clamp(Millis::new(1), AGAIN));
        let most = if queue == Queue::LeftDrafts { self.most.min(LEFT_MOST) } else { self.most };
        let entries = retention::oldest(batch, queue, until, most)?;
        let mut bytes = 0;
        for entry in &entries {
            // One entry can stand for many rows: the failed attempts of a job.
            if bytes >= SLICE_BYTES || swept.removed >= most {
                break;
            }
            swept.read += 1;
            let decision = match self.decide(batch, queue, *entry, until, again, &mut bytes) {
                Ok(decision) => decision,
                Err(error) if error.is_of_one_change() => {
                    swept.note_unreadable(&error);
                    Decision::Postpone(again)
                }
                Err(error) => return Err(error),
            };
            retention::remove(batch, queue, *entry)?;
            swept.removed += carry_out(batch, queue, entry.row, decision)?;
        }
        if swept.read < entries.len() || entries.len() == most {
            swept.next = Some(self.from);
        }
        Ok(swept)
    }

    /// How long rows of `queue` are kept. `None`: the queue needs no visit.
    fn retention(&self, queue: Queue) -> Option<Millis> {
        match queue {
            Queue::Submissions | Queue::Jobs | Queue::Drafts | Queue::Customers | Queue::HealthEvents => {
                Some(self.submissions)
            }
            Queue::Attempts | Queue::Complaints => Some(self.attempts),
            Queue::LeftDrafts => self.patience.shortest(),
        }
    }

    /// Decides about one entry of `queue`, all of whose rows up to `until` are past their retention. Adds what it reads to
    /// `bytes`.
    fn decide(
        &self,
        batch: &Batch<'_, '_>,
        queue: Queue,
        entry: Entry,
        until: Timestamp,
        again: Timestamp,
        bytes: &mut usize,
    ) -> Result<Decision, StoreError> {
        let tables = &*batch.tables;
        let (id, key) = (u64::try_from(entry.row).unwrap_or_default(), entry.row.to_be_bytes());
        match queue {
            Queue::Submissions => submission(batch, SubmissionId::new(id), again, bytes),
            Queue::Jobs => {
                let Some(job) = read::<Job>(&tables.jobs, id, bytes)? else { return Ok(Decision::Forget) };
                Ok(match job.kind {
                    // A new entry is made when it ends.
                    _ if !job.state.is_over() => Decision::Forget,
                    _ if retention::ended_later(batch, JobId::new(id), entry)? => Decision::Forget,
                    JobKind::Process => Decision::Forget,
                    JobKind::Message => Decision::Job,
                    JobKind::Deliver => Decision::Delivery(deliveries::leaving(batch, JobId::new(id), &job, bytes)?),
                })
            }
            Queue::Attempts => {
                let job = read::<Job>(&tables.jobs, id, bytes)?;
                let is_over = job.is_none_or(|job| job.state.is_over());
                Ok(if is_over && !retention::ended_later(batch, JobId::new(id), entry)? {
                    Decision::Attempts
                } else {
                    Decision::Forget
                })
            }
            Queue::LeftDrafts => {
                let Some(draft) = drafts::stored(batch, &key, bytes)? else { return Ok(Decision::Forget) };
                if drafts::was_told(batch, &key)? {
                    return Ok(Decision::Forget);
                }
                // Of a flow that is gone from the config nobody knows how long it waits.
                let Some(patience) = self.patience.of(&draft.draft.flow) else {
                    return Ok(Decision::Postpone(until.plus(AGAIN)));
                };
                let left = minus(patience, batch.age(draft.stamp));
                Ok(if left == Millis::ZERO {
                    Decision::Left(draft)
                } else {
                    // The entry is read again once so much time has gone by, or earlier.
                    Decision::Postpone(until.plus(left))
                })
            }
            Queue::Drafts => Ok(match drafts::stored(batch, &key, bytes)? {
                None => Decision::Forget,
                Some(draft) if draft.stamp > until => Decision::Postpone(draft.stamp),
                Some(_) => Decision::Draft,
            }),
            Queue::Customers => {
                Ok(match tables.customers.get(&key)?.map(|row| Timestamp::from_millis(row.value().2)) {
                    None => Decision::Forget,
                    Some(stamp) if stamp > until => Decision::Postpone(stamp),
                    Some(_) => Decision::Customer,
                })
            }
            Queue::Complaints => Ok(Decision::Complaint),
            Queue::HealthEvents => Ok(Decision::HealthEvent),
        }
    }
}

/// The row behind `id`; its size is added to `bytes`.
pub(super) fn read<R: Row>(
    table: &Table<'_, u64, &'static [u8]>,
    id: u64,
    bytes: &mut usize,
) -> Result<Option<R>, StoreError> {
    let Some(row) = table.get(id)? else { return Ok(None) };
    *bytes += row.value().len();
    codec::decode(id, row.value()).map(Some)
}

/// Whether nobody needs the submission any more, and what goes with it then.
fn submission(
    batch: &Batch<'_, '_>,
    id: SubmissionId,
    again: Timestamp,
    bytes: &mut usize,
) -> Result<Decision, StoreError> {
    let tables = &*batch.tables;
    let Some(row) = read::<StoredSubmission>(&tables.submissions, id.get(), bytes)? else {
        return Ok(Decision::Forget);
    };
    let job = read::<Job>(&tables.jobs, row.job.get(), bytes)?;
    if job.as_ref().is_some_and(|job| !job.state.is_over()) {
        return Ok(Decision::Forget);
    }
    let lead = job.and_then(|job| job.lead);
    if let Some(lead) = lead
        && let Some(lead) = read::<Lead>(&tables.leads, lead.get(), bytes)?
        && lead.state == LeadState::Open
    {
        return Ok(Decision::Postpone(again));
    }
    let booking = match row.booking {
        Some(id) => read::<Booking>(&tables.bookings, id.get(), bytes)?.map(|booking| (id, booking)),
        None => None,
    };
    if booking.as_ref().is_some_and(|(_, booking)| lies_ahead(batch, &row, booking)) {
        return Ok(Decision::Postpone(again));
    }
    Ok(Decision::Submission(Leaving { job: row.job, lead, booking }))
}

/// Whether an appointment may still come. A wall clock that is wrongly ahead does not make it one of the past: as much time
/// must have gone by since the form came as lay between the two.
fn lies_ahead(batch: &Batch<'_, '_>, row: &StoredSubmission, booking: &Booking) -> bool {
    booking.state != BookingState::Cancelled
        && (booking.end >= batch.now || batch.age(row.stamp) < booking.end.since(row.received_at))
}

/// Carries out what was decided about `row` of `queue`. Returns how many rows it removed.
fn carry_out(batch: &mut Batch<'_, '_>, queue: Queue, row: u128, decision: Decision) -> Result<usize, StoreError> {
    let (id, key) = (u64::try_from(row).unwrap_or_default(), row.to_be_bytes());
    match decision {
        Decision::Forget => return Ok(0),
        Decision::Postpone(stamp) => {
            retention::insert(batch, queue, Entry { stamp, row })?;
            return Ok(0);
        }
        Decision::Left(draft) => {
            drafts::tell(batch, &key, &draft.draft)?;
            return Ok(0);
        }
        Decision::Attempts => return remove_failed_attempts(batch, id),
        Decision::Submission(leaving) => remove(batch, SubmissionId::new(id), &leaving)?,
        Decision::Job => remove_job(batch, id)?,
        Decision::Delivery(leaving) => {
            deliveries::remove(batch, JobId::new(id), &leaving)?;
            remove_job(batch, id)?;
        }
        Decision::Draft => drafts::remove(batch, &key)?,
        Decision::Customer => {
            batch.tables.customers.remove(&key)?;
        }
        Decision::Complaint => {
            batch.tables.complaints.remove(id)?;
        }
        Decision::HealthEvent => {
            batch.tables.health_events.remove(id)?;
        }
    }
    Ok(1)
}

/// Removes a submission and all that belongs to it.
fn remove(batch: &mut Batch<'_, '_>, id: SubmissionId, leaving: &Leaving) -> Result<(), StoreError> {
    batch.tables.submissions.remove(id.get())?;
    batch.tables.joins.retain_in((id.get(), 0)..=(id.get(), u64::MAX), |_, _| false)?;
    remove_job(batch, leaving.job.get())?;
    leads::forget_unnamed(batch, id)?;
    if let Some(lead) = leaving.lead {
        batch.tables.leads.remove(lead.get())?;
    }
    if let Some((id, booking)) = &leaving.booking {
        bookings::remove(batch, *id, booking)?;
    }
    Ok(())
}

fn remove_job(batch: &mut Batch<'_, '_>, job: u64) -> Result<(), StoreError> {
    batch.tables.jobs.remove(job)?;
    batch.tables.last_ends.remove(job)?;
    Ok(batch.tables.attempts.retain_in((job, 0)..=(job, u32::MAX), |_, _| false)?)
}

/// Removes the failed attempts of a job with what came back from them; what came back from the last one stays.
fn remove_failed_attempts(batch: &mut Batch<'_, '_>, job: u64) -> Result<usize, StoreError> {
    let rows = batch.tables.attempts.range((job, 0)..=(job, u32::MAX))?;
    let keys = rows.map(|row| Ok(row?.0.value())).collect::<Result<Vec<_>, StoreError>>()?;
    for key in &keys {
        batch.tables.attempts.remove(key)?;
        batch.tables.exchanges.remove(key)?;
    }
    Ok(keys.len())
}
