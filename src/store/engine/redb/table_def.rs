//! Names and types of tables.

use std::marker::PhantomData;

use redb::TableDefinition;

use super::key::{Bytes, NumberKey, TableKey, TableValue};
use crate::store::{RowProblem, StoreError, StoreResult};

/// Definition of a table for redb: all tables have the same types.
pub type RawTableDefinition = TableDefinition<'static, &'static [u8], &'static [u8]>;

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
    /// Defines a table. Two definitions of one table must agree in the stored form of the keys.
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
    pub const fn definition(self) -> RawTableDefinition {
        TableDefinition::new(self.name)
    }

    /// Decodes the stored value under `key`.
    pub(super) fn decode(self, key: K::Ref<'_>, bytes: &[u8]) -> StoreResult<V> {
        V::from_bytes(bytes).map_err(|problem| self.row_error(key, problem))
    }

    /// Returns the error for a row of the table.
    pub fn row_error(self, key: K::Ref<'_>, problem: RowProblem) -> StoreError {
        StoreError::Row {
            table: self.name,
            key: K::describe(key),
            problem,
        }
    }
}

impl<K: TableKey, V: TableValue> TableDef<K, V> {
    /// Returns the same table with its rows as bytes.
    pub const fn rows_as_bytes(self) -> TableDef<K, Bytes> {
        TableDef::new(self.name)
    }
}

impl<K: NumberKey, V: TableValue> TableDef<K, V> {
    /// Returns the same table with its keys as numbers.
    pub const fn by_number(self) -> TableDef<u64, V> {
        TableDef::new(self.name)
    }
}
