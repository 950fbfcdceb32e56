//! Rows of a table as a reader meets them.

use redb::AccessGuard;

use super::change::RawChange;
use super::key::{TableKey, TableValue};
use super::table_def::TableDef;
use crate::store::StoreResult;

/// Position of a row in its table.
pub struct Position(pub(super) Vec<u8>);

/// Bytes in a page of redb.
pub type Guard<'a> = AccessGuard<'a, &'static [u8]>;

/// Rows of a range, from both ends.
pub struct Entries<'a, K: TableKey, V: TableValue> {
    pub(super) def: TableDef<K, V>,
    pub(super) rows: redb::Range<'a, &'static [u8], &'static [u8]>,
}

impl<'a, K: TableKey, V: TableValue> Iterator for Entries<'a, K, V> {
    type Item = StoreResult<Entry<'a, K, V>>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.map(|row| Entry::new(self.def, row)).map_err(Into::into))
    }
}

impl<K: TableKey, V: TableValue> DoubleEndedIterator for Entries<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let row = self.rows.next_back()?;
        Some(row.map(|row| Entry::new(self.def, row)).map_err(Into::into))
    }
}

/// A row with its key. The value is decoded on request, so that an unreadable row still shows its
/// key.
pub struct Entry<'a, K: TableKey, V: TableValue> {
    def: TableDef<K, V>,
    key: Guard<'a>,
    value: Guard<'a>,
}

impl<'a, K: TableKey, V: TableValue> Entry<'a, K, V> {
    pub(super) fn new(def: TableDef<K, V>, (key, value): (Guard<'a>, Guard<'a>)) -> Self {
        Self { def, key, value }
    }

    /// Returns the key.
    pub fn key(&self) -> K::Ref<'_> {
        K::from_bytes(self.key.value())
    }

    /// Returns the value.
    ///
    /// # Errors
    /// [`crate::store::StoreError::Row`] if the row is unreadable.
    pub fn value(&self) -> StoreResult<V> {
        self.def.decode(self.key(), self.value.value())
    }

    /// Returns `true` if the key is intact. A damaged key is read as far as possible.
    pub fn has_valid_key(&self) -> bool {
        K::is_valid(self.key.value())
    }

    /// Returns the size of the stored value in bytes.
    pub fn stored_bytes(&self) -> u64 {
        byte_length(self.value.value())
    }

    /// Appends the row to `out` as a change that writes it.
    pub fn write_change(&self, out: &mut Vec<u8>) {
        RawChange {
            table: self.def.name(),
            key: self.key.value(),
            value: Some(self.value.value()),
        }
        .write_to(out);
    }

    /// Returns the position of the row, for [`super::table::Rows::rows_after`].
    pub fn position(&self) -> Position {
        Position(self.key.value().to_vec())
    }
}

pub(super) fn byte_length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
