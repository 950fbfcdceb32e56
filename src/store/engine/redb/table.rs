//! Tables of redb as the rest of the store uses them: ordered keys with typed values.
//!
//! See [`super::key`] for the types of keys and values, and [`super::database`] for transactions.

use std::ops::{Bound, RangeBounds};

use redb::{ReadOnlyTable, ReadableTable, ReadableTableMetadata};

use super::change::{ChangeRecorder, RawChange};
use super::entry::{Entries, Entry, Guard, Position, byte_length};
use super::key::{TableKey, TableValue};
use super::table_def::TableDef;
use crate::store::{RowProblem, StoreResult};

/// Read access to an open table.
pub trait Rows {
    /// Type of the keys.
    type Key: TableKey;
    /// Type of the values.
    type Value: TableValue;

    /// Returns the definition of the table.
    fn def(&self) -> TableDef<Self::Key, Self::Value>;

    /// Returns the table of the engine.
    fn engine_table(&self) -> &impl ReadableTable<&'static [u8], &'static [u8]>;

    /// Returns the stored bytes under a key.
    fn get_row(&self, key: Ref<'_, Self>) -> StoreResult<Option<Guard<'_>>> {
        let key = Self::Key::to_bytes(key);
        Ok(self.engine_table().get(key.as_slice())?)
    }

    /// Returns the value under a key.
    ///
    /// # Errors
    /// [`StoreError::Row`](crate::store::StoreError::Row) if the row is unreadable.
    fn get(&self, key: Ref<'_, Self>) -> StoreResult<Option<Self::Value>> {
        let row = self.get_row(key)?;
        row.map(|row| self.def().decode(key, row.value()))
            .transpose()
    }

    /// Returns the value under a key, and adds the size of its stored row to `bytes`.
    ///
    /// # Errors
    /// As [`Rows::get`].
    fn get_sized(&self, key: Ref<'_, Self>, bytes: &mut u64) -> StoreResult<Option<Self::Value>> {
        let row = self.get_row(key)?;
        *bytes = bytes.saturating_add(row.as_ref().map_or(0, |row| byte_length(row.value())));
        row.map(|row| self.def().decode(key, row.value()))
            .transpose()
    }

    /// Returns the value under a key that must exist.
    ///
    /// # Errors
    /// [`StoreError::Row`](crate::store::StoreError::Row) if the row is missing or unreadable.
    fn require(&self, key: Ref<'_, Self>) -> StoreResult<Self::Value> {
        self.get(key)?
            .ok_or_else(|| self.def().row_error(key, RowProblem::Missing))
    }

    /// Returns `true` if the table has this key.
    fn contains(&self, key: Ref<'_, Self>) -> StoreResult<bool> {
        Ok(self.get_row(key)?.is_some())
    }

    /// Lists the rows in a range of keys, in order.
    fn range<'k>(
        &self,
        keys: impl RangeBounds<Ref<'k, Self>>,
    ) -> StoreResult<Entries<'_, Self::Key, Self::Value>>
    where
        Self: 'k,
    {
        self.byte_range(as_slices(&byte_bounds::<Self::Key>(&keys)))
    }

    /// Lists all rows in order.
    fn all_rows(&self) -> StoreResult<Entries<'_, Self::Key, Self::Value>> {
        let rows = self.engine_table().iter()?;
        Ok(Entries {
            def: self.def(),
            rows,
        })
    }

    /// Lists the rows behind a position, or all rows.
    fn rows_after(
        &self,
        position: Option<&Position>,
    ) -> StoreResult<Entries<'_, Self::Key, Self::Value>> {
        let Some(Position(key)) = position else {
            return self.all_rows();
        };
        self.byte_range((Bound::Excluded(key.as_slice()), Bound::Unbounded))
    }

    /// Lists the rows in a range of stored keys.
    fn byte_range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> StoreResult<Entries<'_, Self::Key, Self::Value>> {
        let rows = self.engine_table().range::<&[u8]>(bounds)?;
        Ok(Entries {
            def: self.def(),
            rows,
        })
    }

    /// Returns the first row.
    fn first(&self) -> Found<'_, Self> {
        let first = self.engine_table().first()?;
        Ok(first.map(|row| Entry::new(self.def(), row)))
    }

    /// Returns the last row.
    fn last(&self) -> Found<'_, Self> {
        let last = self.engine_table().last()?;
        Ok(last.map(|row| Entry::new(self.def(), row)))
    }

    /// Returns the number of rows. The cost is constant.
    fn len(&self) -> StoreResult<u64> {
        Ok(self.engine_table().len()?)
    }

    /// Returns `true` if the table has no rows.
    fn is_empty(&self) -> StoreResult<bool> {
        Ok(self.len()? == 0)
    }
}

/// Row of a table, if there is one.
pub type Found<'a, T> = StoreResult<Option<Entry<'a, <T as Rows>::Key, <T as Rows>::Value>>>;

/// Key of a table as callers use it.
pub type Ref<'a, T> = <<T as Rows>::Key as TableKey>::Ref<'a>;

/// Range of stored keys.
type ByteBounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

fn byte_bounds<'k, K: TableKey + 'k>(keys: &impl RangeBounds<K::Ref<'k>>) -> ByteBounds {
    let to_bytes = |key: &K::Ref<'k>| K::to_bytes(*key);
    (
        keys.start_bound().map(to_bytes),
        keys.end_bound().map(to_bytes),
    )
}

fn as_slices((start, end): &ByteBounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (
        start.as_ref().map(Vec::as_slice),
        end.as_ref().map(Vec::as_slice),
    )
}

/// Table in a read transaction.
pub struct ReadTable<K: TableKey, V: TableValue> {
    pub(super) def: TableDef<K, V>,
    pub(super) table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl<K: TableKey, V: TableValue> Rows for ReadTable<K, V> {
    type Key = K;
    type Value = V;

    fn def(&self) -> TableDef<K, V> {
        self.def
    }

    fn engine_table(&self) -> &impl ReadableTable<&'static [u8], &'static [u8]> {
        &self.table
    }
}

/// Table in a write transaction. Each change marks the transaction as changed, and is recorded if
/// the transaction records changes.
pub struct WriteTable<'txn, K: TableKey, V: TableValue> {
    pub(super) def: TableDef<K, V>,
    pub(super) table: redb::Table<'txn, &'static [u8], &'static [u8]>,
    pub(super) changes: TableChanges<'txn>,
}

/// Recorder of the changes of one table.
#[derive(Clone, Copy)]
pub(super) struct TableChanges<'txn> {
    pub(super) table: &'static str,
    pub(super) recorder: &'txn ChangeRecorder,
    /// `false` for the table in which the recorded changes are stored.
    pub(super) is_recorded: bool,
}

impl TableChanges<'_> {
    /// Records a new value, or a removal if `value` is `None`.
    fn record(&self, key: &[u8], value: Option<&[u8]>) {
        self.recorder.mark_changed();
        if !self.is_recorded || !self.recorder.is_recording() {
            return;
        }
        self.recorder.record(RawChange {
            table: self.table,
            key,
            value,
        });
    }
}

impl<K: TableKey, V: TableValue> Rows for WriteTable<'_, K, V> {
    type Key = K;
    type Value = V;

    fn def(&self) -> TableDef<K, V> {
        self.def
    }

    fn engine_table(&self) -> &impl ReadableTable<&'static [u8], &'static [u8]> {
        &self.table
    }
}

impl<K: TableKey, V: TableValue> WriteTable<'_, K, V> {
    /// Writes a row. Returns `true` if the key is new.
    ///
    /// # Errors
    /// [`StoreError::Row`](crate::store::StoreError::Row) if the value can't be encoded. No type of
    /// value causes this error.
    pub fn put(&mut self, key: K::Ref<'_>, value: &V) -> StoreResult<bool> {
        let written = value.with_bytes(|bytes| self.put_bytes(key, bytes));
        written.map_err(|problem| self.def.row_error(key, problem))?
    }

    /// Writes a row. Returns its stored size in bytes.
    ///
    /// # Errors
    /// As [`WriteTable::put`].
    pub fn put_sized(&mut self, key: K::Ref<'_>, value: &V) -> StoreResult<u64> {
        let written = value.with_bytes(|bytes| {
            self.put_bytes(key, bytes)?;
            Ok(byte_length(bytes))
        });
        written.map_err(|problem| self.def.row_error(key, problem))?
    }

    /// Writes a row that is encoded already. Returns `true` if the key is new.
    pub fn put_bytes(&mut self, key: K::Ref<'_>, bytes: &[u8]) -> StoreResult<bool> {
        let key = K::to_bytes(key);
        self.changes.record(&key, Some(bytes));
        Ok(self.table.insert(key.as_slice(), bytes)?.is_none())
    }

    /// Returns the stored bytes of a row, also of an unreadable one.
    pub fn get_bytes(&self, key: K::Ref<'_>) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.get_row(key)?.map(|row| row.value().to_vec()))
    }

    /// Removes a row. Returns `true` if the row existed.
    pub fn remove(&mut self, key: K::Ref<'_>) -> StoreResult<bool> {
        Ok(self.remove_row(&K::to_bytes(key))?.is_some())
    }

    /// Removes a row and returns its value.
    ///
    /// # Errors
    /// [`StoreError::Row`](crate::store::StoreError::Row) if the removed row is unreadable.
    pub fn take(&mut self, key: K::Ref<'_>) -> StoreResult<Option<V>> {
        let def = self.def;
        let row = self.remove_row(&K::to_bytes(key))?;
        row.map(|row| def.decode(key, row.value())).transpose()
    }

    fn remove_row(&mut self, key: &[u8]) -> StoreResult<Option<Guard<'_>>> {
        let row = self.table.remove(key)?;
        if row.is_some() {
            self.changes.record(key, None);
        }
        Ok(row)
    }

    /// Removes the first row and returns it.
    pub fn pop_first(&mut self) -> StoreResult<Option<Entry<'_, K, V>>> {
        let first = self.table.pop_first()?;
        if let Some((key, _)) = &first {
            self.changes.record(key.value(), None);
        }
        Ok(first.map(|row| Entry::new(self.def, row)))
    }

    /// Removes the rows in a range of keys. Returns the number of removed rows.
    pub fn remove_range<'k>(&mut self, keys: impl RangeBounds<K::Ref<'k>>) -> StoreResult<usize>
    where
        K: 'k,
    {
        let bounds = byte_bounds::<K>(&keys);
        let mut removed = 0_usize;
        let changes = self.changes;
        self.table
            .retain_in::<&[u8], _>(as_slices(&bounds), |key, _| {
                changes.record(key, None);
                removed = removed.saturating_add(1);
                false
            })?;
        Ok(removed)
    }

    /// Applies a recorded change.
    pub fn apply_raw(&mut self, key: &[u8], value: Option<&[u8]>) -> StoreResult<()> {
        self.changes.recorder.mark_changed();
        match value {
            Some(value) => self.table.insert(key, value)?.is_some(),
            None => self.table.remove(key)?.is_some(),
        };
        Ok(())
    }
}

impl<K: TableKey> WriteTable<'_, K, ()> {
    /// Adds a key. Returns `true` if the key is new.
    pub fn add(&mut self, key: K::Ref<'_>) -> StoreResult<bool> {
        self.put(key, &())
    }
}
