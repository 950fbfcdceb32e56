//! Customers whose number or id has changed: what is kept under their old names goes over to the new ones.
//!
//! Submissions stay as they were taken, and nothing finds them by customer. So a change is kept under each name that it
//! replaces, and whoever asks for the customer of a submission follows it: bookings, texts that wait, and events told later
//! have the new names at once. Agents, drafts and turns, which are kept under a customer's name, move in the same transaction.
//!
//! What counts for whom is decided in `crate::domain::customer_change`.

use redb::{ReadableTable, ReadableTableMetadata};

use crate::domain::customer_change::{CustomerChange, follow};
use crate::domain::delivery::Delivery;
use crate::domain::draft::{self, Draft};
use crate::domain::ids::{AgentId, Customer, DestinationName, FlowName, JobId, LeadId, SubmissionId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};

use super::accept::{self, StoredSubmission};
use super::batch::Batch;
use super::keys::Log;
use super::{StoreError, codec, deliveries, drafts, leads};

/// Deliveries of one customer that move to another turn at the most. More go out as they stand.
const QUEUE_MAX: usize = 1000;
/// Changes looked at in one round of the sweep: the whole table is seen every few rounds, whatever it holds.
const FORGET_MOST: usize = 64;
/// How late a message may come: Meta sends it again for seven days (*Create a webhook endpoint*).
const LATE: Millis = Millis::from_secs(8 * 24 * 60 * 60);

/// Takes in a change. `flows`: those under which the customer may be known. Told again, or of somebody who is not known, it
/// changes nothing that is shown.
pub(super) fn change(batch: &mut Batch<'_, '_>, change: &CustomerChange, flows: &[FlowName]) -> Result<(), StoreError> {
    if accept::message_of(batch, change.message_key)?.is_some() {
        return Ok(());
    }
    let at = change.at.unwrap_or(batch.now);
    let row = codec::encode(change.current())?;
    for name in change.replaced() {
        let key = IdempotencyKey::of_former_name(name);
        batch.tables.renamed.insert((key.as_bytes(), at.as_millis()), row.as_slice())?;
    }
    for flow in flows {
        move_agent(batch, change, flow)?;
        for name in change.replaced() {
            move_draft(batch, change, flow, name)?;
            move_turns(batch, change, flow, name)?;
        }
    }
    if let Some(key) = change.message_key {
        accept::learn(batch, Log::Message, key, None)?;
    }
    batch.dirty = true;
    Ok(())
}

/// Who the customer of `submission`, whom it calls `known`, is now.
pub(super) fn current(
    batch: &Batch<'_, '_>,
    submission: SubmissionId,
    known: Customer,
) -> Result<Customer, StoreError> {
    if known.is_unknown() || batch.tables.renamed.is_empty()? {
        return Ok(known);
    }
    let row = batch.tables.submissions.get(submission.get())?;
    let row = row.and_then(|row| codec::decode::<StoredSubmission>(submission, row.value()).ok());
    row.map_or(Ok(known.clone()), |row| follow_in(&batch.tables.renamed, known, &row))
}

/// Who the customer of a submission, whom `row` or what came later for it calls `known`, is by the changes in `table`.
pub(super) fn follow_in(
    table: &impl ReadableTable<(&'static [u8; 16], u64), &'static [u8]>,
    known: Customer,
    row: &StoredSubmission,
) -> Result<Customer, StoreError> {
    follow(known, row.submission.sent_at.unwrap_or(row.received_at), |name, from| {
        let key = IdempotencyKey::of_former_name(name);
        let mut rows = table.range((key.as_bytes(), from.as_millis())..=(key.as_bytes(), u64::MAX))?;
        let Some((key, bytes)) = rows.next().transpose()? else { return Ok(None) };
        let at = Timestamp::from_millis(key.value().1);
        match codec::decode(at, bytes.value()) {
            Ok(customer) => Ok(Some((at, customer))),
            // The customer is known as before, and the form goes its way.
            Err(error) => {
                tracing::error!(error = %error, "a change of a customer's number can't be read: see `flowgate check`");
                Ok(None)
            }
        }
    })
}

/// Forgets changes that no submission is older than. Looks at a few, from a place that is another one in each round.
pub(super) fn forget(batch: &mut Batch<'_, '_>) -> Result<usize, StoreError> {
    if batch.tables.renamed.is_empty()? {
        return Ok(0);
    }
    let oldest = match batch.tables.submissions.first()? {
        // Which cannot be read is no reason to forget anything.
        Some((id, row)) => match codec::decode::<StoredSubmission>(id.value(), row.value()) {
            Ok(row) => row.received_at,
            Err(_) => return Ok(0),
        },
        None => batch.now.min(batch.counted()),
    };
    let before = oldest.minus(LATE).as_millis();
    let start = IdempotencyKey::of_former_name(&batch.expiry.to_string());
    let mut leaving = Vec::new();
    {
        let behind = batch.tables.renamed.range((start.as_bytes(), 0)..)?;
        let ahead = batch.tables.renamed.range(..(start.as_bytes(), 0))?;
        for row in behind.chain(ahead).take(FORGET_MOST) {
            let (key, _) = row?;
            if key.value().1 < before {
                leaving.push((*key.value().0, key.value().1));
            }
        }
    }
    for (key, at) in &leaving {
        batch.tables.renamed.remove((key, *at))?;
    }
    Ok(leaving.len())
}

/// The agent who had the customer last, by any of the names, is known by the new ones.
fn move_agent(batch: &mut Batch<'_, '_>, change: &CustomerChange, flow: &FlowName) -> Result<(), StoreError> {
    let key = |name: &str| IdempotencyKey::of_customer(flow, name);
    let mut had = Vec::new();
    for name in change.replaced() {
        had.extend(batch.tables.customers.remove(key(name).as_bytes())?.map(|row| row.value()));
    }
    if had.is_empty() {
        return Ok(());
    }
    let new = change.current();
    for name in [&new.id, &new.phone].into_iter().flatten() {
        had.extend(batch.tables.customers.get(key(name).as_bytes())?.map(|row| row.value()));
    }
    let Some((agent, lead, _)) = had.into_iter().max_by_key(|(_, lead, _)| *lead) else { return Ok(()) };
    leads::remember(batch, flow, new, AgentId::new(agent), LeadId::new(lead))
}

/// A form in the making that is known by the customer alone. One that has a token stays under it.
fn move_draft(
    batch: &mut Batch<'_, '_>,
    change: &CustomerChange,
    flow: &FlowName,
    name: &str,
) -> Result<(), StoreError> {
    let key = |name: &str| IdempotencyKey::of_draft_by(flow, name);
    let from = key(name);
    // One number written in two ways has one key.
    let Some(to) = change.current().name().map(key).filter(|to| *to != from) else { return Ok(()) };
    let Some(mut moved) = read_draft(batch, from)? else { return Ok(()) };
    let was_told = drafts::was_told(batch, from.as_bytes())?;
    let other = read_draft(batch, to)?;
    let is_left = was_told && other.is_none();
    if let Some(other) = other {
        let (older, newer) = if other.updated_at < moved.updated_at { (&other, &moved) } else { (&moved, &other) };
        let data = draft::merge(&older.data, &newer.data);
        moved = Draft { data, ..newer.clone() };
    }
    moved.customer = change.current().clone();
    let left_at = moved.updated_at;
    drafts::remove(batch, from.as_bytes())?;
    drafts::write(batch, to, moved)?;
    if is_left {
        batch.tables.abandoned.insert(to.as_bytes(), left_at.as_millis())?;
    }
    Ok(())
}

/// A draft, unless it can't be read: that one stays where it is.
fn read_draft(batch: &Batch<'_, '_>, key: IdempotencyKey) -> Result<Option<Draft>, StoreError> {
    match drafts::find(batch, key) {
        Err(error) if error.is_of_one_change() => {
            stays(&error);
            Ok(None)
        }
        found => found,
    }
}

/// Deliveries of the customer that go out in order wait behind each other under the new name, too.
fn move_turns(
    batch: &mut Batch<'_, '_>,
    change: &CustomerChange,
    flow: &FlowName,
    name: &str,
) -> Result<(), StoreError> {
    let key = |name: &str| IdempotencyKey::of_customer(flow, name);
    let Some(to) = change.current().name().map(key) else { return Ok(()) };
    let routes = std::sync::Arc::clone(&batch.routes);
    for destination in &routes.ordered {
        move_queue(batch, destination, key(name).as_bytes(), to.as_bytes())?;
    }
    Ok(())
}

fn move_queue(
    batch: &mut Batch<'_, '_>,
    destination: &DestinationName,
    from: &[u8; 16],
    to: &[u8; 16],
) -> Result<(), StoreError> {
    let name = destination.as_str();
    let Some(turn) = batch.tables.turns.get((name, from))?.map(|turn| turn.value()) else { return Ok(()) };
    let rows = batch.tables.queues.range((name, from, 0)..=(name, from, u64::MAX))?.take(QUEUE_MAX + 1);
    let waiting = rows.map(|row| Ok(row?.0.value().2)).collect::<Result<Vec<_>, StoreError>>()?;
    if waiting.len() > QUEUE_MAX {
        return Ok(());
    }
    // One whose turn it is keeps it: where both names have one, the old one ends under its own.
    let has_turn = batch.tables.turns.get((name, to))?.is_some();
    let moving: Vec<u64> = waiting.iter().copied().chain((!has_turn).then_some(turn)).collect();
    let mut rows: Vec<(JobId, Delivery)> = Vec::new();
    for id in moving.into_iter().map(JobId::new) {
        match deliveries::delivery(batch, id) {
            Ok(delivery) => rows.push((id, Delivery { queue: Some(*to), ..delivery })),
            Err(error) if error.is_of_one_change() => {
                stays(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    for (id, delivery) in rows {
        batch.tables.deliveries.insert(id.get(), codec::encode(&delivery)?.as_slice())?;
    }
    for id in waiting {
        batch.tables.queues.remove((name, from, id))?;
        batch.tables.queues.insert((name, to, id), ())?;
    }
    if !has_turn {
        batch.tables.turns.remove((name, from))?;
        batch.tables.turns.insert((name, to), turn)?;
    }
    Ok(())
}

fn stays(error: &StoreError) {
    tracing::error!(error = %error, "a row of a customer whose number changed can't be read: it stays under the old one");
}
