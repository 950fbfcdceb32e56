//! Finds forms that were submitted before: the key of a known form, and its completion.
//!
//! Only a custom completion is stored. The row number is that of the form's key in `token_log`, and
//! the row lives as long as the key identifies the form. So a repeated press of the button that
//! finds the form also finds its completion. See [`crate::store::writer::dedup`] for the lifetime
//! of a key.

use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;

use super::duplicates;
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::responses::Completion;
use crate::store::writer::dedup_index::DedupWindow;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Finds the key under which the form of a customer is stored, among several keys and the keys
/// derived from them.
#[derive(Debug)]
pub struct FindSubmissionKey {
    /// Keys of forms, in the order of the look-up.
    pub keys: Vec<IdempotencyKey>,
    /// Customer of the form.
    pub customer: Customer,
    /// Same as [`crate::domain::submission::inbound::InboundSubmission::reject_resubmission`]:
    /// decides the dedup window of the form.
    pub reject_resubmission: bool,
}

/// Returns the custom completion of a form that was submitted before.
#[derive(Debug)]
pub struct GetCompletion {
    /// Idempotency key of the form.
    pub key: IdempotencyKey,
}

impl Transaction for FindSubmissionKey {
    type Outcome = Option<IdempotencyKey>;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Option<IdempotencyKey>> {
        let window = DedupWindow::for_submission(self.reject_resubmission);
        duplicates::find_submission_key(ctx, window, &self.keys, &self.customer)
    }
}

impl Transaction for GetCompletion {
    type Outcome = Option<Box<str>>;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Option<Box<str>>> {
        let Some(entry) = ctx.find_entry(DedupWindow::Form, self.key)? else {
            return Ok(None);
        };
        let completion = ctx.tables.completions.get(entry.row)?;
        Ok(completion.map(|completion| completion.text))
    }
}

/// Maximum size of a stored completion in bytes. A larger completion is not stored, and a repeated
/// form then gets a plain success. This is sufficient, because clients show no part of a
/// completion.
const COMPLETION_BYTES_MAX: usize = 64 << 10;

/// Stores the completion of the form whose key has this row number in `token_log`.
pub fn put_completion(ctx: &mut WriteContext<'_>, row: u64, text: &str) -> StoreResult<()> {
    if text.len() > COMPLETION_BYTES_MAX {
        return Ok(());
    }
    let completion = Completion { text: text.into() };
    ctx.tables.completions.put(row, &completion)?;
    Ok(())
}

/// Removes completions of expired forms, up to a maximum number. Returns the number of removed
/// completions.
pub fn purge_completions(ctx: &mut WriteContext<'_>, max_rows: usize) -> StoreResult<usize> {
    let mut removed = 0;
    while removed < max_rows && is_oldest_expired(ctx)? {
        ctx.tables.completions.pop_first()?;
        removed += 1;
    }
    Ok(removed)
}

fn is_oldest_expired(ctx: &WriteContext<'_>) -> StoreResult<bool> {
    let Some(oldest) = ctx.tables.completions.first()? else {
        return Ok(false);
    };
    match ctx.tables.token_log.get(oldest.key()) {
        Ok(Some(key)) => Ok(ctx.age(key.at) >= ctx.state.dedup.window_length(DedupWindow::Form)),
        // If the key is missing or unreadable, no look-up can find the completion.
        Err(error) if !error.affects_one_row() => Err(error),
        _ => Ok(true),
    }
}
