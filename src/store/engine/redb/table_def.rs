//! Names and types of tables.

use std::fmt::Debug;
use std::marker::PhantomData;

use redb::{AccessGuard, TableDefinition};

use super::key::{TableKey, TableValue};
use crate::store::{RowProblem, StoreError, StoreResult};

/// Name and types of a table.
pub struct TableDef<K, V> {
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for TableDef<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for TableDef<K, V> {}

impl<K: TableKey, V: TableValue> TableDef<K, V> {
    /// Defines a table. Two definitions of one table must agree in their stored types.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: PhantomData,
        }
    }

    /// Returns the name of the table.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Returns the definition for redb.
    pub const fn definition(self) -> TableDefinition<'static, K::Stored, V::Stored> {
        TableDefinition::new(self.name)
    }

    /// Decodes the stored value under `key`.
    pub(super) fn decode(
        self,
        key: K::Ref<'_>,
        raw: &AccessGuard<'_, V::Stored>,
    ) -> StoreResult<V> {
        V::from_raw(raw.value()).map_err(|problem| self.row_error(key, problem))
    }

    /// Returns the error for a row of the table.
    pub fn row_error(self, key: K::Ref<'_>, problem: RowProblem) -> StoreError {
        self.raw_row_error(&K::to_raw(key), problem)
    }

    pub(super) fn raw_row_error(self, key: &impl Debug, problem: RowProblem) -> StoreError {
        StoreError::Row {
            table: self.name,
            key: format!("{key:?}"),
            problem,
        }
    }
}

impl<K: TableKey<Stored = u64>, V: TableValue> TableDef<K, V> {
    /// Returns the same table with its keys as numbers.
    pub const fn by_number(self) -> TableDef<u64, V> {
        TableDef::new(self.name)
    }
}
