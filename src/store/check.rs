//! What must hold across tables, looked at row by row: the invariants that every transaction keeps.
//!
//! Reads one snapshot, so it also runs beside a working server. It finds and tells; it mends nothing. What is told to the
//! outside is looked at in `outbox`.

mod outbox;
mod tallies;

use std::collections::BTreeMap;

use redb::{ReadableTable, ReadableTableMetadata};

use crate::domain::booking::Booking;
use crate::domain::complaint::Complaint;
use crate::domain::delivery::Delivery;
use crate::domain::gateway;
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::{JobId, LeadId};
use crate::domain::job::{Attempt, DeadLetter, Job, JobKind, JobState};
use crate::domain::lead::{Agent, Lead, LeadState};
use crate::domain::receipt::Receipt;

use super::StoreError;
use super::accept::StoredSubmission;
use super::answers::KeptAnswer;
use super::codec::{self, Row};
use super::drafts::StoredDraft;
use super::ends::End;
use super::flow_events::KEPT;
use super::gateways::HISTORY;
use super::joins::Join;
use super::keys::KeyRow;
use super::read::Snapshot;
use super::tables::{
    AGENTS, ANSWERED, ANSWERED_LOG, ANSWERS, ATTEMPTS, BOOKINGS, COMPLAINTS, DEAD, DELIVERIES, DRAFTS, DUE, ENDS,
    GATEWAY_HISTORY, GATEWAYS, HEALTH_EVENTS, JOBS, JOINS, LEADS, LEAVING, MESSAGE_LOG, OPEN_LEADS, RECEIPTS, REVIVED,
    Rows, SUBMISSIONS, TOKEN_LOG, WAITING_LEADS, WAMIDS,
};

/// Findings told at the most; more are counted.
const TOLD: usize = 1000;

/// One thing that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What should hold.
    pub invariant: &'static str,
    /// Where it does not.
    pub place: String,
}

/// What a check saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows looked at.
    pub rows: u64,
    /// What should not be, a thousand at the most.
    pub findings: Vec<Finding>,
    /// How many there are in all.
    pub found: u64,
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

    /// The row, unless its bytes are not those that were written, which is a finding.
    fn readable<R: Row>(&mut self, key: impl std::fmt::Debug, bytes: &[u8]) -> Option<R> {
        self.rows += 1;
        match codec::decode(key, bytes) {
            Ok(row) => Some(row),
            Err(error) => {
                self.expect(false, "every row can be read", || error.to_string());
                None
            }
        }
    }
}

/// Looks at every row of `snapshot`.
///
/// # Errors
/// [`StoreError`] where a table can't be walked. Rows that can't be read are findings, not errors.
pub fn check(snapshot: &Snapshot) -> Result<Report, StoreError> {
    let mut report = Report::default();
    submissions(snapshot, &mut report)?;
    jobs(snapshot, &mut report)?;
    outbox::outbox(snapshot, &mut report)?;
    messages(snapshot, &mut report)?;
    leads(snapshot, &mut report)?;
    bookings(snapshot, &mut report)?;
    keys(snapshot, &mut report)?;
    answered(snapshot, &mut report)?;
    said_of_flows::<Complaint>(snapshot, COMPLAINTS, &mut report)?;
    said_of_flows::<HealthEvent>(snapshot, HEALTH_EVENTS, &mut report)?;
    gateways(snapshot, &mut report)?;
    tallies::tallies(snapshot, &mut report)?;
    Ok(report)
}

fn submissions(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    for row in snapshot.transaction().open_table(SUBMISSIONS)?.iter()? {
        let (id, bytes) = row?;
        let id = id.value();
        let Some(row) = report.readable::<StoredSubmission>(id, bytes.value()) else { continue };
        let job = find::<Job>(snapshot, JOBS, row.job.get())?;
        report.expect(
            job.as_ref().is_some_and(|job| job.submission.is_some_and(|of| of.get() == id)),
            "every submission has its job",
            || format!("submission {id}, job {}", row.job),
        );
        if let Some(booking) = row.booking {
            let found = find::<Booking>(snapshot, BOOKINGS, booking.get())?;
            report.expect(
                found.is_some_and(|found| found.submission.get() == id),
                "every booking that a submission names is its own",
                || format!("submission {id}, booking {booking}"),
            );
        }
    }
    for row in snapshot.transaction().open_table(JOINS)?.iter()? {
        let (key, bytes) = row?;
        report.readable::<Join>(key.value(), bytes.value());
    }
    for row in snapshot.transaction().open_table(DRAFTS)?.iter()? {
        let (key, bytes) = row?;
        report.readable::<StoredDraft>(key.value(), bytes.value());
    }
    Ok(())
}

fn jobs(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let txn = snapshot.transaction();
    let (due, dead, revived) = (txn.open_table(DUE)?, txn.open_table(DEAD)?, txn.open_table(REVIVED)?);
    let (mut scheduled, mut died) = (0, 0);
    for row in txn.open_table(JOBS)?.iter()? {
        let (id, bytes) = row?;
        let id = id.value();
        let Some(job) = report.readable::<Job>(id, bytes.value()) else { continue };
        let is_due = due.get((job.due_at.as_millis(), id))?.is_some();
        let is_dead = dead.get(id)?.is_some();
        let is_ours = job.kind != JobKind::Deliver;
        scheduled += u64::from(is_ours && job.state == JobState::Scheduled);
        died += u64::from(job.state == JobState::Dead);
        let place = || format!("job {id}, {}", job.state.as_str());
        let waits = job.state == JobState::Scheduled;
        report.expect(is_due == (waits && is_ours), "a job is in the schedule exactly while it waits", place);
        report.expect(is_dead == (job.state == JobState::Dead), "a dead job, and no other, has its letter", place);
        if job.kind == JobKind::Process {
            let owner = match job.submission {
                Some(of) => find::<StoredSubmission>(snapshot, SUBMISSIONS, of.get())?,
                None => None,
            };
            let is_its_own = owner.is_some_and(|owner| owner.job == JobId::new(id));
            report.expect(is_its_own, "every job has its submission", place);
        }
        if job.kind == JobKind::Message {
            let kept = revived.get(id)?.is_some();
            report.expect(kept == waits, "a message that is read again is kept until that succeeds", place);
        }
        if let Some(lead) = job.lead {
            let found = find::<Lead>(snapshot, LEADS, lead.get())?;
            let same = found.is_some_and(|found| Some(found.submission) == job.submission);
            report.expect(same, "the lead of a job is of the same submission", place);
        }
    }
    for letters in [&dead, &revived] {
        for row in letters.iter()? {
            let (id, bytes) = row?;
            report.readable::<DeadLetter>(id.value(), bytes.value());
        }
    }
    for row in txn.open_table(ATTEMPTS)?.iter()? {
        let (key, bytes) = row?;
        report.readable::<Attempt>(key.value(), bytes.value());
    }
    let (in_schedule, letters) = (due.len()?, dead.len()?);
    report.expect(in_schedule == scheduled, "the schedule holds waiting jobs only", || {
        format!("{in_schedule} entries, {scheduled} jobs waiting")
    });
    report.expect(letters == died, "there is a dead job for each letter", || format!("{letters} letters, {died} jobs"));
    Ok(())
}

/// What is known of the messages that deliveries became. Files that an older version wrote have no such tables.
fn messages(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    if let Some(receipts) = snapshot.rows(RECEIPTS)? {
        for row in receipts.iter()? {
            let (id, bytes) = row?;
            let id = id.value();
            report.readable::<Receipt>(id, bytes.value());
            let has_delivery = find::<Delivery>(snapshot, DELIVERIES, id)?.is_some();
            report.expect(has_delivery, "what is known of a message is known of a delivery", || format!("job {id}"));
        }
    }
    if let Some(wamids) = snapshot.rows(WAMIDS)? {
        for row in wamids.iter()? {
            let (wamid, id) = row?;
            let receipt = find::<Receipt>(snapshot, RECEIPTS, id.value())?;
            let names_it = receipt.is_some_and(|receipt| receipt.wamid.as_deref() == Some(wamid.value()));
            report.expect(names_it, "a message leads to the delivery that names it", || format!("job {}", id.value()));
        }
    }
    Ok(())
}

fn leads(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let txn = snapshot.transaction();
    let (open, waiting) = (txn.open_table(OPEN_LEADS)?, txn.open_table(WAITING_LEADS)?);
    let leaving = txn.open_table(LEAVING)?;
    let (mut assigned, mut unassigned) = (0, 0);
    for row in txn.open_table(LEADS)?.iter()? {
        let (id, bytes) = row?;
        let id = id.value();
        let Some(lead) = report.readable::<Lead>(id, bytes.value()) else { continue };
        let place = || format!("lead {id}");
        let is_open = lead.state == LeadState::Open;
        if let Some(agent) = lead.agent {
            assigned += u64::from(is_open);
            let listed = open.get((agent.get(), id))?.is_some();
            report.expect(listed == is_open, "an agent's list holds exactly their open leads", place);
        } else {
            unassigned += u64::from(is_open);
            let listed = waiting.get((lead.team.as_str(), id))?.is_some();
            report.expect(listed == is_open, "an open lead that nobody has waits", place);
        }
        let owner = find::<StoredSubmission>(snapshot, SUBMISSIONS, lead.submission.get())?;
        let job = match owner {
            Some(owner) => find::<Job>(snapshot, JOBS, owner.job.get())?,
            None => None,
        };
        let same = job.is_some_and(|job| job.lead == Some(LeadId::new(id)));
        report.expect(same, "every lead is the one lead of its submission", place);
    }
    let (listed, queued) = (open.len()?, waiting.len()?);
    report.expect(listed == assigned, "agents' lists hold nothing else", || format!("{listed}, {assigned} leads"));
    report.expect(queued == unassigned, "nothing else waits", || format!("{queued} entries, {unassigned} leads"));
    for row in txn.open_table(AGENTS)?.iter()? {
        let (id, bytes) = row?;
        let id = id.value();
        let Some(agent) = report.readable::<Agent>(id, bytes.value()) else { continue };
        let has = open.range((id, 0)..=(id, u64::MAX))?.count();
        report.expect(
            usize::try_from(agent.current) == Ok(has),
            "an agent's count is the number of their open leads",
            || format!("agent {id}: counts {}, has {has}", agent.current),
        );
        let is_leaving = leaving.get(id)?.is_some();
        report.expect(
            if agent.removed { has == 0 || is_leaving } else { !is_leaving },
            "a removed agent who has open leads hands them over, and nobody else does",
            || format!("agent {id}"),
        );
    }
    Ok(())
}

fn bookings(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let txn = snapshot.transaction();
    for row in txn.open_table(BOOKINGS)?.iter()? {
        let (id, bytes) = row?;
        let id = id.value();
        let Some(booking) = report.readable::<Booking>(id, bytes.value()) else { continue };
        let owner = find::<StoredSubmission>(snapshot, SUBMISSIONS, booking.submission.get())?;
        report.expect(
            owner.is_some_and(|owner| owner.booking.is_some_and(|own| own.get() == id)),
            "every booking is the one booking of its submission",
            || format!("booking {id}"),
        );
    }
    Ok(())
}

fn keys(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    for log in [TOKEN_LOG, MESSAGE_LOG] {
        for row in snapshot.transaction().open_table(log)?.iter()? {
            let (number, bytes) = row?;
            report.readable::<KeyRow>(number.value(), bytes.value());
        }
    }
    let Some(ends) = snapshot.rows(ENDS)? else { return Ok(()) };
    for row in ends.iter()? {
        let (number, bytes) = row?;
        report.readable::<End>(number.value(), bytes.value());
        let is_known = snapshot.transaction().open_table(TOKEN_LOG)?.get(number.value())?.is_some();
        report.expect(is_known, "an end is kept no longer than the key of its form", || {
            format!("end {}", number.value())
        });
    }
    Ok(())
}

fn answered(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    if let Some(answers) = snapshot.rows(ANSWERS)? {
        for row in answers.iter()? {
            let (number, bytes) = row?;
            report.readable::<KeptAnswer>(number.value(), bytes.value());
        }
    }
    let (Some(log), Some(answered)) = (snapshot.rows(ANSWERED_LOG)?, snapshot.rows(ANSWERED)?) else { return Ok(()) };
    for row in log.iter()? {
        let (number, request) = row?;
        report.rows += 1;
        let found = answered.get(request.value())?.map(|found| found.value());
        report.expect(
            found == Some(number.value()),
            "an encrypted request that was answered has the number that it stands under",
            || format!("request {}, found under {found:?}", number.value()),
        );
    }
    let (in_order, found) = (log.len()?, answered.len()?);
    report
        .expect(in_order == found, "no other encrypted request has a number", || format!("{found}, {in_order} stand"));
    Ok(())
}

fn said_of_flows<R: Row>(snapshot: &Snapshot, table: Rows, report: &mut Report) -> Result<(), StoreError> {
    let Some(rows) = snapshot.rows(table)? else { return Ok(()) };
    for row in rows.iter()? {
        let (number, bytes) = row?;
        report.readable::<R>(number.value(), bytes.value());
    }
    let kept = rows.len()?;
    report.expect(kept <= KEPT, "what is said of flows is bounded", || format!("{}: {kept} rows", R::TABLE));
    Ok(())
}

fn gateways(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    if let Some(rows) = snapshot.rows(GATEWAYS)? {
        for row in rows.iter()? {
            let (name, bytes) = row?;
            report.readable::<gateway::Standing>(name.value(), bytes.value());
        }
    }
    let Some(rows) = snapshot.rows(GATEWAY_HISTORY)? else { return Ok(()) };
    let mut kept: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows.iter()? {
        let (key, bytes) = row?;
        report.readable::<gateway::Entry>(key.value(), bytes.value());
        *kept.entry(key.value().0.to_owned()).or_default() += 1;
    }
    for (name, kept) in kept {
        report.expect(kept <= HISTORY, "the history of a gateway is bounded", || format!("{name}: {kept} rows"));
    }
    Ok(())
}

/// The row, or nothing where it is missing or unreadable: the walk over its own table tells that.
fn find<R: Row>(snapshot: &Snapshot, table: Rows, key: u64) -> Result<Option<R>, StoreError> {
    let row = snapshot.transaction().open_table(table)?.get(key)?;
    Ok(row.and_then(|row| codec::decode(key, row.value()).ok()))
}
