//! Reads the file in snapshots, for the dispatcher, the workers, admins and health checks. A
//! snapshot shows the contents of the file at one commit.
//!
//! A snapshot must be short-lived, because the engine can't reuse any page while the snapshot
//! exists. Lists come in pages, so that a long read can release its snapshot between two pages.
//! Every read goes through `Snapshot::with_read_txn`. This module contains no decisions.

mod access;
mod bookings;
mod drafts;
mod feeds;
mod flow_events;
mod gateways;
mod leads;
mod outbox;
mod search;

use std::sync::Arc;

use crate::domain::access::audit::AuditEntry;
use crate::domain::booking::Booking;
use crate::domain::delivery::Delivery;
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::ids::{AgentId, BookingId, JobId, LeadId, SubmissionId};
use crate::domain::job::{Attempt, DeadLetter, Job};
use crate::domain::lead::{Agent, Lead};
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::Timestamp;
use crate::panic::catch_panic;

use super::engine::{FaultRecorder, ReadTxn, Rows, TableDef, TableKey, TableValue};
use super::rows::codec::Row;
use super::rows::schema::{
    AGENTS, ATTEMPTS, AUDIT_LOG, BOOKINGS, DEAD_LETTERS, DELIVERIES, DELIVERIES_DUE, DRAFTS, DUE,
    FLOW_ERRORS, HEALTH_EVENTS, JOBS, LATE_ARRIVALS, LEADS, OPEN_LEADS, ORDERED_QUEUE,
    PENDING_HANDOVERS, RETRIED_DEAD_LETTERS, SUBMISSIONS, TALLIES, WAITING_LEADS,
};
use super::rows::submissions::{LateArrival, StoredSubmission, list_late_arrivals};
use super::rows::tallies::{self, Tally};
use super::state::{ReadSource, StoreState};
use super::{StoreError, StoreResult};

pub use outbox::{PendingDelivery, QueueStats};
pub use search::{FoundSubmission, SearchSlice};

/// Size of a page of rows, in bytes. A page stops after the row that reaches this size.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// Contents of the file at one commit.
pub struct Snapshot {
    txn: ReadTxn,
    shared: Arc<StoreState>,
    faults: FaultRecorder,
    /// `true` if the disk is full and this snapshot shows the last commit before that.
    pub(super) is_before_full_disk: bool,
}

/// Row of a table that can be listed, newest first.
pub trait ListedRow: Row {
    /// ID type of the row.
    type Id: Copy;
    /// Table in which the row is stored.
    const ROWS: TableDef<u64, Self>;
    /// Converts a row number to the ID type.
    fn id(number: u64) -> Self::Id;
}

macro_rules! listed {
    ($($row:ty: $rows:ident, $id:ty, $new:expr;)*) => {
        $(impl ListedRow for $row {
            type Id = $id;
            const ROWS: TableDef<u64, Self> = $rows.by_number();
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
    AuditEntry: AUDIT_LOG, u64, std::convert::identity;
}

/// Rows with their numbers, newest first. An unreadable row is an error in its place.
pub type DecodedRows<R> = Vec<(u64, StoreResult<R>)>;

/// Rows of one job with their attempt numbers, in order. An unreadable row is an error in its
/// place.
pub type ByAttempt<R> = Vec<(u32, StoreResult<R>)>;

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
    pub(super) fn begin(shared: &Arc<StoreState>) -> StoreResult<Self> {
        let ReadSource {
            database,
            is_before_full_disk,
        } = shared.read_source().ok_or(StoreError::NotOpen)?;
        let faults = database.faults();
        let begun = catch_panic(|| database.begin_read());
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

    /// Runs `read` on the read transaction.
    ///
    /// The engine panics on invalid pages. The function converts such a panic into an error, and
    /// this error stops the store.
    pub(super) fn with_read_txn<T>(
        &self,
        read: impl FnOnce(&ReadTxn) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let result = catch_panic(|| read(&self.txn)).unwrap_or_else(damaged_pages);
        result.map_err(|error| {
            handle_read_error(error, &self.shared, &self.faults, self.is_before_full_disk)
        })
    }

    /// Returns a submission. Returns `None` if no submission has this ID.
    ///
    /// # Errors
    /// [`StoreError::Row`] if the row is unreadable.
    pub fn submission(&self, id: SubmissionId) -> StoreResult<Option<StoredSubmission>> {
        self.get_row(SUBMISSIONS, id)
    }

    /// Lists the late arrivals of a submission in order of arrival.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn late_arrivals(&self, id: SubmissionId) -> StoreResult<Vec<LateArrival>> {
        let rows = self.with_read_txn(|txn| list_late_arrivals(&txn.open(LATE_ARRIVALS)?, id))?;
        Ok(rows.into_iter().map(|(_, arrival)| arrival).collect())
    }

    /// Returns a job. Returns `None` if no job has this ID.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        self.get_row(JOBS, id)
    }

    /// Lists the stored attempts of a job in order: the failed ones, then the successful one. An
    /// unreadable row does not affect the other rows.
    ///
    /// # Errors
    /// As [`Snapshot::job`], or if the table is unreadable.
    pub fn attempts(&self, id: JobId) -> StoreResult<ByAttempt<Attempt>> {
        self.with_read_txn(|txn| {
            let table = txn.open(ATTEMPTS)?;
            let failed = table.range((id, 0)..=(id, u32::MAX))?.map(|row| {
                let row = row?;
                Ok((row.key().1, row.value()))
            });
            let mut attempts = failed.collect::<StoreResult<ByAttempt<Attempt>>>()?;
            let success = self.job(id)?.and_then(|job| job.success);
            attempts.extend(success.map(|success| (success.number, Ok(success))));
            Ok(attempts)
        })
    }

    /// Returns a dead letter. Returns `None` if the job is not a dead letter.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn dead_letter(&self, id: JobId) -> StoreResult<Option<DeadLetter>> {
        self.get_row(DEAD_LETTERS, id)
    }

    /// Returns the stored payload of a retried dead letter: the text that an admin corrected, or
    /// the original text.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn retried_payload(&self, id: JobId) -> StoreResult<Option<String>> {
        let dead_letter: Option<DeadLetter> = self.get_row(RETRIED_DEAD_LETTERS, id)?;
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
    ) -> StoreResult<Vec<(Timestamp, JobId)>> {
        self.with_read_txn(|txn| {
            use std::ops::Bound::{Excluded, Included, Unbounded};
            let from = after.map_or(Unbounded, Excluded);
            let to = Included((until, JobId::MAX));
            if after.is_some_and(|(at, _)| at > until) {
                return Ok(Vec::new());
            }
            let table = txn.open(DUE)?;
            let due = table.range((from, to))?.take(limit);
            due.map(|row| Ok(row?.key())).collect()
        })
    }

    /// Returns the due time of the first job. Returns `None` if no job is scheduled.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn first_due_at(&self) -> StoreResult<Option<Timestamp>> {
        self.with_read_txn(|txn| Ok(txn.open(DUE)?.first()?.map(|row| row.key().0)))
    }

    /// Lists all counts of `tally`, by name.
    pub(super) fn read_tally(&self, tally: Tally) -> StoreResult<Vec<(String, u64)>> {
        self.with_read_txn(|txn| tallies::read_sums(&txn.open(TALLIES)?, tally))
    }

    /// Returns the numbers of stored rows. The cost is small, because the engine stores the
    /// length of each table.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn counts(&self) -> StoreResult<StoreCounts> {
        self.with_read_txn(|txn| {
            let jobs = txn.open(JOBS)?.len()?;
            let waiting = [
                txn.open(DUE)?.len()?,
                txn.open(DELIVERIES_DUE)?.len()?,
                txn.open(ORDERED_QUEUE)?.len()?,
            ];
            let jobs_scheduled = waiting.into_iter().sum();
            let jobs_dead = txn.open(DEAD_LETTERS)?.len()?;
            let leads_unassigned = txn.open(WAITING_LEADS)?.len()?;
            let confirmed = self.read_tally(Tally::Bookings)?.into_iter();
            Ok(StoreCounts {
                submissions: txn.open(SUBMISSIONS)?.len()?,
                jobs_scheduled,
                jobs_done: jobs
                    .saturating_sub(jobs_scheduled)
                    .saturating_sub(jobs_dead),
                jobs_dead,
                leads_open: txn
                    .open(OPEN_LEADS)?
                    .len()?
                    .saturating_add(leads_unassigned),
                leads_unassigned,
                pending_handovers: txn.open(PENDING_HANDOVERS)?.len()?,
                bookings: txn.open(BOOKINGS)?.len()?,
                bookings_confirmed: confirmed.map(|(_, count)| count).sum(),
                drafts: txn.open(DRAFTS)?.len()?,
            })
        })
    }

    fn get_row<K: TableKey, V: TableValue>(
        &self,
        table: TableDef<K, V>,
        key: K::Ref<'_>,
    ) -> StoreResult<Option<V>> {
        self.with_read_txn(|txn| txn.open(table)?.get(key))
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
    ) -> StoreResult<DecodedRows<L>> {
        self.read_rows(before, limit, PAGE_BYTES_MAX)
    }

    /// Lists all rows, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the table is unreadable.
    pub fn list_all_rows<L: ListedRow>(&self) -> StoreResult<DecodedRows<L>> {
        self.read_rows(None, usize::MAX, u64::MAX)
    }

    fn read_rows<L: ListedRow>(
        &self,
        before: Option<u64>,
        limit: usize,
        bytes_max: u64,
    ) -> StoreResult<DecodedRows<L>> {
        self.with_read_txn(|txn| {
            let table = txn.open(L::ROWS)?;
            let (mut page, mut bytes_read) = (Vec::new(), 0_u64);
            for row in table.range(..before.unwrap_or(u64::MAX))?.rev().take(limit) {
                let row = row?;
                bytes_read = bytes_read.saturating_add(row.stored_bytes());
                page.push((row.key(), row.value()));
                if bytes_read >= bytes_max {
                    break;
                }
            }
            Ok(page)
        })
    }
}

fn damaged_pages<T>(panic: String) -> StoreResult<T> {
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
    let error = match error {
        StoreError::Engine(_) => faults.cause_of(error),
        error => error,
    };
    if !is_before_full_disk && matches!(error, StoreError::Damaged(_) | StoreError::Untrusted(_)) {
        shared.fail(&error);
    }
    error
}
