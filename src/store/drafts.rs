//! Forms in the making: each screen's fields kept as they come, the last one wins.
//!
//! The submission that ends a form takes its draft along: see [`super::accept`]. How two sets of fields become one, and
//! after how long a draft is one that its user has left, is decided in `crate::domain::draft`; when to look,
//! [`super::sweep`]'s.

use redb::ReadableTable;

use crate::domain::draft::{self, Draft};
use crate::domain::submission::IdempotencyKey;

use super::batch::{Batch, Transaction};
use super::keys::Span;
use super::{StoreError, accept, announce, answers, codec};

/// Bytes of one draft at the most: a sender gone wild must not fill the disk.
const DRAFT_BYTES_MAX: usize = 1 << 20;

/// What became of a screen's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftKept {
    /// They are kept.
    Kept,
    /// The form was submitted already: there is nothing to add to.
    AlreadySubmitted,
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

/// Takes a draft away, and what was noted of it.
pub(super) fn remove(batch: &mut Batch<'_, '_>, key: &[u8; 16]) -> Result<(), StoreError> {
    batch.tables.drafts.remove(key)?;
    batch.tables.abandoned.remove(key)?;
    Ok(())
}

/// Whether it is told already that the user of `draft` has left it, and they have not gone on since.
pub(super) fn was_told(batch: &Batch<'_, '_>, key: &[u8; 16], draft: &Draft) -> Result<bool, StoreError> {
    let told = batch.tables.abandoned.get(key)?.map(|at| at.value());
    Ok(told == Some(draft.updated_at.as_millis()))
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
        let Some(row) = batch.tables.drafts.get(self.key.as_bytes())? else { return Ok(()) };
        let draft: Draft = codec::decode(self.key, row.value())?;
        drop(row);
        let draft = Draft { screen: self.screen.clone(), updated_at: batch.now, ..draft };
        batch.tables.drafts.insert(self.key.as_bytes(), codec::encode(&draft)?.as_slice())?;
        batch.dirty = true;
        Ok(())
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
        let span = if self.for_good { Span::Message } else { Span::Form };
        if accept::find(batch, span, &[self.key])?.is_some() {
            return Ok(DraftKept::AlreadySubmitted);
        }
        let mut draft = self.draft.clone();
        draft.updated_at = batch.now;
        if let Some(row) = batch.tables.drafts.get(self.key.as_bytes())? {
            let earlier: Draft = codec::decode(self.key, row.value())?;
            draft.data = draft::merge(&earlier.data, &draft.data);
            // Whoever opens a form or goes back does not say who they are.
            if draft.customer.name().is_none() {
                draft.customer = earlier.customer;
            }
        }
        if draft.data.len() > DRAFT_BYTES_MAX {
            return Ok(DraftKept::TooLarge);
        }
        batch.tables.drafts.insert(self.key.as_bytes(), codec::encode(&draft)?.as_slice())?;
        batch.dirty = true;
        Ok(DraftKept::Kept)
    }
}
