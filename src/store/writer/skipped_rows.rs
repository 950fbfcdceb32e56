//! Counts and logs the unreadable rows that the writer skips when it opens the file.

use crate::store::StoreResult;

/// Counts unreadable rows that the writer state skips. Without this, one unreadable row would block
/// all other rows.
#[derive(Default)]
pub struct SkippedRows {
    rows: u64,
}

impl SkippedRows {
    /// Maximum number of unreadable rows that are logged one by one.
    const LOGGED_MAX: u64 = 20;

    /// Returns the row, or logs and counts the row if it is unreadable.
    pub fn skip_unreadable<T>(&mut self, row: StoreResult<T>) -> StoreResult<Option<T>> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(error) if error.affects_one_row() => {
                self.rows += 1;
                if self.rows <= Self::LOGGED_MAX {
                    tracing::error!(error = %error, "unreadable row skipped");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the number of unreadable rows. Logs the total if some rows were not logged one by
    /// one.
    pub(super) fn log_total(&self) -> u64 {
        if self.rows > Self::LOGGED_MAX {
            tracing::error!(
                store.rows_left_out = self.rows,
                "more unreadable rows skipped"
            );
        }
        self.rows
    }
}
