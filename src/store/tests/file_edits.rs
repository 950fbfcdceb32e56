//! Edits of a closed data file without the store, as a bad disk makes them.

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use super::support::StoreBench;

/// Changes a byte of the row `key`. Adds a row that is unreadable if there is none.
pub fn flip_row_byte(txn: &WriteTransaction, table: TableDefinition<'_, u64, &[u8]>, key: u64) {
    let mut table = txn.open_table(table).unwrap();
    let mut row = table
        .get(key)
        .unwrap()
        .map_or_else(|| vec![1; 9], |row| row.value().to_vec());
    let last = row.len() - 1;
    row[last] ^= 1;
    table.insert(key, row.as_slice()).unwrap();
}

impl StoreBench {
    /// Closes the store and edits its file in one transaction of redb.
    pub fn edit_file(&self, edit: impl FnOnce(&WriteTransaction)) {
        self.store.close().unwrap();
        let database = Database::open(self.path()).unwrap();
        let txn = database.begin_write().unwrap();
        edit(&txn);
        txn.commit().unwrap();
    }

    /// Closes the store, damages a row of its file, and opens the store again.
    pub fn reopen_damaged(self, table: TableDefinition<'_, u64, &[u8]>, key: u64) -> Self {
        self.edit_file(|txn| flip_row_byte(txn, table, key));
        self.reopen()
    }
}
