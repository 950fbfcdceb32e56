//! What arrives later for a submission that is there already: the message that follows a form which ended at its flow's path,
//! a copy with other answers. Kept beside the submission, which stays as it was taken.
//!
//! That it is the same form is decided in [`super::accept`].

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{Customer, MessageId, SubmissionId};
use crate::domain::submission::{Channel, IdempotencyKey, Submission};
use crate::domain::time::Timestamp;

use super::accept::{self, Accepted, StoredSubmission};
use super::batch::Batch;
use super::keys::{Hit, Log};
use super::{StoreError, announce, codec, leads, receipts};

/// Later arrivals kept for one submission at the most: a sender gone wild must not fill the disk. The first message that
/// follows a form is kept whatever came before it.
const JOINS_MAX: usize = 16;

/// What arrived later for a submission that was there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// When.
    pub at: Timestamp,
    /// Through which door.
    pub channel: Channel,
    /// The message that carried it.
    pub message_id: Option<MessageId>,
    /// Who sent it.
    pub customer: Customer,
    /// Its fields, where they are others than those that were taken: JSON text.
    pub differing: Option<Box<str>>,
}

/// Notes what a later arrival brings that the first one did not.
pub(super) fn join(
    batch: &mut Batch<'_, '_>,
    hit: Hit,
    later: &Submission,
    message_key: Option<IdempotencyKey>,
) -> Result<Accepted, StoreError> {
    let Hit::Submission(id) = hit else { return Ok(accept::duplicate(hit)) };
    // Retention may be shorter than the memory of keys.
    if let Some(first) = find(batch, id)? {
        let differs = !same_json(&first.submission.data, &later.data);
        if differs || message_key.is_some() {
            note(batch, id, &first, later, differs)?;
        }
    }
    if let Some(key) = message_key {
        accept::learn(batch, Log::Message, key, Some(id))?;
    }
    Ok(Accepted::Duplicate { of: Some(id) })
}

/// Whether a form of this `customer` ended at its flow's path and the message that follows has not come. Of one that retention
/// took meanwhile nobody knows: what comes then is taken as a form of its own, since joined to nothing it would be lost.
pub(super) fn waits_for_message(
    batch: &Batch<'_, '_>,
    id: SubmissionId,
    customer: &Customer,
) -> Result<bool, StoreError> {
    let Some(first) = find(batch, id)? else { return Ok(false) };
    let has_come = || Ok::<_, StoreError>(of(batch, id)?.iter().any(|join| join.message_id.is_some()));
    let may_be_theirs = !first.submission.customer.differs_from(customer);
    let has_one = matches!(first.submission.channel, Channel::Webhook | Channel::Gateway);
    Ok(!has_one && may_be_theirs && !has_come()?)
}

/// What arrived later for `id`, in order.
pub(super) fn of(batch: &Batch<'_, '_>, id: SubmissionId) -> Result<Vec<Join>, StoreError> {
    let rows = batch.tables.joins.range((id.get(), 0)..=(id.get(), u64::MAX))?;
    rows.map(|row| {
        let (key, bytes) = row?;
        codec::decode(key.value(), bytes.value())
    })
    .collect()
}

/// Who filled in a form: as it said itself or, where it did not, as the first later arrival says that does.
pub(super) fn customer(batch: &Batch<'_, '_>, id: SubmissionId, first: &Customer) -> Result<Customer, StoreError> {
    if !first.is_unknown() {
        return Ok(first.clone());
    }
    let told = of(batch, id)?.into_iter().map(|join| join.customer).find(|customer| !customer.is_unknown());
    Ok(told.unwrap_or_default())
}

fn note(
    batch: &mut Batch<'_, '_>,
    id: SubmissionId,
    first: &StoredSubmission,
    later: &Submission,
    differs: bool,
) -> Result<(), StoreError> {
    let before = of(batch, id)?;
    let join = Join {
        at: batch.now,
        channel: later.channel,
        message_id: later.message_id.clone(),
        customer: later.customer.clone(),
        differing: differs.then(|| later.data.clone()),
    };
    if before.iter().any(|known| known.differing == join.differing && known.message_id == join.message_id) {
        return Ok(());
    }
    let is_first_message = join.message_id.is_some() && before.iter().all(|known| known.message_id.is_none());
    if before.len() >= JOINS_MAX && !is_first_message {
        tracing::debug!(submission.id = id.get(), "more differing copies than are kept for one submission");
        return Ok(());
    }
    let mut known = before.iter().map(|join| &join.customer).chain([&first.submission.customer]);
    let was_known = known.any(|customer| !customer.is_unknown());
    let number = u64::try_from(before.len()).unwrap_or(u64::MAX).saturating_add(1);
    batch.tables.joins.insert((id.get(), number), codec::encode(&join)?.as_slice())?;
    batch.dirty = true;
    if !was_known && !join.customer.is_unknown() {
        leads::name_customer(batch, id, &first.submission.flow, &join.customer)?;
        receipts::release(batch, id)?;
        announce::updated(batch, id, first)?;
    }
    Ok(())
}

fn find(batch: &Batch<'_, '_>, id: SubmissionId) -> Result<Option<StoredSubmission>, StoreError> {
    batch.tables.submissions.get(id.get())?.map(|row| codec::decode(id, row.value())).transpose()
}

/// Whether two texts are the same JSON value, whatever the order of the fields.
fn same_json(one: &str, other: &str) -> bool {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || value(one).is_some_and(|one| Some(one) == value(other))
}
