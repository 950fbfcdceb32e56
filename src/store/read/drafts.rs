//! Reads drafts.

use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::Draft;
use crate::domain::time::Timestamp;

use super::{PAGE_BYTES_MAX, Snapshot};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::schema::DRAFTS;
use crate::store::tx::drafts;

/// Drafts with the time of their last change, and the key after which the next slice starts.
pub type DraftSlice = (Vec<(Timestamp, IdempotencyKey)>, Option<IdempotencyKey>);

impl Snapshot {
    /// Returns the draft of `customer` under `key`. Never returns the draft of another customer.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn customer_draft(
        &self,
        key: IdempotencyKey,
        customer: &Customer,
    ) -> StoreResult<Option<Draft>> {
        Ok(
            drafts::find_customer_draft_with(key, customer, false, |key| self.draft(key))?
                .map(|(_, draft)| draft),
        )
    }

    /// Returns the draft under `key`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn draft(&self, key: IdempotencyKey) -> StoreResult<Option<Draft>> {
        let row = self.get_row(DRAFTS, key.as_bytes())?;
        Ok(row.map(|row| row.draft))
    }

    /// Lists the drafts after `after` that are `wanted`, each with the time of its last change and
    /// its key.
    ///
    /// Returns a slice of a few megabytes, and the position of the next slice. Logs and skips
    /// unreadable rows.
    ///
    /// # Errors
    /// [`crate::store::StoreError`] if the table is unreadable.
    pub fn drafts(
        &self,
        after: Option<IdempotencyKey>,
        wanted: impl Fn(&Draft) -> bool,
    ) -> StoreResult<DraftSlice> {
        self.with_read_txn(|txn| {
            use std::ops::Bound::{Excluded, Unbounded};
            let (mut found, mut bytes) = (Vec::new(), 0_u64);
            let from = after
                .as_ref()
                .map_or(Unbounded, |after| Excluded(after.as_bytes()));
            for row in txn.open(DRAFTS)?.range((from, Unbounded))? {
                let row = row?;
                let key = IdempotencyKey::from_bytes(*row.key());
                bytes = bytes.saturating_add(row.stored_bytes());
                match row.value() {
                    Ok(row) if wanted(&row.draft) => found.push((row.draft.updated_at, key)),
                    Ok(_) => {}
                    Err(error) => tracing::error!(error = %error, "unreadable draft skipped"),
                }
                if bytes >= PAGE_BYTES_MAX {
                    return Ok((found, Some(key)));
                }
            }
            Ok((found, None))
        })
    }
}
