//! Verifies the integrity of the file row by row: the invariants across tables that every
//! transaction preserves. The check reports violations and repairs nothing. See
//! [`self::outbox`] for events and deliveries.
//!
//! # Beside a running server
//! While a snapshot exists, redb reuses no page, and the file grows with each commit. So the check
//! reads each slice of a table in a separate snapshot. Between two slices, other transactions may
//! change anything, but the invariants hold in each snapshot. Therefore the check looks up every
//! related row in the snapshot of the row itself. The check calculates no sums over several slices.
//!
//! A stored tally is recounted if that is little work, or if no server runs. Other sums, such as
//! "the schedule has as many entries as jobs wait", are checked from both sides, row by row. Each
//! job must have its entry, and each entry must have its job.

mod outbox;
mod tallies;

use std::borrow::Borrow;
use std::ops::Bound::{Excluded, Unbounded};
use std::thread;
use std::time::Duration;

use redb::{
    AccessGuard, Key, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata,
    TableDefinition, TableHandle, Value,
};

use crate::domain::booking::Booking;
use crate::domain::gateway;
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::health::number_traffic::NumberTraffic;
use crate::domain::ids::{Customer, FlowName, GatewayName, JobId, LeadId};
use crate::domain::job::{Attempt, DeadLetter, Job, JobKind, JobState};
use crate::domain::lead::{Agent, Lead, LeadState};
use crate::domain::submission::flow_error::FlowError;

use super::engine::redb::format;
use super::engine::redb::tables::{
    AGENTS, ATTEMPTS, BOOKINGS, CACHED_RESPONSES, COMPLETIONS, CUSTOMER_AGENTS, DEAD_LETTERS,
    DRAFTS, DUE, ENCRYPTED_REQUEST_LOG, ENCRYPTED_REQUESTS, EVICTED_KEYS, FLOW_ERRORS,
    GATEWAY_HISTORY, GATEWAY_LAST_SEEN, GATEWAY_SESSIONS, HEALTH_EVENTS, JOBS, LATE_ARRIVALS,
    LEADS, MESSAGE_LOG, META, OPEN_LEADS, PENDING_HANDOVERS, PHONE_NUMBERS, RENAMED_CUSTOMERS,
    RETRIED_DEAD_LETTERS, RowTable, SUBMISSIONS, TOKEN_LOG, UNHEALTHY_FLOWS, WAITING_LEADS,
};
use super::rows::codec::{self, Row};
use super::tx::accept::StoredSubmission;
use super::tx::completions::Completion;
use super::tx::drafts::StoredDraft;
use super::tx::flow_events::EVENT_ROWS_MAX;
use super::tx::gateways::HISTORY_ROWS_MAX;
use super::tx::late_arrivals::LateArrival;
use super::tx::response_cache::CachedResponse;
use super::writer::dedup::{EvictedKey, KeyLogRow};
use super::{Store, StoreError};

/// Maximum number of violations in a report. Further violations are only counted.
const VIOLATIONS_LISTED_MAX: usize = 1000;
/// Maximum number of rows of a table that the check reads in one snapshot.
pub(super) const SLICE_ROWS: usize = 1000;
/// Size in bytes at which a slice ends: the row that reaches this size is the last row of the
/// slice.
const SLICE_BYTES: usize = 1 << 20;
/// Maximum pause after a slice. Beside a running server, the check pauses after each slice for as
/// long as the slice took. So the check uses at most half of one core, and the server has the rest.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Violation of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvariantViolation {
    /// Text of the violated invariant.
    pub invariant: &'static str,
    /// Location of the violation: the row or table.
    pub location: String,
}

/// Result of an integrity check.
#[derive(Clone, Debug, Default)]
pub struct IntegrityReport {
    /// Number of rows that the check has read.
    pub rows_read: u64,
    /// Violations, at most 1000.
    pub violations: Vec<InvariantViolation>,
    /// Number of all violations, including violations that are not in the list.
    pub violation_count: u64,
    /// Maximum number of rows that were read in one snapshot.
    pub longest_slice: usize,
    /// Damage that prevents a server from using the file: a table that can't be read to its end, or
    /// the counters. `None` if there is no such damage.
    pub damage: Option<StoreError>,
}

impl IntegrityReport {
    fn require(&mut self, holds: bool, invariant: &'static str, location: impl FnOnce() -> String) {
        if holds {
            return;
        }
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_LISTED_MAX {
            self.violations.push(InvariantViolation {
                invariant,
                location: location(),
            });
        }
    }
}

/// A slice of a table, with the snapshot in which the slice is read.
struct CheckedSlice<'a> {
    txn: &'a ReadTransaction,
    report: &'a mut IntegrityReport,
}

impl CheckedSlice<'_> {
    fn require(&mut self, holds: bool, invariant: &'static str, location: impl FnOnce() -> String) {
        self.report.require(holds, invariant, location);
    }

    /// Decodes a row. Returns `None` if the row can't be decoded, and reports a violation.
    fn decode_row<R: Row>(&mut self, key: impl std::fmt::Debug, bytes: &[u8]) -> Option<R> {
        match codec::decode(key, bytes) {
            Ok(row) => Some(row),
            Err(error) => {
                self.require(false, "every row can be read", || error.to_string());
                None
            }
        }
    }

    fn open_table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, StoreError> {
        Ok(self.txn.open_table(table)?)
    }

    /// Returns the row of another table. Returns `None` if the row is missing or unreadable: the
    /// check of that table reports an unreadable row.
    fn find_row<R: Row>(&self, table: RowTable, key: u64) -> Result<Option<R>, StoreError> {
        let row = self.open_table(table)?.get(key)?;
        Ok(row.and_then(|row| codec::decode(key, row.value()).ok()))
    }

    /// Returns `true` if another table has a row with this key.
    fn has_row<'k, K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<bool, StoreError> {
        Ok(self.open_table(table)?.get(key)?.is_some())
    }
}

/// Checks every row of the file, slice by slice.
///
/// # Errors
/// [`StoreError`] if the file is not open. Unreadable rows and pages are violations, not errors.
pub fn check_integrity(store: &Store) -> Result<IntegrityReport, StoreError> {
    let mut report = IntegrityReport::default();
    counters(store, &mut report)?;
    check_submissions(store, &mut report)?;
    check_jobs(store, &mut report)?;
    outbox::check_outbox(store, &mut report)?;
    check_leads(store, &mut report)?;
    check_agents(store, &mut report)?;
    check_bookings(store, &mut report)?;
    check_keys(store, &mut report)?;
    check_cached_responses(store, &mut report)?;
    check_flow_events(store, &mut report)?;
    check_gateways(store, &mut report)?;
    check_rows_readable::<_, Customer>(store, &mut report, RENAMED_CUSTOMERS)?;
    check_rows_readable::<_, NumberTraffic>(store, &mut report, PHONE_NUMBERS)?;
    tallies::check_tallies(store, &mut report)?;
    Ok(report)
}

/// Calls a function with every row of `table`, slice by slice.
fn for_each_row<K: Key + 'static, V: Value + 'static>(
    store: &Store,
    report: &mut IntegrityReport,
    table: TableDefinition<'static, K, V>,
    mut each: impl FnMut(
        &mut CheckedSlice<'_>,
        AccessGuard<'_, K>,
        AccessGuard<'_, V>,
    ) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut last_key: Option<Vec<u8>> = None;
    loop {
        let began = store.elapsed();
        let outcome = store.read_last().and_then(|snapshot| {
            snapshot.with_read_txn(|txn| {
                check_slice(
                    &mut CheckedSlice { txn, report },
                    table,
                    last_key.as_deref(),
                    &mut each,
                )
            })
        });
        if !store.is_read_only() {
            thread::park_timeout(store.elapsed().saturating_sub(began).min(PAUSE_MAX));
        }
        match outcome {
            Ok(None) => return Ok(()),
            Ok(last) => last_key = last,
            Err(error @ StoreError::Damaged(_)) => {
                report.require(false, "every page can be read", || {
                    format!("table {}: {error}", table.name())
                });
                report.damage.get_or_insert(error);
                return Ok(());
            }
            // A running server stops at the first damaged page.
            Err(StoreError::NotOpen) if report.damage.is_some() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Checks the rows after a given key. Returns the key of the last row, or `None` if there are no
/// more rows.
fn check_slice<K: Key + 'static, V: Value + 'static>(
    slice: &mut CheckedSlice<'_>,
    table: TableDefinition<'static, K, V>,
    after: Option<&[u8]>,
    each: &mut impl FnMut(
        &mut CheckedSlice<'_>,
        AccessGuard<'_, K>,
        AccessGuard<'_, V>,
    ) -> Result<(), StoreError>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let rows = slice.open_table(table)?;
    let range = match after {
        Some(after) => {
            rows.range::<K::SelfType<'_>>((Excluded(K::from_bytes(after)), Unbounded))?
        }
        None => rows.iter()?,
    };
    let (mut rows_seen, mut bytes) = (0, 0);
    for row in range {
        let (key, value) = row?;
        rows_seen += 1;
        bytes += V::as_bytes(&value.value()).as_ref().len();
        let is_last = rows_seen == SLICE_ROWS || bytes >= SLICE_BYTES;
        let last = is_last.then(|| K::as_bytes(&key.value()).as_ref().to_vec());
        slice.report.rows_read += 1;
        slice.report.longest_slice = slice.report.longest_slice.max(rows_seen);
        each(slice, key, value)?;
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// Checks that every row of `table` can be decoded.
fn check_rows_readable<K: Key + 'static, R: Row>(
    store: &Store,
    report: &mut IntegrityReport,
    table: TableDefinition<'static, K, &'static [u8]>,
) -> Result<(), StoreError> {
    for_each_row(store, report, table, |slice, key, bytes| {
        slice.decode_row::<R>(key.value(), bytes.value());
        Ok(())
    })
}

/// Checks the counters. Without readable counters, no server opens the file. The other tables can
/// be checked without the counters.
fn counters(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    let mut row = None;
    for_each_row(store, report, META, |_, key, bytes| {
        if key.value() == format::COUNTERS {
            row = Some(bytes.value().to_vec());
        }
        Ok(())
    })?;
    if let Err(error) = format::counters(store.path(), row.as_deref())
        && report.damage.is_none()
    {
        report.require(false, "every row can be read", || error.to_string());
        report.damage = Some(error);
    }
    Ok(())
}

fn check_submissions(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    for_each_row(store, report, SUBMISSIONS, |slice, id, bytes| {
        let id = id.value();
        let Some(row) = slice.decode_row::<StoredSubmission>(id, bytes.value()) else {
            return Ok(());
        };
        let job = slice.find_row::<Job>(JOBS, row.job_id.get())?;
        slice.require(
            job.as_ref()
                .is_some_and(|job| job.submission_id.is_some_and(|of| of.get() == id)),
            "a submission has its job",
            || format!("submission {id}, job {}", row.job_id),
        );
        if let Some(booking) = row.booking_id {
            let found = slice.find_row::<Booking>(BOOKINGS, booking.get())?;
            slice.require(
                found.is_some_and(|found| found.submission_id.get() == id),
                "the booking named by a submission belongs to it",
                || format!("submission {id}, booking {booking}"),
            );
        }
        Ok(())
    })?;
    check_rows_readable::<_, LateArrival>(store, report, LATE_ARRIVALS)?;
    check_rows_readable::<_, StoredDraft>(store, report, DRAFTS)
}

fn check_jobs(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    for_each_row(store, report, JOBS, |slice, id, bytes| {
        let id = id.value();
        let Some(job) = slice.decode_row::<Job>(id, bytes.value()) else {
            return Ok(());
        };
        if job.kind == JobKind::Deliver {
            outbox::check_delivery_job(slice, id, &job)?;
        }
        check_job(slice, id, &job)
    })?;
    for_each_row(store, report, DUE, |slice, key, _| {
        let (due_at, id) = key.value();
        let job = slice
            .find_row::<Job>(JOBS, id)?
            .filter(|job| job.kind != JobKind::Deliver);
        let waits = job.is_some_and(|job| {
            job.state == JobState::Scheduled && job.due_at.as_millis() == due_at
        });
        slice.require(waits, "the schedule holds scheduled jobs only", || {
            format!("job {id}, due at {due_at}")
        });
        Ok(())
    })?;
    for_each_row(store, report, DEAD_LETTERS, |slice, id, bytes| {
        let id = id.value();
        slice.decode_row::<DeadLetter>(id, bytes.value());
        let job = slice.find_row::<Job>(JOBS, id)?;
        slice.require(
            job.is_some_and(|job| job.state == JobState::Dead),
            "a dead letter has a dead job",
            || format!("dead letter {id}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, RETRIED_DEAD_LETTERS, |slice, id, bytes| {
        let id = id.value();
        slice.decode_row::<DeadLetter>(id, bytes.value());
        let is_there = slice.has_row(JOBS, id)?;
        slice.require(is_there, "a retried dead letter has its job", || {
            format!("job {id}")
        });
        Ok(())
    })?;
    check_rows_readable::<_, Attempt>(store, report, ATTEMPTS)
}

fn check_job(slice: &mut CheckedSlice<'_>, id: u64, job: &Job) -> Result<(), StoreError> {
    let is_due = slice.has_row(DUE, (job.due_at.as_millis(), id))?;
    let is_dead = slice.has_row(DEAD_LETTERS, id)?;
    let is_ours = job.kind != JobKind::Deliver;
    let location = || format!("job {id}, {}", job.state.as_str());
    let waits = job.state == JobState::Scheduled;
    slice.require(
        is_due == (waits && is_ours),
        "a job is in the schedule exactly while it is scheduled",
        location,
    );
    slice.require(
        is_dead == (job.state == JobState::Dead),
        "a job has a dead letter exactly while it is dead",
        location,
    );
    if job.kind == JobKind::Process {
        let owner = match job.submission_id {
            Some(of) => slice.find_row::<StoredSubmission>(SUBMISSIONS, of.get())?,
            None => None,
        };
        let is_its_own = owner.is_some_and(|owner| owner.job_id == JobId::new(id));
        slice.require(is_its_own, "every job has its submission", location);
    }
    if job.kind == JobKind::Message {
        let is_stored = slice.has_row(RETRIED_DEAD_LETTERS, id)?;
        slice.require(
            is_stored == waits,
            "a retried message is stored until its job succeeds",
            location,
        );
    }
    if let Some(lead) = job.lead_id {
        let found = slice.find_row::<Lead>(LEADS, lead.get())?;
        let same = found.is_some_and(|found| Some(found.submission_id) == job.submission_id);
        slice.require(
            same,
            "the lead of a job is of the same submission",
            location,
        );
    }
    Ok(())
}

fn check_leads(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    for_each_row(store, report, LEADS, |slice, id, bytes| {
        let id = id.value();
        let Some(lead) = slice.decode_row::<Lead>(id, bytes.value()) else {
            return Ok(());
        };
        let location = || format!("lead {id}");
        let is_open = lead.state == LeadState::Open;
        if let Some(agent) = lead.agent {
            let listed = slice.has_row(OPEN_LEADS, (agent.get(), id))?;
            slice.require(
                listed == is_open,
                "an agent's list of open leads contains the lead exactly while it is open",
                location,
            );
        } else {
            let listed = slice.has_row(WAITING_LEADS, (lead.team.as_str(), id))?;
            slice.require(
                listed == is_open,
                "an open lead without an agent is in the waiting queue",
                location,
            );
        }
        let owner = slice.find_row::<StoredSubmission>(SUBMISSIONS, lead.submission_id.get())?;
        let job = match owner {
            Some(owner) => slice.find_row::<Job>(JOBS, owner.job_id.get())?,
            None => None,
        };
        let same = job.is_some_and(|job| job.lead_id == Some(LeadId::new(id)));
        slice.require(
            same,
            "every lead is the one lead of its submission",
            location,
        );
        Ok(())
    })?;
    for_each_row(store, report, OPEN_LEADS, |slice, key, _| {
        let (agent, id) = key.value();
        let lead = slice
            .find_row::<Lead>(LEADS, id)?
            .filter(|lead| lead.state == LeadState::Open);
        let theirs = lead
            .and_then(|lead| lead.agent)
            .is_some_and(|of| of.get() == agent);
        slice.require(
            theirs,
            "an agent's list of open leads holds only open leads of that agent",
            || format!("agent {agent}, lead {id}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, WAITING_LEADS, |slice, key, _| {
        let (team, id) = key.value();
        let lead = slice
            .find_row::<Lead>(LEADS, id)?
            .filter(|lead| lead.state == LeadState::Open);
        let waits = lead.is_some_and(|lead| lead.agent.is_none() && lead.team.as_str() == team);
        slice.require(
            waits,
            "the waiting queue holds only open leads without an agent",
            || format!("team {team}, lead {id}"),
        );
        Ok(())
    })
}

fn check_agents(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    for_each_row(store, report, AGENTS, |slice, id, bytes| {
        let id = id.value();
        let Some(agent) = slice.decode_row::<Agent>(id, bytes.value()) else {
            return Ok(());
        };
        let open_count = slice
            .open_table(OPEN_LEADS)?
            .range((id, 0)..=(id, u64::MAX))?
            .count();
        slice.require(
            usize::try_from(agent.current_leads) == Ok(open_count),
            "an agent's lead count equals the number of their open leads",
            || {
                format!(
                    "agent {id}: counts {}, has {open_count}",
                    agent.current_leads
                )
            },
        );
        let is_leaving = slice.has_row(PENDING_HANDOVERS, id)?;
        slice.require(
            if agent.is_removed {
                open_count == 0 || is_leaving
            } else {
                !is_leaving
            },
            "an agent has a pending handover exactly while removed with open leads",
            || format!("agent {id}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, CUSTOMER_AGENTS, |slice, key, had| {
        let agent = had.value().0;
        let is_there = agent == 0 || slice.has_row(AGENTS, agent)?;
        slice.require(is_there, "the last agent of a customer exists", || {
            format!("customer {:02x?}, agent {agent}", key.value())
        });
        Ok(())
    })
}

fn check_bookings(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    for_each_row(store, report, BOOKINGS, |slice, id, bytes| {
        let id = id.value();
        let Some(booking) = slice.decode_row::<Booking>(id, bytes.value()) else {
            return Ok(());
        };
        let owner = slice.find_row::<StoredSubmission>(SUBMISSIONS, booking.submission_id.get())?;
        slice.require(
            owner.is_some_and(|owner| owner.booking_id.is_some_and(|own| own.get() == id)),
            "every booking is the one booking of its submission",
            || format!("booking {id}"),
        );
        Ok(())
    })
}

fn check_keys(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    for log in [TOKEN_LOG, MESSAGE_LOG] {
        check_rows_readable::<_, KeyLogRow>(store, report, log)?;
    }
    for_each_row(store, report, COMPLETIONS, |slice, number, bytes| {
        let number = number.value();
        slice.decode_row::<Completion>(number, bytes.value());
        let is_known = slice.has_row(TOKEN_LOG, number)?;
        slice.require(
            is_known,
            "a completion is stored no longer than its idempotency key",
            || format!("completion {number}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, EVICTED_KEYS, |slice, key, bytes| {
        let Some(old) = slice.decode_row::<EvictedKey>(key.value(), bytes.value()) else {
            return Ok(());
        };
        let mut is_logged = false;
        for log in [TOKEN_LOG, MESSAGE_LOG] {
            let row = slice.find_row::<KeyLogRow>(log, old.row)?;
            is_logged |= row.is_some_and(|row| row.key == *key.value());
        }
        slice.require(is_logged, "an evicted key is in a key log", || {
            format!("key {:02x?}", key.value())
        });
        Ok(())
    })
}

fn check_cached_responses(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    check_rows_readable::<_, CachedResponse>(store, report, CACHED_RESPONSES)?;
    for_each_row(
        store,
        report,
        ENCRYPTED_REQUEST_LOG,
        |slice, number, request| {
            let number = number.value();
            let found = slice
                .open_table(ENCRYPTED_REQUESTS)?
                .get(request.value())?
                .map(|found| found.value());
            slice.require(
                found == Some(number),
                "an encrypted request maps to its number in the log",
                || format!("request {number}, found under {found:?}"),
            );
            Ok(())
        },
    )?;
    for_each_row(
        store,
        report,
        ENCRYPTED_REQUESTS,
        |slice, request, number| {
            let number = number.value();
            let logged = slice
                .open_table(ENCRYPTED_REQUEST_LOG)?
                .get(number)?
                .is_some_and(|logged| logged.value() == request.value());
            slice.require(
                logged,
                "every numbered encrypted request is in the log",
                || format!("request {number}"),
            );
            Ok(())
        },
    )
}

fn check_flow_events(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    check_rows_readable::<_, FlowError>(store, report, FLOW_ERRORS)?;
    check_rows_readable::<_, HealthEvent>(store, report, HEALTH_EVENTS)?;
    for table in [FLOW_ERRORS, HEALTH_EVENTS] {
        let row_count = store
            .read_last()?
            .with_read_txn(|txn| Ok(txn.open_table(table)?.len()?))?;
        report.require(
            row_count <= EVENT_ROWS_MAX,
            "flow errors and health events are bounded",
            || format!("{}: {row_count} rows", table.name()),
        );
    }
    for_each_row(store, report, UNHEALTHY_FLOWS, |slice, name, _| {
        let name = name.value();
        slice.require(
            FlowName::new(name).is_ok(),
            "an unhealthy flow has a valid name",
            || format!("{name:?}"),
        );
        Ok(())
    })
}

fn check_gateways(store: &Store, report: &mut IntegrityReport) -> Result<(), StoreError> {
    check_rows_readable::<_, gateway::SessionState>(store, report, GATEWAY_SESSIONS)?;
    let mut last_name = String::new();
    for_each_row(store, report, GATEWAY_HISTORY, |slice, key, bytes| {
        let (name, number) = key.value();
        slice.decode_row::<gateway::HistoryEntry>((name, number), bytes.value());
        if name != last_name {
            name.clone_into(&mut last_name);
            let row_count = slice
                .open_table(GATEWAY_HISTORY)?
                .range((name, 0)..=(name, u64::MAX))?
                .count();
            let row_count = u64::try_from(row_count).unwrap_or(u64::MAX);
            slice.require(
                row_count <= HISTORY_ROWS_MAX,
                "the history of a gateway is bounded",
                || format!("{name}: {row_count} rows"),
            );
        }
        Ok(())
    })?;
    for_each_row(store, report, GATEWAY_LAST_SEEN, |slice, name, _| {
        let name = name.value();
        slice.require(
            GatewayName::new(name).is_ok(),
            "a last-seen row has a valid gateway name",
            || format!("{name:?}"),
        );
        Ok(())
    })
}
