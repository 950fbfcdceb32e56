//! What is said of flows: by clients that did not like an answer, by Meta's monitoring, and by our own figures. The first
//! two are kept for operators, within bounds; of trouble that Meta or the figures tell of, the outside is told.
//!
//! What it says is read in `crate::domain`; what is past its retention, [`super::sweep`] takes away.

use std::collections::HashSet;

use redb::{ReadableTable, ReadableTableMetadata, Table};

use crate::domain::complaint::Complaint;
use crate::domain::customer_change::CustomerChange;
use crate::domain::event::EventKind;
use crate::domain::event::facts::HealthFacts;
use crate::domain::health_event::{HealthEvent, standing};
use crate::domain::ids::FlowName;
use crate::domain::receipt::StatusUpdate;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};
use crate::domain::verdict::{Judgement, Verdict};

use super::accept::{Accept, Accepted};
use super::batch::{Batch, Transaction};
use super::codec::Row;
use super::read::{Found, Snapshot};
use super::retention::{self, Queue};
use super::{StoreError, announce, answers, codec, customers, receipts};

/// Rows of each kind at the most: the oldest make room.
pub(super) const KEPT: u64 = 10_000;
/// The newest events, among which one that comes again is looked for.
const RECENT: usize = 1000;
/// How long an event without a time of its own is the same as one that looks like it: Meta sends again for seven days
/// (*Create a webhook endpoint*).
const RESENT: Millis = Millis::from_secs(8 * 24 * 60 * 60);

/// Keeps what went wrong between a phone and a flow.
#[derive(Debug)]
pub struct KeepComplaint {
    /// The complaint. Its time is set to the writer's.
    pub complaint: Complaint,
    /// The encrypted request that brought it: the same bytes again, once they have their answer, are the same complaint.
    pub request: IdempotencyKey,
}

/// Takes all that one webhook body brought.
#[derive(Debug, Default)]
pub struct Receive {
    /// Its messages.
    pub accept: Accept,
    /// Its events of Meta's monitoring. The time of their receipt is set to the writer's.
    pub events: Vec<HealthEvent>,
    /// What it says of messages that may be ours.
    pub statuses: Vec<StatusUpdate>,
    /// Customers who have another number or id now.
    pub changes: Vec<CustomerChange>,
    /// The flows of the config, under which these customers may be known. Needed only with changes.
    pub flows: Vec<FlowName>,
}

/// Notes how the endpoint of a flow does by our own figures. That it is in trouble is told when it begins, and not again
/// before it was well.
#[derive(Debug)]
pub struct NoteHealth {
    /// The flow.
    pub flow: FlowName,
    /// What its figures come to.
    pub judgement: Judgement,
}

/// What became of a webhook body.
#[derive(Debug)]
pub struct Received {
    /// Of each message, in order.
    pub accepted: Vec<Accepted>,
    /// The events that were not known before.
    pub events: Vec<HealthEvent>,
}

impl Transaction for KeepComplaint {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.complaint.message.len()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        if answers::is_answered(batch, Some(self.request))? {
            return Ok(());
        }
        let complaint = Complaint { at: batch.now, ..self.complaint.clone() };
        let number = append(&mut batch.tables.complaints, &complaint)?;
        retention::enqueue(batch, Queue::Complaints, number.into())
    }
}

impl Transaction for NoteHealth {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.judgement.findings.iter().map(String::len).sum()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let flow = self.flow.as_str();
        let was_unwell = batch.tables.unwell.get(flow)?.is_some();
        match (self.judgement.verdict, was_unwell) {
            (Verdict::Alert, false) => {
                batch.tables.unwell.insert(flow, batch.now.as_millis())?;
                batch.dirty = true;
                let health = HealthFacts::by_figures(&self.judgement, batch.now);
                announce::unhealthy(batch, Some(&self.flow), health)
            }
            (Verdict::Ok, true) => {
                batch.tables.unwell.remove(flow)?;
                batch.dirty = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Receive {
    /// Whether there is nothing to take.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.accept.arrivals.is_empty() && self.events.is_empty() && self.statuses.is_empty() && self.changes.is_empty()
    }
}

impl Transaction for Receive {
    type Outcome = Received;

    fn weight(&self) -> usize {
        let others = self.events.len().saturating_add(self.statuses.len()).saturating_add(self.changes.len());
        self.accept.weight().saturating_add(others)
    }

    fn bytes(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.value.len()).sum();
        self.accept.bytes().saturating_add(events)
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Received, StoreError> {
        let events = keep_events(batch, &self.events)?;
        for status in &self.statuses {
            receipts::learn(batch, status)?;
        }
        let accepted = self.accept.apply(batch)?;
        for change in &self.changes {
            customers::change(batch, change, &self.flows)?;
        }
        Ok(Received { accepted, events })
    }
}

/// Keeps those of `events` that are not known; returns them.
fn keep_events(batch: &mut Batch<'_, '_>, events: &[HealthEvent]) -> Result<Vec<HealthEvent>, StoreError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let recent = recent(batch)?;
    let is_known = |event: &&HealthEvent| event.sent_at.is_some() || batch.now.since(event.received_at) < RESENT;
    let mut known: HashSet<[u8; 16]> = recent.iter().filter(is_known).map(|event| event.print).collect();
    let mut fresh = Vec::new();
    for event in events.iter().filter(|event| known.insert(event.print)) {
        let event = HealthEvent { received_at: batch.now, ..event.clone() };
        let number = append(&mut batch.tables.health_events, &event)?;
        retention::enqueue(batch, Queue::HealthEvents, number.into())?;
        fresh.push(event);
    }
    tell_of_trouble(batch, recent, &fresh)?;
    Ok(fresh)
}

/// Tells of those `fresh` events that are bad and still stand: one may come late that was taken back since.
fn tell_of_trouble(
    batch: &mut Batch<'_, '_>,
    recent: Vec<HealthEvent>,
    fresh: &[HealthEvent],
) -> Result<(), StoreError> {
    if fresh.is_empty() || batch.routes.of(EventKind::FlowUnhealthy, None).next().is_none() {
        return Ok(());
    }
    let all = recent.into_iter().chain(fresh.iter().cloned()).collect();
    for stand in standing(all) {
        if stand.verdict() != Verdict::Ok && fresh.contains(&stand.event) {
            announce::unhealthy(batch, None, HealthFacts::by_meta(&stand))?;
        }
    }
    Ok(())
}

/// The newest events.
fn recent(batch: &Batch<'_, '_>) -> Result<Vec<HealthEvent>, StoreError> {
    let mut events = Vec::new();
    for row in batch.tables.health_events.iter()?.rev().take(RECENT) {
        let (number, bytes) = row?;
        // A row that can't be read, which `check` finds, must not keep the forms of a webhook out.
        events.extend(codec::decode::<HealthEvent>(number.value(), bytes.value()));
    }
    // `standing` goes by the order where two happened at once.
    events.reverse();
    Ok(events)
}

/// Writes `row` behind the last one, and lets the oldest go where there are too many. Returns its number.
fn append<R: Row>(table: &mut Table<'_, u64, &'static [u8]>, row: &R) -> Result<u64, StoreError> {
    let number = table.last()?.map_or(0, |(number, _)| number.value()).saturating_add(1);
    table.insert(number, codec::encode(row)?.as_slice())?;
    while table.len()? > KEPT {
        table.pop_first()?;
    }
    Ok(number)
}

impl Snapshot {
    /// Clients' complaints since then, newest first, `limit` at the most. Rows among them that can't be read are included.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be walked.
    pub fn complaints_since(&self, since: Timestamp, limit: usize) -> Result<Found<Complaint>, StoreError> {
        let newest = self.list::<Complaint>(None, limit)?.into_iter();
        let is_recent = |complaint: &Complaint| complaint.at >= since;
        Ok(newest.take_while(|(_, row)| row.as_ref().ok().is_none_or(is_recent)).collect())
    }

    /// The newest events of Meta's monitoring, newest first: a thousand at the most, fewer where they are large.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be walked.
    pub fn health_events(&self) -> Result<Found<HealthEvent>, StoreError> {
        self.list(None, RECENT)
    }
}
