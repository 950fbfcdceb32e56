//! What must hold across tables, looked at row by row: the invariants that every transaction keeps. It finds and tells; it
//! mends nothing. What is told to the outside is looked at in `outbox`.
//!
//! # Beside a working server
//! While a snapshot lives, redb uses no page again, and the file grows with each commit. So a check reads a slice of a table
//! in a snapshot of its own, and the next slice in another one. Between two slices anything may change; what must hold does
//! hold in each snapshot. So everything that is said of a row is looked up in the snapshot of that row, and nothing is
//! summed up over slices; what is kept as a sum is counted again where that is little work, or where no server runs. What
//! would be a sum ("the schedule has as many entries as jobs wait") is asked from both sides,
//! row by row: of each job whether it has its entry, and of each entry whether it has its job.

mod outbox;
mod tallies;

use std::borrow::Borrow;
use std::ops::Bound::{Excluded, Unbounded};
use std::thread;
use std::time::Duration;

use redb::{
    AccessGuard, Key, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition,
    TableHandle, Value,
};

use crate::domain::booking::Booking;
use crate::domain::complaint::Complaint;
use crate::domain::gateway;
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::{Customer, FlowName, GatewayName, JobId, LeadId};
use crate::domain::job::{Attempt, DeadLetter, Job, JobKind, JobState};
use crate::domain::lead::{Agent, Lead, LeadState};
use crate::domain::traffic::Traffic;

use super::accept::StoredSubmission;
use super::answers::KeptAnswer;
use super::codec::{self, Row};
use super::drafts::StoredDraft;
use super::ends::End;
use super::flow_events::KEPT;
use super::gateways::HISTORY;
use super::joins::Join;
use super::keys::{KeyRow, OldKey};
use super::tables::{
    AGENTS, ANSWERED, ANSWERED_LOG, ANSWERS, ATTEMPTS, BOOKINGS, COMPLAINTS, CUSTOMERS, DEAD, DRAFTS, DUE, ENDS,
    GATEWAY_HISTORY, GATEWAYS, GATEWAYS_HEARD, HEALTH_EVENTS, JOBS, JOINS, LEADS, LEAVING, MESSAGE_LOG, META, NUMBERS,
    OLD_KEYS, OPEN_LEADS, RENAMED, REVIVED, Rows, SUBMISSIONS, TOKEN_LOG, UNWELL, WAITING_LEADS,
};
use super::{Store, StoreError, format};

/// Findings told at the most; more are counted.
const TOLD: usize = 1000;
/// Rows of a table that are read in one snapshot.
pub(super) const SLICE: usize = 1000;
/// Bytes of them: the slice ends with the row that reaches this.
const SLICE_BYTES: usize = 1 << 20;
/// Longest pause after a slice. Beside a working server the check pauses after each slice for as long as the slice took, so
/// that it uses at most half of one core and the server keeps the rest.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// One thing that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What should hold.
    pub invariant: &'static str,
    /// Where it does not.
    pub place: String,
}

/// What a check saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows looked at.
    pub rows: u64,
    /// What should not be, a thousand at the most.
    pub findings: Vec<Finding>,
    /// How many there are in all.
    pub found: u64,
    /// The most rows that were looked at in one snapshot.
    pub longest: usize,
    /// Damage that keeps the file from being served: a table that could not be walked to its end, or the counters.
    pub damage: Option<StoreError>,
}

impl Report {
    fn expect(&mut self, holds: bool, invariant: &'static str, place: impl FnOnce() -> String) {
        if holds {
            return;
        }
        self.found += 1;
        if self.findings.len() < TOLD {
            self.findings.push(Finding { invariant, place: place() });
        }
    }
}

/// A part of a table, and the file as it was when that was read.
struct Slice<'a> {
    txn: &'a ReadTransaction,
    report: &'a mut Report,
}

impl Slice<'_> {
    fn expect(&mut self, holds: bool, invariant: &'static str, place: impl FnOnce() -> String) {
        self.report.expect(holds, invariant, place);
    }

    /// The row, unless its bytes are not those that were written, which is a finding.
    fn readable<R: Row>(&mut self, key: impl std::fmt::Debug, bytes: &[u8]) -> Option<R> {
        match codec::decode(key, bytes) {
            Ok(row) => Some(row),
            Err(error) => {
                self.expect(false, "every row can be read", || error.to_string());
                None
            }
        }
    }

    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, StoreError> {
        Ok(self.txn.open_table(table)?)
    }

    /// The row of another table, or nothing where it is missing or unreadable: the walk over its own table tells that.
    fn find<R: Row>(&self, table: Rows, key: u64) -> Result<Option<R>, StoreError> {
        let row = self.table(table)?.get(key)?;
        Ok(row.and_then(|row| codec::decode(key, row.value()).ok()))
    }

    /// Whether another table has a row.
    fn has<'k, K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<bool, StoreError> {
        Ok(self.table(table)?.get(key)?.is_some())
    }
}

/// Looks at every row of the file, a slice at a time.
///
/// # Errors
/// [`StoreError`] where the file is not open. Rows and pages that can't be read are findings, not errors.
pub fn check(store: &Store) -> Result<Report, StoreError> {
    let mut report = Report::default();
    counters(store, &mut report)?;
    submissions(store, &mut report)?;
    jobs(store, &mut report)?;
    outbox::outbox(store, &mut report)?;
    leads(store, &mut report)?;
    bookings(store, &mut report)?;
    keys(store, &mut report)?;
    answered(store, &mut report)?;
    flows(store, &mut report)?;
    gateways(store, &mut report)?;
    read_all::<_, Customer>(store, &mut report, RENAMED)?;
    read_all::<_, Traffic>(store, &mut report, NUMBERS)?;
    tallies::tallies(store, &mut report)?;
    Ok(report)
}

/// Has `each` look at every row of `table`, a slice at a time.
fn walk<K: Key + 'static, V: Value + 'static>(
    store: &Store,
    report: &mut Report,
    table: TableDefinition<'static, K, V>,
    mut each: impl FnMut(&mut Slice<'_>, AccessGuard<'_, K>, AccessGuard<'_, V>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut behind: Option<Vec<u8>> = None;
    loop {
        let began = store.elapsed();
        let walked = store.read_last().and_then(|snapshot| {
            snapshot.reading(|txn| walk_slice(&mut Slice { txn, report }, table, behind.as_deref(), &mut each))
        });
        if !store.is_read_only() {
            thread::park_timeout(store.elapsed().saturating_sub(began).min(PAUSE_MAX));
        }
        match walked {
            Ok(None) => return Ok(()),
            Ok(last) => behind = last,
            Err(error @ StoreError::Damaged(_)) => {
                report.expect(false, "every page can be read", || format!("table {}: {error}", table.name()));
                report.damage.get_or_insert(error);
                return Ok(());
            }
            // A working server ends with the first damaged page.
            Err(StoreError::NotOpen) if report.damage.is_some() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Looks at the rows behind the key `behind`. Returns the key of the last one; `None`: there are no more.
fn walk_slice<K: Key + 'static, V: Value + 'static>(
    slice: &mut Slice<'_>,
    table: TableDefinition<'static, K, V>,
    behind: Option<&[u8]>,
    each: &mut impl FnMut(&mut Slice<'_>, AccessGuard<'_, K>, AccessGuard<'_, V>) -> Result<(), StoreError>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let rows = slice.table(table)?;
    let range = match behind {
        Some(behind) => rows.range::<K::SelfType<'_>>((Excluded(K::from_bytes(behind)), Unbounded))?,
        None => rows.iter()?,
    };
    let (mut seen, mut bytes) = (0, 0);
    for row in range {
        let (key, value) = row?;
        seen += 1;
        bytes += V::as_bytes(&value.value()).as_ref().len();
        let is_last = seen == SLICE || bytes >= SLICE_BYTES;
        let last = is_last.then(|| K::as_bytes(&key.value()).as_ref().to_vec());
        slice.report.rows += 1;
        slice.report.longest = slice.report.longest.max(seen);
        each(slice, key, value)?;
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// Has every row of `table` read.
fn read_all<K: Key + 'static, R: Row>(
    store: &Store,
    report: &mut Report,
    table: TableDefinition<'static, K, &'static [u8]>,
) -> Result<(), StoreError> {
    walk(store, report, table, |slice, key, bytes| {
        slice.readable::<R>(key.value(), bytes.value());
        Ok(())
    })
}

/// Reads the counters, without which no file is served. The other tables can be looked at without them.
fn counters(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    let mut row = None;
    walk(store, report, META, |_, key, bytes| {
        if key.value() == format::COUNTERS {
            row = Some(bytes.value().to_vec());
        }
        Ok(())
    })?;
    if let Err(error) = format::counters(store.path(), row.as_deref())
        && report.damage.is_none()
    {
        report.expect(false, "every row can be read", || error.to_string());
        report.damage = Some(error);
    }
    Ok(())
}

fn submissions(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    walk(store, report, SUBMISSIONS, |slice, id, bytes| {
        let id = id.value();
        let Some(row) = slice.readable::<StoredSubmission>(id, bytes.value()) else { return Ok(()) };
        let job = slice.find::<Job>(JOBS, row.job.get())?;
        slice.expect(
            job.as_ref().is_some_and(|job| job.submission.is_some_and(|of| of.get() == id)),
            "every submission has its job",
            || format!("submission {id}, job {}", row.job),
        );
        if let Some(booking) = row.booking {
            let found = slice.find::<Booking>(BOOKINGS, booking.get())?;
            slice.expect(
                found.is_some_and(|found| found.submission.get() == id),
                "every booking that a submission names is its own",
                || format!("submission {id}, booking {booking}"),
            );
        }
        Ok(())
    })?;
    read_all::<_, Join>(store, report, JOINS)?;
    read_all::<_, StoredDraft>(store, report, DRAFTS)
}

fn jobs(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    walk(store, report, JOBS, |slice, id, bytes| {
        let id = id.value();
        let Some(job) = slice.readable::<Job>(id, bytes.value()) else { return Ok(()) };
        if job.kind == JobKind::Deliver {
            outbox::job(slice, id, &job)?;
        }
        job_of_any_kind(slice, id, &job)
    })?;
    walk(store, report, DUE, |slice, key, _| {
        let (due_at, id) = key.value();
        let job = slice.find::<Job>(JOBS, id)?.filter(|job| job.kind != JobKind::Deliver);
        let waits = job.is_some_and(|job| job.state == JobState::Scheduled && job.due_at.as_millis() == due_at);
        slice.expect(waits, "the schedule holds waiting jobs only", || format!("job {id}, due at {due_at}"));
        Ok(())
    })?;
    walk(store, report, DEAD, |slice, id, bytes| {
        let id = id.value();
        slice.readable::<DeadLetter>(id, bytes.value());
        let job = slice.find::<Job>(JOBS, id)?;
        slice.expect(job.is_some_and(|job| job.state == JobState::Dead), "there is a dead job for each letter", || {
            format!("letter {id}")
        });
        Ok(())
    })?;
    walk(store, report, REVIVED, |slice, id, bytes| {
        let id = id.value();
        slice.readable::<DeadLetter>(id, bytes.value());
        let is_there = slice.has(JOBS, id)?;
        slice.expect(is_there, "what is kept of a letter that runs again is kept of a job", || format!("job {id}"));
        Ok(())
    })?;
    read_all::<_, Attempt>(store, report, ATTEMPTS)
}

fn job_of_any_kind(slice: &mut Slice<'_>, id: u64, job: &Job) -> Result<(), StoreError> {
    let is_due = slice.has(DUE, (job.due_at.as_millis(), id))?;
    let is_dead = slice.has(DEAD, id)?;
    let is_ours = job.kind != JobKind::Deliver;
    let place = || format!("job {id}, {}", job.state.as_str());
    let waits = job.state == JobState::Scheduled;
    slice.expect(is_due == (waits && is_ours), "a job is in the schedule exactly while it waits", place);
    slice.expect(is_dead == (job.state == JobState::Dead), "a dead job, and no other, has its letter", place);
    if job.kind == JobKind::Process {
        let owner = match job.submission {
            Some(of) => slice.find::<StoredSubmission>(SUBMISSIONS, of.get())?,
            None => None,
        };
        let is_its_own = owner.is_some_and(|owner| owner.job == JobId::new(id));
        slice.expect(is_its_own, "every job has its submission", place);
    }
    if job.kind == JobKind::Message {
        let kept = slice.has(REVIVED, id)?;
        slice.expect(kept == waits, "a message that is read again is kept until that succeeds", place);
    }
    if let Some(lead) = job.lead {
        let found = slice.find::<Lead>(LEADS, lead.get())?;
        let same = found.is_some_and(|found| Some(found.submission) == job.submission);
        slice.expect(same, "the lead of a job is of the same submission", place);
    }
    Ok(())
}

fn leads(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    walk(store, report, LEADS, |slice, id, bytes| {
        let id = id.value();
        let Some(lead) = slice.readable::<Lead>(id, bytes.value()) else { return Ok(()) };
        let place = || format!("lead {id}");
        let is_open = lead.state == LeadState::Open;
        if let Some(agent) = lead.agent {
            let listed = slice.has(OPEN_LEADS, (agent.get(), id))?;
            slice.expect(listed == is_open, "an agent's list holds exactly their open leads", place);
        } else {
            let listed = slice.has(WAITING_LEADS, (lead.team.as_str(), id))?;
            slice.expect(listed == is_open, "an open lead that nobody has waits", place);
        }
        let owner = slice.find::<StoredSubmission>(SUBMISSIONS, lead.submission.get())?;
        let job = match owner {
            Some(owner) => slice.find::<Job>(JOBS, owner.job.get())?,
            None => None,
        };
        let same = job.is_some_and(|job| job.lead == Some(LeadId::new(id)));
        slice.expect(same, "every lead is the one lead of its submission", place);
        Ok(())
    })?;
    walk(store, report, OPEN_LEADS, |slice, key, _| {
        let (agent, id) = key.value();
        let lead = slice.find::<Lead>(LEADS, id)?.filter(|lead| lead.state == LeadState::Open);
        let theirs = lead.and_then(|lead| lead.agent).is_some_and(|of| of.get() == agent);
        slice.expect(theirs, "agents' lists hold nothing else", || format!("agent {agent}, lead {id}"));
        Ok(())
    })?;
    walk(store, report, WAITING_LEADS, |slice, key, _| {
        let (team, id) = key.value();
        let lead = slice.find::<Lead>(LEADS, id)?.filter(|lead| lead.state == LeadState::Open);
        let waits = lead.is_some_and(|lead| lead.agent.is_none() && lead.team.as_str() == team);
        slice.expect(waits, "nothing else waits", || format!("team {team}, lead {id}"));
        Ok(())
    })?;
    walk(store, report, AGENTS, |slice, id, bytes| {
        let id = id.value();
        let Some(agent) = slice.readable::<Agent>(id, bytes.value()) else { return Ok(()) };
        let has = slice.table(OPEN_LEADS)?.range((id, 0)..=(id, u64::MAX))?.count();
        slice.expect(
            usize::try_from(agent.current) == Ok(has),
            "an agent's count is the number of their open leads",
            || format!("agent {id}: counts {}, has {has}", agent.current),
        );
        let is_leaving = slice.has(LEAVING, id)?;
        slice.expect(
            if agent.removed { has == 0 || is_leaving } else { !is_leaving },
            "a removed agent who has open leads hands them over, and nobody else does",
            || format!("agent {id}"),
        );
        Ok(())
    })?;
    walk(store, report, CUSTOMERS, |slice, key, had| {
        let agent = had.value().0;
        let is_there = agent == 0 || slice.has(AGENTS, agent)?;
        slice.expect(is_there, "whoever had a customer last is an agent", || {
            format!("customer {:02x?}, agent {agent}", key.value())
        });
        Ok(())
    })
}

fn bookings(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    walk(store, report, BOOKINGS, |slice, id, bytes| {
        let id = id.value();
        let Some(booking) = slice.readable::<Booking>(id, bytes.value()) else { return Ok(()) };
        let owner = slice.find::<StoredSubmission>(SUBMISSIONS, booking.submission.get())?;
        slice.expect(
            owner.is_some_and(|owner| owner.booking.is_some_and(|own| own.get() == id)),
            "every booking is the one booking of its submission",
            || format!("booking {id}"),
        );
        Ok(())
    })
}

fn keys(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    for log in [TOKEN_LOG, MESSAGE_LOG] {
        read_all::<_, KeyRow>(store, report, log)?;
    }
    walk(store, report, ENDS, |slice, number, bytes| {
        let number = number.value();
        slice.readable::<End>(number, bytes.value());
        let is_known = slice.has(TOKEN_LOG, number)?;
        slice.expect(is_known, "an end is kept no longer than the key of its form", || format!("end {number}"));
        Ok(())
    })?;
    walk(store, report, OLD_KEYS, |slice, key, bytes| {
        let Some(old) = slice.readable::<OldKey>(key.value(), bytes.value()) else { return Ok(()) };
        let mut is_logged = false;
        for log in [TOKEN_LOG, MESSAGE_LOG] {
            let row = slice.find::<KeyRow>(log, old.row)?;
            is_logged |= row.is_some_and(|row| row.key == *key.value());
        }
        slice
            .expect(is_logged, "a key that is no longer in memory is in a log", || format!("key {:02x?}", key.value()));
        Ok(())
    })
}

fn answered(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    read_all::<_, KeptAnswer>(store, report, ANSWERS)?;
    walk(store, report, ANSWERED_LOG, |slice, number, request| {
        let number = number.value();
        let found = slice.table(ANSWERED)?.get(request.value())?.map(|found| found.value());
        slice.expect(
            found == Some(number),
            "an encrypted request that was answered has the number that it stands under",
            || format!("request {number}, found under {found:?}"),
        );
        Ok(())
    })?;
    walk(store, report, ANSWERED, |slice, request, number| {
        let number = number.value();
        let logged = slice.table(ANSWERED_LOG)?.get(number)?.is_some_and(|logged| logged.value() == request.value());
        slice.expect(logged, "no other encrypted request has a number", || format!("request {number}"));
        Ok(())
    })
}

fn flows(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    read_all::<_, Complaint>(store, report, COMPLAINTS)?;
    read_all::<_, HealthEvent>(store, report, HEALTH_EVENTS)?;
    for table in [COMPLAINTS, HEALTH_EVENTS] {
        let kept = store.read_last()?.reading(|txn| Ok(txn.open_table(table)?.len()?))?;
        report.expect(kept <= KEPT, "what is said of flows is bounded", || format!("{}: {kept} rows", table.name()));
    }
    walk(store, report, UNWELL, |slice, name, _| {
        let name = name.value();
        slice.expect(FlowName::new(name).is_ok(), "an endpoint in trouble is that of a flow", || format!("{name:?}"));
        Ok(())
    })
}

fn gateways(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    read_all::<_, gateway::Standing>(store, report, GATEWAYS)?;
    let mut counted = String::new();
    walk(store, report, GATEWAY_HISTORY, |slice, key, bytes| {
        let (name, number) = key.value();
        slice.readable::<gateway::Entry>((name, number), bytes.value());
        if name != counted {
            name.clone_into(&mut counted);
            let kept = slice.table(GATEWAY_HISTORY)?.range((name, 0)..=(name, u64::MAX))?.count();
            let kept = u64::try_from(kept).unwrap_or(u64::MAX);
            slice.expect(kept <= HISTORY, "the history of a gateway is bounded", || format!("{name}: {kept} rows"));
        }
        Ok(())
    })?;
    walk(store, report, GATEWAYS_HEARD, |slice, name, _| {
        let name = name.value();
        slice.expect(GatewayName::new(name).is_ok(), "what was heard was heard of a gateway", || format!("{name:?}"));
        Ok(())
    })
}
