//! Snapshots: what the file held at the last commit, for the feeder, the workers, admins and health.
//!
//! A snapshot is short-lived: while it lives, no page of the file can be used again. Lists come in pages, so that
//! whoever walks a long one can let go in between. Every read goes through [`Snapshot::reading`]. Nothing here decides anything.

mod outbox;

use std::sync::Arc;

use jiff::civil::{Date, Time};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use crate::domain::booking::{Booking, Interval, Occupancy, nearest_free};
use crate::domain::calendar::{Calendar, Slot};
use crate::domain::complaint::Complaint;
use crate::domain::delivery::Delivery;
use crate::domain::draft::Draft;
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::{AgentId, BookingId, CalendarName, Customer, JobId, LeadId, SubmissionId, TeamName};
use crate::domain::job::{Attempt, DeadLetter, Job};
use crate::domain::lead::{Agent, Lead};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Timestamp;
use crate::guard::guarded;

use super::accept::StoredSubmission;
use super::codec::Row;
use super::disk::Faults;
use super::drafts::StoredDraft;
use super::joins::Join;
use super::shared::{Readable, Shared};
use super::tables::{
    AGENTS, ATTEMPTS, BOOKINGS, COMPLAINTS, DEAD, DELIVERIES, DRAFTS, DUE, HEALTH_EVENTS, JOBS, JOINS, LANES, LEADS,
    LEAVING, OPEN_LEADS, PLACES, QUEUES, REVIVED, Rows, SUBMISSIONS, TALLIES, WAITING_LEADS,
};
use super::tallies::{self, Tally};
use super::{StoreError, bookings, codec, drafts};

pub use outbox::{Outgoing, Waiting};

/// Free slots told to a user whose choice is gone. A radio group takes 20 (*Flow JSON components*); fewer are read.
const OFFERED: usize = 8;

/// Bytes of a page of rows: it ends with the row that reaches this.
const PAGE_BYTES: usize = 4 << 20;

/// Drafts with the time of their last change, and the key behind which the next slice begins.
pub type DraftSlice = (Vec<(Timestamp, IdempotencyKey)>, Option<IdempotencyKey>);

/// The file at one moment.
pub struct Snapshot {
    txn: ReadTransaction,
    shared: Arc<Shared>,
    faults: Faults,
    is_last: bool,
}

/// A row of a table that lists walk, newest first.
pub trait Listed: Row {
    /// The number of such a row.
    type Id: Copy;
    /// Their table.
    const ROWS: Rows;
    /// The number as what it is.
    fn id(number: u64) -> Self::Id;
}

macro_rules! listed {
    ($($row:ty: $rows:ident, $id:ty, $new:expr;)*) => {
        $(impl Listed for $row {
            type Id = $id;
            const ROWS: Rows = $rows;
            fn id(number: u64) -> $id {
                $new(number)
            }
        })*
    };
}

listed! {
    StoredSubmission: SUBMISSIONS, SubmissionId, SubmissionId::new;
    Job: JOBS, JobId, JobId::new;
    DeadLetter: DEAD, JobId, JobId::new;
    Delivery: DELIVERIES, JobId, JobId::new;
    Lead: LEADS, LeadId, LeadId::new;
    Agent: AGENTS, AgentId, AgentId::new;
    Booking: BOOKINGS, BookingId, BookingId::new;
    Complaint: COMPLAINTS, u64, std::convert::identity;
    HealthEvent: HEALTH_EVENTS, u64, std::convert::identity;
}

/// Rows as they were found, newest first, by number: some of them can't be read.
pub type Found<R> = Vec<(u64, Result<R, StoreError>)>;

/// Rows of one job as they were found, by the number of their attempt, in order: some of them can't be read.
pub type ByAttempt<R> = Vec<(u32, Result<R, StoreError>)>;

/// How many there are of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Submissions.
    pub submissions: u64,
    /// Jobs waiting or running.
    pub jobs_scheduled: u64,
    /// Jobs over, discarded ones included.
    pub jobs_done: u64,
    /// Dead letters.
    pub jobs_dead: u64,
    /// Open leads, waiting ones included.
    pub leads_open: u64,
    /// Open leads that nobody has yet.
    pub leads_unassigned: u64,
    /// Removed agents whose open leads are not all handed over yet.
    pub agents_leaving: u64,
    /// Bookings, cancelled ones included.
    pub bookings: u64,
    /// Places taken by bookings that stand.
    pub places_taken: u64,
    /// Forms in the making.
    pub drafts: u64,
}

impl Snapshot {
    pub(super) fn of(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let Readable { database, faults, is_last } = shared.readable().ok_or(StoreError::NotOpen)?;
        let begun = guarded(|| Ok(database.begin_read()?));
        let txn = begun.unwrap_or_else(damaged).map_err(|error| judge(error, shared, &faults, is_last))?;
        Ok(Self { txn, shared: Arc::clone(shared), faults, is_last })
    }

    /// Whether the disk is full and this is the last commit before that.
    pub(super) const fn is_last(&self) -> bool {
        self.is_last
    }

    /// Reads something. redb panics on pages that make no sense: that is an error like others, and ends the store.
    pub(super) fn reading<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let looked = guarded(|| look(&self.txn)).unwrap_or_else(damaged);
        looked.map_err(|error| judge(error, &self.shared, &self.faults, self.is_last))
    }

    /// One submission.
    ///
    /// # Errors
    /// [`StoreError::Row`] where it can't be read; likewise below.
    pub fn submission(&self, id: SubmissionId) -> Result<Option<StoredSubmission>, StoreError> {
        self.row(SUBMISSIONS, id.get())
    }

    /// What came later for a submission, in order.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn joins(&self, id: SubmissionId) -> Result<Vec<Join>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(JOINS)?;
            let rows = table.range((id.get(), 0)..=(id.get(), u64::MAX))?;
            rows.map(|row| {
                let (key, bytes) = row?;
                codec::decode(key.value(), bytes.value())
            })
            .collect()
        })
    }

    /// One job.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.row(JOBS, id.get())
    }

    /// Every attempt that is still kept, in order: the failed ones, then the one that succeeded. A row that can't be read keeps
    /// nobody from the others.
    ///
    /// # Errors
    /// As [`Snapshot::job`], or if the table can't be walked.
    pub fn attempts(&self, id: JobId) -> Result<ByAttempt<Attempt>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(ATTEMPTS)?;
            let failed = table.range((id.get(), 0)..=(id.get(), u32::MAX))?.map(|row| {
                let (key, bytes) = row?;
                Ok((key.value().1, codec::decode(key.value(), bytes.value())))
            });
            let mut attempts = failed.collect::<Result<ByAttempt<Attempt>, StoreError>>()?;
            let success = self.job(id)?.and_then(|job| job.success);
            attempts.extend(success.map(|success| (success.number, Ok(success))));
            Ok(attempts)
        })
    }

    /// One dead letter.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn dead(&self, id: JobId) -> Result<Option<DeadLetter>, StoreError> {
        self.row(DEAD, id.get())
    }

    /// The message that a job reads again: the text as an admin corrected it, or as it came.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn message(&self, id: JobId) -> Result<Option<String>, StoreError> {
        let letter: Option<DeadLetter> = self.row(REVIVED, id.get())?;
        Ok(letter.map(|letter| letter.corrected.unwrap_or(letter.payload)))
    }

    /// Jobs due from behind `after` up to and with `until`, soonest first, `limit` at the most.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn due(
        &self,
        after: Option<(Timestamp, JobId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, StoreError> {
        self.reading(|txn| {
            use std::ops::Bound::{Excluded, Included, Unbounded};
            let from = after.map_or(Unbounded, |(at, job)| Excluded((at.as_millis(), job.get())));
            let to = Included((until.as_millis(), u64::MAX));
            if after.is_some_and(|(at, _)| at > until) {
                return Ok(Vec::new());
            }
            let table = txn.open_table(DUE)?;
            table.range::<(u64, u64)>((from, to))?.take(limit).map(|row| Ok(due_entry(row?.0.value()))).collect()
        })
    }

    /// When the job that is due soonest is due.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn first_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(DUE)?;
            Ok(table.first()?.map(|(key, _)| due_entry(key.value()).0))
        })
    }

    /// One lead.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn lead(&self, id: LeadId) -> Result<Option<Lead>, StoreError> {
        self.row(LEADS, id.get())
    }

    /// Teams that have leads waiting, and how many.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn waiting_teams(&self) -> Result<Vec<(TeamName, u64)>, StoreError> {
        self.of_teams(Tally::Leads)
    }

    /// Teams that have agents who are not removed, and how many.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn team_sizes(&self) -> Result<Vec<(TeamName, u64)>, StoreError> {
        self.of_teams(Tally::Agents)
    }

    fn of_teams(&self, tally: Tally) -> Result<Vec<(TeamName, u64)>, StoreError> {
        let sums = self.tally(tally)?.into_iter();
        Ok(sums.filter_map(|(team, sum)| Some((TeamName::new(&team).ok()?, sum))).collect())
    }

    /// All sums of `tally`, by name.
    pub(super) fn tally(&self, tally: Tally) -> Result<Vec<(String, u64)>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(TALLIES)?;
            tallies::read(&table, tally)
        })
    }

    /// One agent.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn agent(&self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        self.row(AGENTS, id.get())
    }

    /// All agents who can be read, in the order in which they were added, removed ones included.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be walked.
    pub fn agents(&self) -> Result<Vec<(AgentId, Agent)>, StoreError> {
        let rows = self.list_all::<Agent>()?.into_iter().rev();
        Ok(rows.filter_map(|(id, agent)| Some((AgentId::new(id), agent.ok()?))).collect())
    }

    /// One booking.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn booking(&self, id: BookingId) -> Result<Option<Booking>, StoreError> {
        self.row(BOOKINGS, id.get())
    }

    /// What is taken of `calendar` in `window`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn taken(&self, calendar: &CalendarName, window: Interval) -> Result<Occupancy, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(PLACES)?;
            Ok(Occupancy::of(bookings::read_taken(&table, calendar, window)?))
        })
    }

    /// The free slots nearest to one that can't be had: as many as a user is told.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn nearest_free(
        &self,
        calendar: &Calendar,
        around: (Date, Time),
        now: Timestamp,
    ) -> Result<Vec<Slot>, StoreError> {
        nearest_free(calendar, Some(around), now, OFFERED, |window| self.taken(calendar.name(), window))
    }

    /// The form in the making of `customer` that is kept under `key`. Another customer's is never given.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn draft_of(&self, key: IdempotencyKey, customer: &Customer) -> Result<Option<Draft>, StoreError> {
        Ok(drafts::own(key, customer, false, |key| self.draft(key))?.map(|(_, draft)| draft))
    }

    /// The form in the making that is kept under `key`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn draft(&self, key: IdempotencyKey) -> Result<Option<Draft>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(DRAFTS)?;
            let row =
                table.get(key.as_bytes())?.map(|row| codec::decode::<StoredDraft>(key, row.value())).transpose()?;
            Ok(row.map(|row| row.draft))
        })
    }

    /// Those forms in the making behind `after` that are `wanted`: when each changed last, and its key. A slice of a few
    /// megabytes, and where the next one begins. A row that can't be read is logged and stepped over.
    ///
    /// # Errors
    /// [`StoreError`] where the table can't be walked.
    pub fn drafts(
        &self,
        after: Option<IdempotencyKey>,
        wanted: impl Fn(&Draft) -> bool,
    ) -> Result<DraftSlice, StoreError> {
        self.reading(|txn| {
            use std::ops::Bound::{Excluded, Unbounded};
            let (mut found, mut bytes) = (Vec::new(), 0);
            let from = after.as_ref().map_or(Unbounded, |after| Excluded(after.as_bytes()));
            for row in txn.open_table(DRAFTS)?.range::<&[u8; 16]>((from, Unbounded))? {
                let (key, row) = row?;
                let key = IdempotencyKey::from_bytes(*key.value());
                bytes += row.value().len();
                match codec::decode::<StoredDraft>(key, row.value()) {
                    Ok(StoredDraft { draft, .. }) if wanted(&draft) => found.push((draft.updated_at, key)),
                    Ok(_) => {}
                    Err(error) => tracing::error!(error = %error, "a draft can't be read and is left out"),
                }
                if bytes >= PAGE_BYTES {
                    return Ok((found, Some(key)));
                }
            }
            Ok((found, None))
        })
    }

    /// How many there are of what. Costs no walk: the tables know their lengths.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.reading(|txn| {
            let jobs = txn.open_table(JOBS)?.len()?;
            let in_lanes = txn.open_table(LANES)?.len()?;
            let queued = txn.open_table(QUEUES)?.len()?;
            let jobs_scheduled = txn.open_table(DUE)?.len()?.saturating_add(in_lanes).saturating_add(queued);
            let jobs_dead = txn.open_table(DEAD)?.len()?;
            let leads_unassigned = txn.open_table(WAITING_LEADS)?.len()?;
            Ok(Counts {
                submissions: txn.open_table(SUBMISSIONS)?.len()?,
                jobs_scheduled,
                jobs_done: jobs.saturating_sub(jobs_scheduled).saturating_sub(jobs_dead),
                jobs_dead,
                leads_open: txn.open_table(OPEN_LEADS)?.len()?.saturating_add(leads_unassigned),
                leads_unassigned,
                agents_leaving: txn.open_table(LEAVING)?.len()?,
                bookings: txn.open_table(BOOKINGS)?.len()?,
                places_taken: self.tally(Tally::Places)?.into_iter().map(|(_, places)| places).sum(),
                drafts: txn.open_table(DRAFTS)?.len()?,
            })
        })
    }

    fn row<R: Row>(&self, table: Rows, key: u64) -> Result<Option<R>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(table)?;
            table.get(key)?.map(|row| codec::decode(key, row.value())).transpose()
        })
    }

    /// Rows before `before`, newest first: a page of `limit` at the most, fewer where they are large. One that can't be
    /// read holds up none of the others.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be walked.
    pub fn list<L: Listed>(&self, before: Option<u64>, limit: usize) -> Result<Found<L>, StoreError> {
        self.found(before, limit, PAGE_BYTES)
    }

    /// All rows, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be walked.
    pub fn list_all<L: Listed>(&self) -> Result<Found<L>, StoreError> {
        self.found(None, usize::MAX, usize::MAX)
    }

    fn found<L: Listed>(&self, before: Option<u64>, limit: usize, bytes_max: usize) -> Result<Found<L>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(L::ROWS)?;
            let (mut page, mut bytes_read) = (Vec::new(), 0_usize);
            for row in table.range(..before.unwrap_or(u64::MAX))?.rev().take(limit) {
                let (key, bytes) = row?;
                bytes_read = bytes_read.saturating_add(bytes.value().len());
                page.push((key.value(), codec::decode(key.value(), bytes.value())));
                if bytes_read >= bytes_max {
                    break;
                }
            }
            Ok(page)
        })
    }
}

fn damaged<T>(panic: String) -> Result<T, StoreError> {
    Err(StoreError::Damaged(panic))
}

/// What a reader met, and the end of the store where that can't go on: a page that makes no sense, or a disk that can't be
/// read, is worse than one answer that fails.
fn judge(error: StoreError, shared: &Shared, faults: &Faults, is_last: bool) -> StoreError {
    let error = if matches!(error, StoreError::Engine(_)) { faults.cause(error) } else { error };
    if !is_last && matches!(error, StoreError::Damaged(_) | StoreError::Untrusted(_)) {
        shared.fail(&error);
    }
    error
}

const fn due_entry((at, job): (u64, u64)) -> (Timestamp, JobId) {
    (Timestamp::from_millis(at), JobId::new(job))
}
