//! Tables of redb as the rest of the store uses them: ordered keys with typed values.
//!
//! See [`super::key`] for the types of keys and values, and [`super::database`] for transactions.

use std::ops::{Bound, RangeBounds};

use redb::{ReadOnlyTable, ReadableTable, ReadableTableMetadata, Value};

use super::change::{ChangeRecorder, RawChange};
use super::entry::{Entries, Entry, Position, byte_length};
use super::key::{Raw, TableKey, TableValue};
use super::table_def::TableDef;
use crate::store::{RowProblem, StoreError, StoreResult};

/// Read access to an open table.
pub trait Rows {
    /// Type of the keys.
    type Key: TableKey;
    /// Type of the values.
    type Value: TableValue;

    /// Returns the definition of the table.
    fn def(&self) -> TableDef<Self::Key, Self::Value>;

    /// Returns the table of the engine.
    fn engine_table(
        &self,
    ) -> &impl ReadableTable<<Self::Key as TableKey>::Stored, <Self::Value as TableValue>::Stored>;

    /// Returns the value under a key.
    ///
    /// # Errors
    /// [`StoreError::Row`] if the row is unreadable.
    fn get(&self, key: Ref<'_, Self>) -> StoreResult<Option<Self::Value>> {
        let raw = self.engine_table().get(Self::Key::to_raw(key))?;
        raw.map(|raw| self.def().decode(key, &raw)).transpose()
    }

    /// Returns the value under a key, and adds the size of its stored row to `bytes`.
    ///
    /// # Errors
    /// As [`Rows::get`].
    fn get_sized(&self, key: Ref<'_, Self>, bytes: &mut u64) -> StoreResult<Option<Self::Value>>
    where
        Self::Value: TableValue<Stored = &'static [u8]>,
    {
        let raw = self.engine_table().get(Self::Key::to_raw(key))?;
        *bytes = bytes.saturating_add(raw.as_ref().map_or(0, |raw| byte_length(raw.value())));
        raw.map(|raw| self.def().decode(key, &raw)).transpose()
    }

    /// Returns the value under a key that must exist.
    ///
    /// # Errors
    /// [`StoreError::Row`] if the row is missing or unreadable.
    fn require(&self, key: Ref<'_, Self>) -> StoreResult<Self::Value> {
        self.get(key)?
            .ok_or_else(|| self.def().row_error(key, RowProblem::Missing))
    }

    /// Returns `true` if the table has this key.
    fn contains(&self, key: Ref<'_, Self>) -> StoreResult<bool> {
        Ok(self.engine_table().get(Self::Key::to_raw(key))?.is_some())
    }

    /// Lists the rows in a range of keys, in order.
    fn range<'k>(
        &self,
        keys: impl RangeBounds<Ref<'k, Self>>,
    ) -> StoreResult<Entries<'_, Self::Key, Self::Value>>
    where
        Self: 'k,
    {
        let bounds = (
            raw_bound::<Self::Key>(keys.start_bound()),
            raw_bound::<Self::Key>(keys.end_bound()),
        );
        let rows = self
            .engine_table()
            .range::<Raw<'k, <Self::Key as TableKey>::Stored>>(bounds)?;
        Ok(Entries {
            def: self.def(),
            rows,
        })
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
        let key = <Self::Key as TableKey>::Stored::from_bytes(key);
        let bounds = (Bound::Excluded(key), Bound::Unbounded);
        let rows = self
            .engine_table()
            .range::<Raw<'_, <Self::Key as TableKey>::Stored>>(bounds)?;
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

fn raw_bound<'a, K: TableKey>(bound: Bound<&K::Ref<'a>>) -> Bound<Raw<'a, K::Stored>> {
    bound.map(|key| K::to_raw(*key))
}

/// Table in a read transaction.
pub struct ReadTable<K: TableKey, V: TableValue> {
    pub(super) def: TableDef<K, V>,
    pub(super) table: ReadOnlyTable<K::Stored, V::Stored>,
}

impl<K: TableKey, V: TableValue> Rows for ReadTable<K, V> {
    type Key = K;
    type Value = V;

    fn def(&self) -> TableDef<K, V> {
        self.def
    }

    fn engine_table(&self) -> &impl ReadableTable<K::Stored, V::Stored> {
        &self.table
    }
}

/// Table in a write transaction. Each change marks the transaction as changed, and is recorded if
/// the transaction records changes.
pub struct WriteTable<'txn, K: TableKey, V: TableValue> {
    pub(super) def: TableDef<K, V>,
    pub(super) table: redb::Table<'txn, K::Stored, V::Stored>,
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
    fn record<K: Value, V: Value>(&self, key: &K::SelfType<'_>, value: Option<&V::SelfType<'_>>) {
        self.recorder.mark_changed();
        if !self.is_recorded || !self.recorder.is_recording() {
            return;
        }
        let value = value.map(V::as_bytes);
        self.recorder.record(RawChange {
            table: self.table,
            key: K::as_bytes(key).as_ref(),
            value: value.as_ref().map(AsRef::as_ref),
        });
    }
}

impl<K: TableKey, V: TableValue> Rows for WriteTable<'_, K, V> {
    type Key = K;
    type Value = V;

    fn def(&self) -> TableDef<K, V> {
        self.def
    }

    fn engine_table(&self) -> &impl ReadableTable<K::Stored, V::Stored> {
        &self.table
    }
}

impl<K: TableKey, V: TableValue> WriteTable<'_, K, V> {
    /// Writes a row. Returns `true` if the key is new.
    ///
    /// # Errors
    /// [`StoreError::Row`] if the value can't be encoded. No type of value causes this error.
    pub fn put(&mut self, key: K::Ref<'_>, value: &V) -> StoreResult<bool> {
        self.write(key, value, |_| ()).map(|(is_new, ())| is_new)
    }

    /// Writes a row. Returns `true` if the key is new, and what `inspect` returns for the stored
    /// form.
    fn write<T>(
        &mut self,
        key: K::Ref<'_>,
        value: &V,
        inspect: impl FnOnce(&Raw<'_, V::Stored>) -> T,
    ) -> StoreResult<(bool, T)> {
        let written = value.with_raw(|raw| {
            self.changes
                .record::<K::Stored, V::Stored>(&K::to_raw(key), Some(&raw));
            let inspected = inspect(&raw);
            let old = self.table.insert(K::to_raw(key), raw)?;
            Ok::<_, StoreError>((old.is_none(), inspected))
        });
        written.map_err(|problem| self.def.row_error(key, problem))?
    }

    /// Removes a row. Returns `true` if the row existed.
    pub fn remove(&mut self, key: K::Ref<'_>) -> StoreResult<bool> {
        let existed = self.table.remove(K::to_raw(key))?.is_some();
        if existed {
            self.changes
                .record::<K::Stored, V::Stored>(&K::to_raw(key), None);
        }
        Ok(existed)
    }

    /// Removes a row and returns its value.
    ///
    /// # Errors
    /// [`StoreError::Row`] if the removed row is unreadable.
    pub fn take(&mut self, key: K::Ref<'_>) -> StoreResult<Option<V>> {
        let raw = self.table.remove(K::to_raw(key))?;
        if raw.is_some() {
            self.changes
                .record::<K::Stored, V::Stored>(&K::to_raw(key), None);
        }
        raw.map(|raw| self.def.decode(key, &raw)).transpose()
    }

    /// Removes the first row and returns it.
    pub fn pop_first(&mut self) -> StoreResult<Option<Entry<'_, K, V>>> {
        let first = self.table.pop_first()?;
        if let Some((key, _)) = &first {
            self.changes
                .record::<K::Stored, V::Stored>(&key.value(), None);
        }
        Ok(first.map(|row| Entry::new(self.def, row)))
    }

    /// Removes the rows in a range of keys. Returns the number of removed rows.
    pub fn remove_range<'k>(&mut self, keys: impl RangeBounds<K::Ref<'k>>) -> StoreResult<usize>
    where
        K: 'k,
    {
        let bounds = (
            raw_bound::<K>(keys.start_bound()),
            raw_bound::<K>(keys.end_bound()),
        );
        let mut removed = 0_usize;
        let changes = self.changes;
        self.table
            .retain_in::<Raw<'k, K::Stored>, _>(bounds, |key, _| {
                changes.record::<K::Stored, V::Stored>(&key, None);
                removed = removed.saturating_add(1);
                false
            })?;
        Ok(removed)
    }

    /// Applies a recorded change.
    pub fn apply_raw(&mut self, key: &[u8], value: Option<&[u8]>) -> StoreResult<()> {
        self.changes.recorder.mark_changed();
        let key = K::Stored::from_bytes(key);
        match value {
            Some(value) => self
                .table
                .insert(key, V::Stored::from_bytes(value))?
                .is_some(),
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

impl<K: TableKey, V: TableValue<Stored = &'static [u8]>> WriteTable<'_, K, V> {
    /// Writes a row. Returns its stored size in bytes.
    pub fn put_sized(&mut self, key: K::Ref<'_>, value: &V) -> StoreResult<u64> {
        self.write(key, value, |raw| byte_length(raw))
            .map(|(_, bytes)| bytes)
    }

    /// Returns the stored bytes of a row, also of an unreadable one.
    pub fn get_bytes(&self, key: K::Ref<'_>) -> StoreResult<Option<Vec<u8>>> {
        let row = self.table.get(K::to_raw(key))?;
        Ok(row.map(|row| row.value().to_vec()))
    }

    /// Writes a row that is encoded already. Returns `true` if the key is new.
    pub fn put_bytes(&mut self, key: K::Ref<'_>, bytes: &[u8]) -> StoreResult<bool> {
        self.changes
            .record::<K::Stored, V::Stored>(&K::to_raw(key), Some(&bytes));
        Ok(self.table.insert(K::to_raw(key), bytes)?.is_none())
    }
}
