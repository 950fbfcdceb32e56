//! What arrives later for a submission that is there already: the message that follows a form which ended at its flow's path,
//! a copy with other answers. Kept beside the submission, which stays as it was taken.
//!
//! That it is the same form is decided in [`super::known`].

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{Customer, MessageId, SubmissionId};
use crate::domain::submission::{Channel, IdempotencyKey, Submission};
use crate::domain::time::Timestamp;

use super::accept::{self, Accepted, StoredSubmission};
use super::batch::Batch;
use super::keys::Log;
use super::known::Beside;
use super::{StoreError, announce, codec, customers, leads, receipts};

/// Maximum of later arrivals kept for one customer of a submission: a sender gone wild must not fill the disk. The first
/// message that follows a form is kept whatever came before it.
pub(super) const JOINS_MAX: usize = 16;

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

impl Join {
    /// The answers of a customer whom nothing has named so far; `None` if this is no such copy.
    pub(super) fn unclaimed(&self) -> Option<&str> {
        self.differing.as_deref().filter(|_| self.customer.is_unknown() && self.message_id.is_none())
    }

    /// Returns `true` if the arrival names the customer of the submission, or is a message.
    fn claims(&self) -> bool {
        self.channel.is_message() || !self.customer.is_unknown()
    }
}

/// A decision on a later arrival, before anything is written.
pub(super) struct Joining {
    id: SubmissionId,
    message_key: Option<IdempotencyKey>,
    /// `None`: the arrival brings nothing that is kept.
    kept: Option<Kept>,
}

/// A later arrival that is kept.
struct Kept {
    number: u64,
    join: Join,
    /// The submission, where this arrival is the first that names its customer.
    names: Option<StoredSubmission>,
}

/// Decides what of a later arrival is kept beside the submission `id`. Reads only.
pub(super) fn decide(
    batch: &Batch<'_, '_>,
    id: SubmissionId,
    later: &Submission,
    message_key: Option<IdempotencyKey>,
) -> Result<Joining, StoreError> {
    // Retention may be shorter than the memory of keys.
    let kept = match find(batch, id)? {
        Some(first) => keep(batch, id, first, later, message_key)?,
        None => None,
    };
    Ok(Joining { id, message_key, kept })
}

/// Writes a later arrival.
pub(super) fn write(batch: &mut Batch<'_, '_>, joining: Joining) -> Result<Accepted, StoreError> {
    let Joining { id, message_key, kept } = joining;
    if let Some(Kept { number, join, names }) = kept {
        batch.tables.joins.insert((id.get(), number), codec::encode(&join)?.as_slice())?;
        batch.dirty = true;
        if let Some(first) = names {
            name_customer(batch, id, &first, &join.customer)?;
        }
    }
    if let Some(key) = message_key {
        accept::learn(batch, Log::Message, key, Some(id))?;
    }
    Ok(Accepted::Duplicate { of: Some(id) })
}

/// Answers that a customer gave at the flow's own path, where nothing named them, under a key that another customer used too.
#[derive(Debug)]
pub(super) struct Unclaimed {
    /// The fields: JSON text.
    pub(super) data: Box<str>,
    /// Key of the row that holds them beside the other customer's submission.
    pub(super) copy: Option<(u64, u64)>,
    /// Why they may be incomplete, or somebody else's.
    pub(super) doubt: Option<&'static str>,
}

const AMBIGUOUS: &str = "several customers answered under this flow_token: these answers may be another customer's";
const MISSING: &str = "another customer submitted this flow_token before: the answers of this one were not kept";

/// The answers that belong to `later`, a message which brings only what the last answer put in. `has_drafts`: its flow has
/// several screens.
pub(super) fn unclaimed(
    batch: &Batch<'_, '_>,
    beside: &Beside,
    later: &Submission,
    has_drafts: bool,
) -> Result<Option<Unclaimed>, StoreError> {
    let first = &beside.first.submission;
    if !later.channel.is_message() || first.channel.is_message() || !first.customer.is_unknown() {
        return Ok(None);
    }
    if beside.same_answers {
        return Ok(Some(Unclaimed { data: first.data.clone(), copy: None, doubt: None }));
    }
    let rows = rows(batch, beside.id)?;
    // Before the first claim nothing told whether the first form or a copy was the claiming customer's.
    let claimed = rows.iter().find(|(_, join)| join.claims()).map(|(number, _)| *number);
    let copies = rows.iter().filter_map(|(number, join)| Some((*number, join.unclaimed()?)));
    let copies: Vec<(u64, &str)> = copies.collect();
    if let Some(&(number, data)) = copies.iter().find(|(_, data)| fit(data, &later.data)) {
        let is_ambiguous = copies.len() > 1 || claimed.is_some_and(|claimed| number < claimed);
        let doubt = is_ambiguous.then_some(AMBIGUOUS);
        return Ok(Some(Unclaimed { data: data.into(), copy: Some((beside.id.get(), number)), doubt }));
    }
    // A copy that equals the first form leaves no row. On a flow of several screens every copy has one: its last screen alone is
    // less than the first form, so without a row this customer was not asked for more than the first screen.
    let (data, doubt) = if has_drafts {
        ("{}".into(), Some(MISSING))
    } else {
        (first.data.clone(), (!copies.is_empty()).then_some(AMBIGUOUS))
    };
    Ok(Some(Unclaimed { data, copy: None, doubt }))
}

/// What arrived later for `id`, in order.
pub(super) fn of(batch: &Batch<'_, '_>, id: SubmissionId) -> Result<Vec<Join>, StoreError> {
    Ok(rows(batch, id)?.into_iter().map(|(_, join)| join).collect())
}

fn rows(batch: &Batch<'_, '_>, id: SubmissionId) -> Result<Vec<(u64, Join)>, StoreError> {
    let rows = batch.tables.joins.range((id.get(), 0)..=(id.get(), u64::MAX))?;
    rows.map(|row| {
        let (key, bytes) = row?;
        Ok((key.value().1, codec::decode(key.value(), bytes.value())?))
    })
    .collect()
}

/// Who filled in a form: as it said itself or, where it did not, as the first later arrival says that does; by the names that
/// this customer has now.
pub(super) fn customer(batch: &Batch<'_, '_>, id: SubmissionId, first: &Customer) -> Result<Customer, StoreError> {
    if !first.is_unknown() {
        return customers::current(batch, id, first.clone());
    }
    let told = of(batch, id)?.into_iter().map(|join| join.customer).find(|customer| !customer.is_unknown());
    customers::current(batch, id, told.unwrap_or_default())
}

/// Returns what is kept of a later arrival; `None` if it brings nothing new, or more copies came than are kept.
fn keep(
    batch: &Batch<'_, '_>,
    id: SubmissionId,
    first: StoredSubmission,
    later: &Submission,
    message_key: Option<IdempotencyKey>,
) -> Result<Option<Kept>, StoreError> {
    let differs = !same_json(&first.submission.data, &later.data);
    if !differs && message_key.is_none() {
        return Ok(None);
    }
    let before = rows(batch, id)?;
    let number = before.last().map_or(0, |(number, _)| *number).saturating_add(1);
    let before: Vec<Join> = before.into_iter().map(|(_, join)| join).collect();
    let join = Join {
        at: batch.now,
        channel: later.channel,
        message_id: later.message_id.clone(),
        customer: later.customer.clone(),
        differing: differs.then(|| later.data.clone()),
    };
    if before.iter().any(|known| known.differing == join.differing && known.message_id == join.message_id) {
        return Ok(None);
    }
    let is_first_message = join.message_id.is_some() && before.iter().all(|known| known.message_id.is_none());
    // All of them are of one customer, but for those that do not say whose they are.
    let of_same = before.iter().filter(|known| known.customer.is_unknown() == join.customer.is_unknown());
    if of_same.count() >= JOINS_MAX && !is_first_message {
        tracing::warn!(
            submission.id = id.get(),
            maximum = JOINS_MAX,
            "more copies of a submission than are kept: this one is acknowledged, and not kept beside it"
        );
        return Ok(None);
    }
    let is_known = |customer: &Customer| !customer.is_unknown();
    let was_known = is_known(&first.submission.customer) || before.iter().any(|join| is_known(&join.customer));
    let names = (!was_known && is_known(&join.customer)).then_some(first);
    Ok(Some(Kept { number, join, names }))
}

/// Lets the lead, the texts that wait and the outside know who filled in the submission `id`.
///
/// The arrival is kept also where a row of these can't be read. Without this, the damaged lead of a submission would refuse the
/// message that follows it. None of the three meets a damaged row halfway through a change.
fn name_customer(
    batch: &mut Batch<'_, '_>,
    id: SubmissionId,
    first: &StoredSubmission,
    customer: &Customer,
) -> Result<(), StoreError> {
    let named = leads::name_customer(batch, id, &first.submission.flow, customer);
    unless_damaged(id, named)?;
    let released = receipts::release(batch, id);
    unless_damaged(id, released)?;
    let told = announce::updated(batch, id, first);
    unless_damaged(id, told)
}

fn unless_damaged(id: SubmissionId, done: Result<(), StoreError>) -> Result<(), StoreError> {
    match done {
        Err(error) if error.is_of_one_change() => {
            tracing::error!(%error, submission.id = id.get(), "a damaged row of a submission misses the name of its customer");
            Ok(())
        }
        done => done,
    }
}

/// The submission `id`; `None` if retention has taken it away.
pub(super) fn find(batch: &Batch<'_, '_>, id: SubmissionId) -> Result<Option<StoredSubmission>, StoreError> {
    batch.tables.submissions.get(id.get())?.map(|row| codec::decode(id, row.value())).transpose()
}

/// Whether two texts are the same JSON value, whatever the order of the fields.
fn same_json(one: &str, other: &str) -> bool {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || value(one).is_some_and(|one| Some(one) == value(other))
}

/// Whether the fields that both texts have are equal.
pub(super) fn fit(one: &str, other: &str) -> bool {
    let object = |text| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).unwrap_or_default();
    let (one, other) = (object(one), object(other));
    one.iter().all(|(name, value)| other.get(name).is_none_or(|other| other == value))
}
