//! Stores drafts: the fields of each screen of a form that is not completed. For each field, the
//! last value wins.
//!
//! The submission that completes a form removes its draft. See [`super::accept`]. See
//! [`crate::domain::submission::draft`] for the merge of fields and for the time after which a
//! draft is abandoned. See [`super::retention`] for the time of that check.

use crate::domain::ids::{Customer, CustomerMatch};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::{self, Draft};

use super::retention_queue::{self, RetentionQueue};
use super::{duplicates, events, response_cache};
use crate::store::StoreResult;
use crate::store::engine::{Hash, Rows};
use crate::store::rows::drafts::StoredDraft;
use crate::store::writer::dedup_index::DedupWindow;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Maximum size of one draft in bytes. Without this limit, a faulty client could fill the disk.
const DRAFT_BYTES_MAX: usize = 1 << 20;

/// Outcome of [`SaveDraft`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftOutcome {
    /// The fields are stored.
    Saved,
    /// The form was submitted before, so the fields are not stored.
    AlreadySubmitted,
    /// The fields are not stored: several customers use the flow token, and the screen does not
    /// name its customer.
    TokenShared,
    /// Nothing was stored: the encrypted request already has a response. The same response is sent
    /// again.
    Replayed,
    /// The draft would exceed the maximum size. The stored draft stays unchanged.
    TooLarge,
}

/// Saves the fields of a screen that is not the last, or the agent that a screen shows.
#[derive(Debug)]
pub struct SaveDraft {
    /// Key of the form. See [`IdempotencyKey::for_draft`].
    pub key: IdempotencyKey,
    /// Fields and their origin. The transaction sets the time of the draft.
    pub draft: Draft,
    /// Key of the encrypted request that contained the fields. `None` if the request was not
    /// encrypted.
    pub encrypted_request_key: Option<IdempotencyKey>,
    /// Same as [`crate::domain::submission::inbound::InboundSubmission::reject_resubmission`]:
    /// decides the dedup window of the form.
    pub reject_resubmission: bool,
}

/// Records the current screen of a draft after the customer opened the form again or went back.
#[derive(Debug)]
pub struct RecordScreen {
    /// Key of the form.
    pub key: IdempotencyKey,
    /// Screen name.
    pub screen: Box<str>,
    /// Key of the encrypted request for the screen.
    pub encrypted_request_key: IdempotencyKey,
}

/// Returns the draft with this key.
pub fn find_draft(ctx: &WriteContext<'_>, key: IdempotencyKey) -> StoreResult<Option<Draft>> {
    let stored = ctx.tables.drafts.get(key.as_bytes())?;
    Ok(stored.map(|stored| stored.draft))
}

/// Writes a draft whose customer has just sent or opened a screen.
pub fn put_draft(ctx: &mut WriteContext<'_>, key: IdempotencyKey, draft: Draft) -> StoreResult<()> {
    let row = StoredDraft {
        stamp: ctx.expiry_now,
        draft,
    };
    let is_new = ctx.tables.drafts.put(key.as_bytes(), &row)?;
    let was_abandoned = ctx.tables.abandoned_drafts.remove(key.as_bytes())?;
    let row = retention_queue::row_of_key(key.as_bytes());
    // An existing entry moves to the time of the row when retention reads the entry.
    if is_new {
        retention_queue::enqueue_row(ctx, RetentionQueue::Drafts, row)?;
    }
    if is_new || was_abandoned {
        retention_queue::enqueue_row(ctx, RetentionQueue::AbandonedDrafts, row)?;
    }
    Ok(())
}

/// Removes a draft and its mark of abandonment.
pub fn remove_draft(ctx: &mut WriteContext<'_>, key: &Hash) -> StoreResult<()> {
    ctx.tables.drafts.remove(key)?;
    ctx.tables.abandoned_drafts.remove(key)?;
    Ok(())
}

/// Returns the draft of `customer` with this key, and the key of the draft. Never returns the draft
/// of another customer. A draft without a customer is returned only if the key is not shared by
/// several customers.
pub fn find_customer_draft(
    ctx: &WriteContext<'_>,
    key: IdempotencyKey,
    customer: &Customer,
    is_shared: bool,
) -> StoreResult<Option<(IdempotencyKey, Draft)>> {
    find_customer_draft_with(key, customer, is_shared, |key| find_draft(ctx, key))
}

/// Returns the draft of `customer` as [`find_customer_draft`] does, with any look-up function.
pub fn find_customer_draft_with(
    key: IdempotencyKey,
    customer: &Customer,
    is_shared: bool,
    lookup: impl Fn(IdempotencyKey) -> StoreResult<Option<Draft>>,
) -> StoreResult<Option<(IdempotencyKey, Draft)>> {
    for customer_key in key.for_customer_names(customer) {
        if let Some(draft) = lookup(customer_key)? {
            return Ok(Some((customer_key, draft)));
        }
    }
    let found = match lookup(key) {
        // Many customers use this token. Without this, the damaged draft of one customer would
        // refuse the forms of all others.
        Err(error) if error.affects_one_row() && is_shared && !customer.is_unknown() => None,
        found => found?,
    };
    let found = found.filter(|draft| match draft.customer.compare(customer) {
        CustomerMatch::Same => true,
        CustomerMatch::Different => false,
        CustomerMatch::Unknown => !is_shared,
    });
    Ok(found.map(|draft| (key, draft)))
}

/// Removes the draft under a shared key, unless the draft names its customer. Also removes an
/// unreadable draft.
pub fn remove_unnamed_draft(ctx: &mut WriteContext<'_>, key: IdempotencyKey) -> StoreResult<()> {
    match find_draft(ctx, key) {
        Ok(Some(draft)) if draft.customer.is_unknown() => remove_draft(ctx, key.as_bytes()),
        // Without this, one damaged draft would refuse the forms of all customers of the token.
        Err(error) if error.affects_one_row() => {
            tracing::error!(%error, "unreadable draft of a shared flow token removed");
            remove_draft(ctx, key.as_bytes())
        }
        found => found.map(|_| ()),
    }
}

/// Returns `true` if the draft is marked as abandoned. A new screen of its customer removes the
/// mark.
pub fn is_marked_abandoned(ctx: &WriteContext<'_>, key: &Hash) -> StoreResult<bool> {
    ctx.tables.abandoned_drafts.contains(key)
}

/// Marks a draft as abandoned and emits the event. The mark is also set if no destination
/// subscribes to the event. So a destination that subscribes later does not get earlier events.
pub fn mark_abandoned(ctx: &mut WriteContext<'_>, key: &Hash, draft: &Draft) -> StoreResult<()> {
    ctx.tables.abandoned_drafts.put(key, &draft.updated_at)?;
    events::emit_draft_abandoned(ctx, draft)
}

impl Transaction for RecordScreen {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        if response_cache::is_replayed_request(ctx, Some(self.encrypted_request_key))? {
            return Ok(());
        }
        let Some(mut draft) = find_draft(ctx, self.key)? else {
            return Ok(());
        };
        draft.screen = self.screen.clone();
        draft.updated_at = ctx.now;
        put_draft(ctx, self.key, draft)
    }
}

impl Transaction for SaveDraft {
    type Outcome = DraftOutcome;

    fn bytes(&self) -> usize {
        self.draft.data.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<DraftOutcome> {
        if response_cache::is_replayed_request(ctx, self.encrypted_request_key)? {
            return Ok(DraftOutcome::Replayed);
        }
        let customer = &self.draft.customer;
        let is_shared = duplicates::is_shared_key(ctx, self.key)?;
        if is_shared && customer.is_unknown() {
            return Ok(DraftOutcome::TokenShared);
        }
        let window = DedupWindow::for_submission(self.reject_resubmission);
        if duplicates::find_submission_key(ctx, window, &[self.key], customer)?.is_some() {
            return Ok(DraftOutcome::AlreadySubmitted);
        }
        let mut draft = self.draft.clone();
        draft.updated_at = ctx.now;
        let earlier = find_customer_draft(ctx, self.key, customer, is_shared)?;
        let key = match &earlier {
            Some((key, _)) => *key,
            // Another customer's draft has the key itself.
            None if is_shared || find_draft(ctx, self.key)?.is_some() => {
                let mut keys = self.key.for_customer_names(customer);
                keys.next().unwrap_or(self.key)
            }
            None => self.key,
        };
        if let Some((_, earlier)) = earlier {
            draft.data = draft::merge_answers(&earlier.data, &draft.data);
            // A request that opens a form or goes back does not name the customer.
            if draft.customer.name().is_none() {
                draft.customer = earlier.customer;
            }
        }
        if draft.data.len() > DRAFT_BYTES_MAX {
            return Ok(DraftOutcome::TooLarge);
        }
        put_draft(ctx, key, draft)?;
        Ok(DraftOutcome::Saved)
    }
}
