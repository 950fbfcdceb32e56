//! Edits of a closed data file without the store, as a bad disk makes them.

use std::fs::File;

use super::support::StoreBench;
use crate::store::engine::{
    Database, NumberKey, OpenOptions, TableDef, TableValue, WriteTxn, file_backend,
};

/// Changes a byte of the row `key`. Adds a row that is unreadable if there is none.
pub fn flip_row_byte<K: NumberKey, V: TableValue>(txn: &WriteTxn, table: TableDef<K, V>, key: u64) {
    let mut table = txn.open(table.by_number()).unwrap();
    let mut row = table.get_bytes(key).unwrap().unwrap_or(vec![1; 9]);
    *row.last_mut().unwrap() ^= 1;
    table.put_bytes(key, &row).unwrap();
}

impl StoreBench {
    /// Closes the store and edits its file in one transaction.
    pub fn edit_file(&self, edit: impl FnOnce(&WriteTxn)) {
        self.store.close().unwrap();
        let file = File::options().read(true).write(true).open(self.path());
        let options = OpenOptions {
            page_cache_bytes: 1 << 20,
            verifies: false,
            observer: None,
            reports_progress: false,
        };
        let database = Database::open(file_backend(file.unwrap()).unwrap(), options).unwrap();
        let txn = database.begin_write().unwrap();
        edit(&txn);
        txn.commit().unwrap();
        database.close().unwrap();
    }

    /// Closes the store, damages a row of its file, and opens the store again.
    pub fn reopen_damaged<K: NumberKey, V: TableValue>(
        self,
        table: TableDef<K, V>,
        key: u64,
    ) -> Self {
        self.edit_file(|txn| flip_row_byte(txn, table, key));
        self.reopen()
    }
}
