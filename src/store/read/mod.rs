//! Reads the file in snapshots, for the dispatcher, the workers, admins and health checks. A
//! snapshot shows the contents of the file at one commit.
//!
//! A snapshot must be short-lived, because redb can't reuse any page while the snapshot exists.
//! Lists come in pages, so that a long read can release its snapshot between two pages. Every read
//! goes through `Snapshot::with_read_txn`. This module contains no decisions.

mod outbox;

use std::sync::Arc;

use jiff::civil::{Date, Time};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use crate::domain::booking::calendar::{Calendar, Slot};
use crate::domain::booking::{Booking, Interval, Occupancy, nearest_free};
use crate::domain::delivery::Delivery;
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::ids::{
    AgentId, BookingId, CalendarName, Customer, JobId, LeadId, SubmissionId, TeamName,
};
use crate::domain::job::{Attempt, DeadLetter, Job};
use crate::domain::lead::{Agent, Lead};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::Draft;
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::Timestamp;
use crate::panic::catch_panic;

use super::StoreError;
use super::engine::redb::storage_backend::FaultRecorder;
use super::engine::redb::tables::{
    AGENTS, ATTEMPTS, BOOKINGS, DEAD_LETTERS, DELIVERIES, DELIVERIES_DUE, DRAFTS, DUE, FLOW_ERRORS,
    HEALTH_EVENTS, JOBS, LATE_ARRIVALS, LEADS, OCCUPIED_SLOTS, OPEN_LEADS, ORDERED_QUEUE,
    PENDING_HANDOVERS, RETRIED_DEAD_LETTERS, RowTable, SUBMISSIONS, TALLIES, WAITING_LEADS,
};
use super::rows::codec::{self, Row};
use super::rows::tallies::{self, Tally};
use super::state::{ReadSource, StoreState};
use super::tx::accept::StoredSubmission;
use super::tx::drafts::StoredDraft;
use super::tx::late_arrivals::LateArrival;
use super::tx::{bookings, drafts};

pub use outbox::{PendingDelivery, QueueStats};

/// Maximum number of available slots offered to a customer whose slot is not available.
///
/// A radio group can show 20 (*Flow JSON components*), but customers read fewer.
const OFFERED_SLOTS_MAX: usize = 8;

/// Size of a page of rows, in bytes. A page stops after the row that reaches this size.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Drafts with the time of their last change, and the key after which the next slice starts.
pub type DraftSlice = (Vec<(Timestamp, IdempotencyKey)>, Option<IdempotencyKey>);

/// Contents of the file at one commit.
pub struct Snapshot {
    txn: ReadTransaction,
    shared: Arc<StoreState>,
    faults: FaultRecorder,
    is_before_full_disk: bool,
}

/// Row of a table that can be listed, newest first.
pub trait ListedRow: Row {
    /// ID type of the row.
    type Id: Copy;
    /// Table in which the row is stored.
    const ROWS: RowTable;
    /// Converts a row number to the ID type.
    fn id(number: u64) -> Self::Id;
}

macro_rules! listed {
    ($($row:ty: $rows:ident, $id:ty, $new:expr;)*) => {
        $(impl ListedRow for $row {
            type Id = $id;
            const ROWS: RowTable = $rows;
            fn id(number: u64) -> $id {
                $new(number)
            }
        })*
    };
}

listed! {
    StoredSubmission: SUBMISSIONS, SubmissionId, SubmissionId::new;
    Job: JOBS, JobId, JobId::new;
    DeadLetter: DEAD_LETTERS, JobId, JobId::new;
    Delivery: DELIVERIES, JobId, JobId::new;
    Lead: LEADS, LeadId, LeadId::new;
    Agent: AGENTS, AgentId, AgentId::new;
    Booking: BOOKINGS, BookingId, BookingId::new;
    FlowError: FLOW_ERRORS, u64, std::convert::identity;
    HealthEvent: HEALTH_EVENTS, u64, std::convert::identity;
}

/// Rows with their numbers, newest first. An unreadable row is an error in its place.
pub type DecodedRows<R> = Vec<(u64, Result<R, StoreError>)>;

/// Rows of one job with their attempt numbers, in order. An unreadable row is an error in its
/// place.
pub type ByAttempt<R> = Vec<(u32, Result<R, StoreError>)>;

/// Numbers of stored rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Number of stored submissions.
    pub submissions: u64,
    /// Number of jobs that wait or run.
    pub jobs_scheduled: u64,
    /// Number of finished jobs, including discarded and expired ones.
    pub jobs_done: u64,
    /// Number of stored dead letters.
    pub jobs_dead: u64,
    /// Number of open leads, including waiting ones.
    pub leads_open: u64,
    /// Number of open leads without an agent.
    pub leads_unassigned: u64,
    /// Number of removed agents with open leads that are not handed over yet.
    pub pending_handovers: u64,
    /// Number of bookings, including cancelled ones.
    pub bookings: u64,
    /// Number of confirmed bookings.
    pub bookings_confirmed: u64,
    /// Number of stored drafts.
    pub drafts: u64,
}

impl Snapshot {
    pub(super) fn begin(shared: &Arc<StoreState>) -> Result<Self, StoreError> {
        let ReadSource {
            database,
            faults,
            is_before_full_disk,
        } = shared.read_source().ok_or(StoreError::NotOpen)?;
        let begun = catch_panic(|| Ok(database.begin_read()?));
        let txn = begun
            .unwrap_or_else(damaged_pages)
            .map_err(|error| handle_read_error(error, shared, &faults, is_before_full_disk))?;
        Ok(Self {
            txn,
            shared: Arc::clone(shared),
            faults,
            is_before_full_disk,
        })
    }

    /// Returns `true` if the disk is full and this snapshot shows the last commit before that.
    pub(super) const fn is_before_full_disk(&self) -> bool {
        self.is_before_full_disk
    }

    /// Runs `read` on the read transaction.
    ///
    /// redb panics on invalid pages. The function converts such a panic into an error, and this
    /// error stops the store.
    pub(super) fn with_read_txn<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = catch_panic(|| read(&self.txn)).unwrap_or_else(damaged_pages);
        result.map_err(|error| {
            handle_read_error(error, &self.shared, &self.faults, self.is_before_full_disk)
        })
    }

    /// Returns a submission. Returns `None` if no submission has this ID.
    ///
    /// # Errors
    /// [`StoreError::Row`] if the row is unreadable.
    pub fn submission(&self, id: SubmissionId) -> Result<Option<StoredSubmission>, StoreError> {
        self.get_row(SUBMISSIONS, id.get())
    }

    /// Lists the late arrivals of a submission in order of arrival.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn late_arrivals(&self, id: SubmissionId) -> Result<Vec<LateArrival>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(LATE_ARRIVALS)?;
            let rows = table.range((id.get(), 0)..=(id.get(), u64::MAX))?;
            rows.map(|row| {
                let (key, bytes) = row?;
                codec::decode(key.value(), bytes.value())
            })
            .collect()
        })
    }

    /// Returns a job. Returns `None` if no job has this ID.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.get_row(JOBS, id.get())
    }

    /// Lists the stored attempts of a job in order: the failed ones, then the successful one. An
    /// unreadable row does not affect the other rows.
    ///
    /// # Errors
    /// As [`Snapshot::job`], or if the table is unreadable.
    pub fn attempts(&self, id: JobId) -> Result<ByAttempt<Attempt>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(ATTEMPTS)?;
            let failed = table
                .range((id.get(), 0)..=(id.get(), u32::MAX))?
                .map(|row| {
                    let (key, bytes) = row?;
                    Ok((key.value().1, codec::decode(key.value(), bytes.value())))
                });
            let mut attempts = failed.collect::<Result<ByAttempt<Attempt>, StoreError>>()?;
            let success = self.job(id)?.and_then(|job| job.success);
            attempts.extend(success.map(|success| (success.number, Ok(success))));
            Ok(attempts)
        })
    }

    /// Returns a dead letter. Returns `None` if the job is not a dead letter.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn dead_letter(&self, id: JobId) -> Result<Option<DeadLetter>, StoreError> {
        self.get_row(DEAD_LETTERS, id.get())
    }

    /// Returns the stored payload of a retried dead letter: the text that an admin corrected, or
    /// the original text.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn retried_payload(&self, id: JobId) -> Result<Option<String>, StoreError> {
        let dead_letter: Option<DeadLetter> = self.get_row(RETRIED_DEAD_LETTERS, id.get())?;
        Ok(dead_letter
            .map(|dead_letter| dead_letter.corrected_payload.unwrap_or(dead_letter.payload)))
    }

    /// Lists at most `limit` jobs after position `after` that are due at or before `until`, soonest
    /// first.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn due_jobs(
        &self,
        after: Option<(Timestamp, JobId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, StoreError> {
        self.with_read_txn(|txn| {
            use std::ops::Bound::{Excluded, Included, Unbounded};
            let from = after.map_or(Unbounded, |(at, job)| Excluded((at.as_millis(), job.get())));
            let to = Included((until.as_millis(), u64::MAX));
            if after.is_some_and(|(at, _)| at > until) {
                return Ok(Vec::new());
            }
            let table = txn.open_table(DUE)?;
            table
                .range::<(u64, u64)>((from, to))?
                .take(limit)
                .map(|row| Ok(due_entry(row?.0.value())))
                .collect()
        })
    }

    /// Returns the due time of the first job. Returns `None` if no job is scheduled.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn first_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(DUE)?;
            Ok(table.first()?.map(|(key, _)| due_entry(key.value()).0))
        })
    }

    /// Returns a lead. Returns `None` if no lead has this ID.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn lead(&self, id: LeadId) -> Result<Option<Lead>, StoreError> {
        self.get_row(LEADS, id.get())
    }

    /// Lists the teams with waiting leads, and the number of waiting leads of each team.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn waiting_leads_by_team(&self) -> Result<Vec<(TeamName, u64)>, StoreError> {
        self.tally_by_team(Tally::Leads)
    }

    /// Lists the teams with agents who are not removed, and the number of such agents.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn agents_by_team(&self) -> Result<Vec<(TeamName, u64)>, StoreError> {
        self.tally_by_team(Tally::Agents)
    }

    fn tally_by_team(&self, tally: Tally) -> Result<Vec<(TeamName, u64)>, StoreError> {
        let sums = self.read_tally(tally)?.into_iter();
        Ok(sums
            .filter_map(|(team, sum)| Some((TeamName::new(&team).ok()?, sum)))
            .collect())
    }

    /// Lists all counts of `tally`, by name.
    pub(super) fn read_tally(&self, tally: Tally) -> Result<Vec<(String, u64)>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(TALLIES)?;
            tallies::read_sums(&table, tally)
        })
    }

    /// Returns an agent. Returns `None` if no agent has this ID.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn agent(&self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        self.get_row(AGENTS, id.get())
    }

    /// Lists all readable agents in the order of their creation, including removed ones.
    ///
    /// # Errors
    /// [`StoreError`] if the table is unreadable.
    pub fn agents(&self) -> Result<Vec<(AgentId, Agent)>, StoreError> {
        let rows = self.list_all_rows::<Agent>()?.into_iter().rev();
        Ok(rows
            .filter_map(|(id, agent)| Some((AgentId::new(id), agent.ok()?)))
            .collect())
    }

    /// Returns a booking. Returns `None` if no booking has this ID.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn booking(&self, id: BookingId) -> Result<Option<Booking>, StoreError> {
        self.get_row(BOOKINGS, id.get())
    }

    /// Returns the occupied slots of `calendar` in `window`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn occupancy(
        &self,
        calendar: &CalendarName,
        window: Interval,
    ) -> Result<Occupancy, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(OCCUPIED_SLOTS)?;
            Ok(Occupancy::sum(bookings::list_occupied(
                &table, calendar, window,
            )?))
        })
    }

    /// Lists the available slots nearest to an unavailable one, up to the number that a customer is
    /// offered.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn nearest_free_slots(
        &self,
        calendar: &Calendar,
        around: (Date, Time),
        now: Timestamp,
    ) -> Result<Vec<Slot>, StoreError> {
        nearest_free(calendar, Some(around), now, OFFERED_SLOTS_MAX, |window| {
            self.occupancy(calendar.name(), window)
        })
    }

    /// Returns the draft of `customer` under `key`. Never returns the draft of another customer.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn customer_draft(
        &self,
        key: IdempotencyKey,
        customer: &Customer,
    ) -> Result<Option<Draft>, StoreError> {
        Ok(
            drafts::find_customer_draft_with(key, customer, false, |key| self.draft(key))?
                .map(|(_, draft)| draft),
        )
    }

    /// Returns the draft under `key`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn draft(&self, key: IdempotencyKey) -> Result<Option<Draft>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(DRAFTS)?;
            let row = table
                .get(key.as_bytes())?
                .map(|row| codec::decode::<StoredDraft>(key, row.value()))
                .transpose()?;
            Ok(row.map(|row| row.draft))
        })
    }

    /// Lists the drafts after `after` that are `wanted`, each with the time of its last change and
    /// its key.
    ///
    /// Returns a slice of a few megabytes, and the position of the next slice. Logs and skips
    /// unreadable rows.
    ///
    /// # Errors
    /// [`StoreError`] if the table is unreadable.
    pub fn drafts(
        &self,
        after: Option<IdempotencyKey>,
        wanted: impl Fn(&Draft) -> bool,
    ) -> Result<DraftSlice, StoreError> {
        self.with_read_txn(|txn| {
            use std::ops::Bound::{Excluded, Unbounded};
            let (mut found, mut bytes) = (Vec::new(), 0);
            let from = after
                .as_ref()
                .map_or(Unbounded, |after| Excluded(after.as_bytes()));
            for row in txn
                .open_table(DRAFTS)?
                .range::<&[u8; 16]>((from, Unbounded))?
            {
                let (key, row) = row?;
                let key = IdempotencyKey::from_bytes(*key.value());
                bytes += row.value().len();
                match codec::decode::<StoredDraft>(key, row.value()) {
                    Ok(StoredDraft { draft, .. }) if wanted(&draft) => {
                        found.push((draft.updated_at, key));
                    }
                    Ok(_) => {}
                    Err(error) => tracing::error!(error = %error, "unreadable draft skipped"),
                }
                if bytes >= PAGE_BYTES_MAX {
                    return Ok((found, Some(key)));
                }
            }
            Ok((found, None))
        })
    }

    /// Returns the numbers of stored rows. The cost is small, because redb stores the length of
    /// each table.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn counts(&self) -> Result<StoreCounts, StoreError> {
        self.with_read_txn(|txn| {
            let jobs = txn.open_table(JOBS)?.len()?;
            let deliveries_due = txn.open_table(DELIVERIES_DUE)?.len()?;
            let deliveries_queued = txn.open_table(ORDERED_QUEUE)?.len()?;
            let jobs_scheduled = txn
                .open_table(DUE)?
                .len()?
                .saturating_add(deliveries_due)
                .saturating_add(deliveries_queued);
            let jobs_dead = txn.open_table(DEAD_LETTERS)?.len()?;
            let leads_unassigned = txn.open_table(WAITING_LEADS)?.len()?;
            Ok(StoreCounts {
                submissions: txn.open_table(SUBMISSIONS)?.len()?,
                jobs_scheduled,
                jobs_done: jobs
                    .saturating_sub(jobs_scheduled)
                    .saturating_sub(jobs_dead),
                jobs_dead,
                leads_open: txn
                    .open_table(OPEN_LEADS)?
                    .len()?
                    .saturating_add(leads_unassigned),
                leads_unassigned,
                pending_handovers: txn.open_table(PENDING_HANDOVERS)?.len()?,
                bookings: txn.open_table(BOOKINGS)?.len()?,
                bookings_confirmed: self
                    .read_tally(Tally::Bookings)?
                    .into_iter()
                    .map(|(_, count)| count)
                    .sum(),
                drafts: txn.open_table(DRAFTS)?.len()?,
            })
        })
    }

    fn get_row<R: Row>(&self, table: RowTable, key: u64) -> Result<Option<R>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(table)?;
            table
                .get(key)?
                .map(|row| codec::decode(key, row.value()))
                .transpose()
        })
    }

    /// Lists at most `limit` rows before number `before`, newest first. A page of large rows has
    /// fewer.
    ///
    /// An unreadable row does not affect the other rows.
    ///
    /// # Errors
    /// [`StoreError`] if the table is unreadable.
    pub fn list_rows<L: ListedRow>(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<DecodedRows<L>, StoreError> {
        self.read_rows(before, limit, PAGE_BYTES_MAX)
    }

    /// Lists all rows, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the table is unreadable.
    pub fn list_all_rows<L: ListedRow>(&self) -> Result<DecodedRows<L>, StoreError> {
        self.read_rows(None, usize::MAX, usize::MAX)
    }

    fn read_rows<L: ListedRow>(
        &self,
        before: Option<u64>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<DecodedRows<L>, StoreError> {
        self.with_read_txn(|txn| {
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

fn damaged_pages<T>(panic: String) -> Result<T, StoreError> {
    Err(StoreError::Damaged(panic))
}

/// Converts an error of a reader, and stops the store if the store can't continue.
///
/// An invalid page or an unreadable disk affects all reads, not only the failed one.
fn handle_read_error(
    error: StoreError,
    shared: &StoreState,
    faults: &FaultRecorder,
    is_before_full_disk: bool,
) -> StoreError {
    let error = if matches!(error, StoreError::Engine(_)) {
        faults.cause_of(error)
    } else {
        error
    };
    if !is_before_full_disk && matches!(error, StoreError::Damaged(_) | StoreError::Untrusted(_)) {
        shared.fail(&error);
    }
    error
}

const fn due_entry((at, job): (u64, u64)) -> (Timestamp, JobId) {
    (Timestamp::from_millis(at), JobId::new(job))
}
