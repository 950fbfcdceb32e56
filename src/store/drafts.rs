//! Forms in the making: each screen's fields kept as they come, the last one wins.
//!
//! The submission that ends a form takes its draft along: see [`super::accept`]. How two sets of fields become one, and
//! after how long a draft is one that its user has left, is decided in `crate::domain::draft`; when to look,
//! [`super::sweep`]'s.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::domain::draft::{self, Draft};
use crate::domain::ids::{Customer, Likeness};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Timestamp;

use super::batch::{Batch, Transaction};
use super::codec::{self, Row};
use super::keys::Span;
use super::retention::{self, Queue};
use super::{StoreError, announce, answers, known};

/// Bytes of one draft at the most: a sender gone wild must not fill the disk.
const DRAFT_BYTES_MAX: usize = 1 << 20;

/// What became of a screen's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftKept {
    /// They are kept.
    Kept,
    /// The form was submitted already: there is nothing to add to.
    AlreadySubmitted,
    /// They are not: several customers use the token, and the screen does not name its own.
    TokenShared,
    /// Nothing was done: the encrypted request that brought it was answered before, and gets that answer again.
    Replayed,
    /// All screens together would be larger than is kept. What was there stays.
    TooLarge,
}

/// Keeps the fields of a screen that is not the last, or the agent whom one shows.
#[derive(Debug)]
pub struct KeepDraft {
    /// Whose form it is: see [`IdempotencyKey::of_draft`].
    pub key: IdempotencyKey,
    /// The fields, and where they came from. Its time is set to the writer's.
    pub draft: Draft,
    /// The encrypted request that brought them.
    pub request: Option<IdempotencyKey>,
    /// As [`crate::domain::arrival::Form::for_good`].
    pub for_good: bool,
}

/// Notes which screen the user of a form in the making is on: it was opened again, or they went back.
#[derive(Debug)]
pub struct NoteScreen {
    /// Whose form it is.
    pub key: IdempotencyKey,
    /// The screen.
    pub screen: Box<str>,
    /// The encrypted request that asked for it.
    pub request: IdempotencyKey,
}

/// A row of `drafts`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredDraft {
    /// The elapsed clock when the last screen came.
    pub(super) stamp: Timestamp,
    pub(super) draft: Draft,
}

impl Row for StoredDraft {
    const TABLE: &'static str = "drafts";
}

/// The draft under `key`.
pub(super) fn find(batch: &Batch<'_, '_>, key: IdempotencyKey) -> Result<Option<Draft>, StoreError> {
    Ok(stored(batch, key.as_bytes(), &mut 0)?.map(|stored| stored.draft))
}

/// The row under `key`; its size is added to `bytes`.
pub(super) fn stored(
    batch: &Batch<'_, '_>,
    key: &[u8; 16],
    bytes: &mut usize,
) -> Result<Option<StoredDraft>, StoreError> {
    let Some(row) = batch.tables.drafts.get(key)? else { return Ok(None) };
    *bytes = bytes.saturating_add(row.value().len());
    codec::decode(IdempotencyKey::from_bytes(*key), row.value()).map(Some)
}

/// Writes a draft whose user has just sent or opened a screen.
pub(super) fn write(batch: &mut Batch<'_, '_>, key: IdempotencyKey, draft: Draft) -> Result<(), StoreError> {
    let row = codec::encode(&StoredDraft { stamp: batch.expiry, draft })?;
    let is_new = batch.tables.drafts.insert(key.as_bytes(), row.as_slice())?.is_none();
    let was_left = batch.tables.abandoned.remove(key.as_bytes())?.is_some();
    batch.dirty = true;
    // An entry that is there moves on to the row's own time once it is read.
    if is_new {
        retention::enqueue(batch, Queue::Drafts, retention::of_key(key.as_bytes()))?;
    }
    if is_new || was_left {
        retention::enqueue(batch, Queue::LeftDrafts, retention::of_key(key.as_bytes()))?;
    }
    Ok(())
}

/// Takes a draft away, and what was noted of it.
pub(super) fn remove(batch: &mut Batch<'_, '_>, key: &[u8; 16]) -> Result<(), StoreError> {
    batch.tables.drafts.remove(key)?;
    batch.tables.abandoned.remove(key)?;
    Ok(())
}

/// The draft of `customer` under `key`, and the key that it is under. Another customer's is never given. `is_shared`: several
/// customers use the key, so an unnamed one is nobody's.
pub(super) fn of(
    batch: &Batch<'_, '_>,
    key: IdempotencyKey,
    customer: &Customer,
    is_shared: bool,
) -> Result<Option<(IdempotencyKey, Draft)>, StoreError> {
    own(key, customer, is_shared, |key| find(batch, key))
}

/// As [`of`], by any look-up of drafts.
pub(super) fn own(
    key: IdempotencyKey,
    customer: &Customer,
    is_shared: bool,
    find: impl Fn(IdempotencyKey) -> Result<Option<Draft>, StoreError>,
) -> Result<Option<(IdempotencyKey, Draft)>, StoreError> {
    for own in key.of_customer_names(customer) {
        if let Some(draft) = find(own)? {
            return Ok(Some((own, draft)));
        }
    }
    let found = match find(key) {
        // Many customers use this token: the damaged draft of one of them must not refuse the forms of all others.
        Err(error) if error.is_of_one_change() && is_shared && !customer.is_unknown() => None,
        found => found?,
    };
    let found = found.filter(|draft| match draft.customer.compare(customer) {
        Likeness::Same => true,
        Likeness::Different => false,
        Likeness::Unknown => !is_shared,
    });
    Ok(found.map(|draft| (key, draft)))
}

/// Removes the draft under a key that several customers use, unless it names its own customer. Also removes one that can't be
/// read.
pub(super) fn remove_unnamed(batch: &mut Batch<'_, '_>, key: IdempotencyKey) -> Result<(), StoreError> {
    match find(batch, key) {
        Ok(Some(draft)) if draft.customer.is_unknown() => remove(batch, key.as_bytes()),
        // Without this, one damaged draft would refuse the forms of all customers of the token.
        Err(error) if error.is_of_one_change() => {
            tracing::error!(%error, "a damaged draft under a token of several customers is removed");
            remove(batch, key.as_bytes())
        }
        found => found.map(|_| ()),
    }
}

/// Whether it is told already that the user of a draft has left it, and they have not gone on since.
pub(super) fn was_told(batch: &Batch<'_, '_>, key: &[u8; 16]) -> Result<bool, StoreError> {
    Ok(batch.tables.abandoned.get(key)?.is_some())
}

/// Tells that the user of `draft` has left it. Also where nobody is to be told that is noted: what a destination is not
/// there for is not made up for later.
pub(super) fn tell(batch: &mut Batch<'_, '_>, key: &[u8; 16], draft: &Draft) -> Result<(), StoreError> {
    batch.tables.abandoned.insert(key, draft.updated_at.as_millis())?;
    batch.dirty = true;
    announce::abandoned(batch, draft)
}

impl Transaction for NoteScreen {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        if answers::is_answered(batch, Some(self.request))? {
            return Ok(());
        }
        let Some(draft) = find(batch, self.key)? else { return Ok(()) };
        let draft = Draft { screen: self.screen.clone(), updated_at: batch.now, ..draft };
        write(batch, self.key, draft)
    }
}

impl Transaction for KeepDraft {
    type Outcome = DraftKept;

    fn bytes(&self) -> usize {
        self.draft.data.len()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<DraftKept, StoreError> {
        if answers::is_answered(batch, self.request)? {
            return Ok(DraftKept::Replayed);
        }
        let customer = &self.draft.customer;
        let is_shared = known::is_shared(batch, self.key)?;
        if is_shared && customer.is_unknown() {
            return Ok(DraftKept::TokenShared);
        }
        if known::key_of(batch, Span::of_form(self.for_good), &[self.key], customer)?.is_some() {
            return Ok(DraftKept::AlreadySubmitted);
        }
        let mut draft = self.draft.clone();
        draft.updated_at = batch.now;
        let earlier = of(batch, self.key, customer, is_shared)?;
        let key = match &earlier {
            Some((key, _)) => *key,
            // The key itself is another customer's.
            None if is_shared || find(batch, self.key)?.is_some() => {
                self.key.of_customer_names(customer).next().unwrap_or(self.key)
            }
            None => self.key,
        };
        if let Some((_, earlier)) = earlier {
            draft.data = draft::merge(&earlier.data, &draft.data);
            // Whoever opens a form or goes back does not say who they are.
            if draft.customer.name().is_none() {
                draft.customer = earlier.customer;
            }
        }
        if draft.data.len() > DRAFT_BYTES_MAX {
            return Ok(DraftKept::TooLarge);
        }
        write(batch, key, draft)?;
        Ok(DraftKept::Kept)
    }
}
