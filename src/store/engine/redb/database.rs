//! Opens and closes a redb database, and begins its transactions.
//!
//! See [`super::table`] for the operations on tables, and [`crate::store::data_file`] for the file
//! as a whole.

use std::io;
use std::sync::Arc;

use redb::{DatabaseError, Durability, ReadableDatabase, StorageBackend, StorageError};

use super::change::ChangeRecorder;
use super::key::{TableKey, TableValue};
use super::storage_backend::{FaultRecorder, OpenObserver, RecordingBackend};
use super::table::{ReadTable, TableChanges, WriteTable};
use super::table_def::TableDef;
use crate::panic::catch_panic;
use crate::store::{StoreError, StoreResult};

/// Reason why a database can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has the file open.
    InUse,
    /// The file is no redb database, or has an unknown format of redb.
    NotADatabase(String),
    /// The content of the file is damaged.
    Damaged(String),
    /// The disk failed.
    Disk(StoreError),
}

/// Options of opening a database.
pub struct OpenOptions {
    /// Memory for pages, in bytes.
    pub page_cache_bytes: usize,
    /// `true` if every page is verified.
    pub verifies: bool,
    /// Observer of the opening.
    pub observer: Option<Arc<dyn OpenObserver>>,
    /// `true` if the observer gets the progress of the verification.
    pub reports_progress: bool,
}

/// Open redb database.
pub struct Database {
    database: redb::Database,
    faults: FaultRecorder,
}

impl Database {
    /// Opens the database, or creates it in an empty backend.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(backend: Box<dyn StorageBackend>, options: OpenOptions) -> Result<Self, OpenError> {
        let OpenOptions {
            page_cache_bytes,
            verifies,
            observer,
            reports_progress,
        } = options;
        let faults = FaultRecorder::default();
        let backend = RecordingBackend {
            backend,
            faults: faults.clone(),
            observer: observer.clone(),
        };
        let observer = observer.filter(|_| reports_progress);
        // redb may panic on damaged pages instead of returning an error.
        let opened = catch_panic(move || {
            redb::Builder::new()
                .set_cache_size(page_cache_bytes)
                .set_check_integrity_on_open(verifies)
                .set_repair_callback(move |session| {
                    if let Some(observer) = &observer {
                        observer.on_verified(session.progress());
                    }
                })
                .create_with_backend(backend)
        });
        match opened {
            Ok(Ok(database)) => Ok(Self { database, faults }),
            Ok(Err(error)) => Err(explain_open_error(error, &faults)),
            Err(_) => Err(OpenError::Damaged("its pages are invalid".to_owned())),
        }
    }

    /// Begins a read transaction on the last commit.
    pub fn begin_read(&self) -> StoreResult<ReadTxn> {
        Ok(ReadTxn(self.database.begin_read()?))
    }

    /// Begins a write transaction. Its commit is durable.
    pub fn begin_write(&self) -> StoreResult<WriteTxn> {
        let mut txn = self.database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        Ok(WriteTxn {
            txn,
            recorder: ChangeRecorder::default(),
        })
    }

    /// Writes what redb needs to open the file without a repair after a crash of the process.
    pub fn prepare_quick_repair(&self) -> StoreResult<()> {
        let mut txn = self.database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_quick_repair(true);
        Ok(txn.commit()?)
    }

    /// Returns the recorder of disk faults. The recorder does not keep the database open.
    pub fn faults(&self) -> FaultRecorder {
        self.faults.clone()
    }

    /// Moves pages to the front of the file and cuts the file, until nothing is left to move.
    pub fn compact(&mut self) -> StoreResult<()> {
        // A round may free space that the next round needs.
        catch_panic(|| {
            while self.database.compact()? {}
            Ok(())
        })
        .unwrap_or_else(|panic| Err(StoreError::Damaged(panic)))
        .map_err(|error| self.faults.cause_of(error))
    }

    /// Closes the database, so that the next open needs no repair.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if redb can't write the data of a clean shutdown.
    pub fn close(self) -> StoreResult<()> {
        let faults = self.faults;
        self.database
            .close()
            .map_err(|error| faults.cause_of(StoreError::Engine(error.to_string())))
    }
}

fn explain_open_error(error: DatabaseError, faults: &FaultRecorder) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        DatabaseError::UpgradeRequired(version) => {
            OpenError::NotADatabase(format!("redb file format {version}"))
        }
        DatabaseError::Storage(StorageError::Corrupted(reason)) => OpenError::Damaged(reason),
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            OpenError::NotADatabase(error.to_string())
        }
        other => match faults.cause() {
            Some(cause) => OpenError::Disk(cause),
            None => OpenError::Damaged(other.to_string()),
        },
    }
}

/// Read transaction: the content of the file at one commit.
pub struct ReadTxn(redb::ReadTransaction);

impl ReadTxn {
    /// Opens a table.
    pub fn open<K: TableKey, V: TableValue>(
        &self,
        def: TableDef<K, V>,
    ) -> StoreResult<ReadTable<K, V>> {
        let table = self.0.open_table(def.definition())?;
        Ok(ReadTable { def, table })
    }

    /// Returns `true` if the file has the table.
    pub fn has_table<K: TableKey, V: TableValue>(&self, def: TableDef<K, V>) -> StoreResult<bool> {
        match self.0.open_table(def.definition()) {
            Ok(_) => Ok(true),
            Err(redb::TableError::Storage(error)) => Err(error.into()),
            Err(_) => Ok(false),
        }
    }
}

/// Write transaction.
pub struct WriteTxn {
    txn: redb::WriteTransaction,
    recorder: ChangeRecorder,
}

impl WriteTxn {
    /// Opens a table. A transaction can open each table once at a time.
    pub fn open<K: TableKey, V: TableValue>(
        &self,
        def: TableDef<K, V>,
    ) -> StoreResult<WriteTable<'_, K, V>> {
        self.open_recorded(def, true)
    }

    /// Opens a table whose changes are not recorded.
    pub fn open_unrecorded<K: TableKey, V: TableValue>(
        &self,
        def: TableDef<K, V>,
    ) -> StoreResult<WriteTable<'_, K, V>> {
        self.open_recorded(def, false)
    }

    fn open_recorded<K: TableKey, V: TableValue>(
        &self,
        def: TableDef<K, V>,
        is_recorded: bool,
    ) -> StoreResult<WriteTable<'_, K, V>> {
        Ok(WriteTable {
            def,
            table: self.txn.open_table(def.definition())?,
            changes: TableChanges {
                table: def.name(),
                recorder: &self.recorder,
                is_recorded,
            },
        })
    }

    /// Starts or stops the recording of changes.
    pub fn set_recording(&self, is_recording: bool) {
        self.recorder.set_recording(is_recording);
    }

    /// Returns the changes that were recorded so far, and forgets them.
    pub fn take_recorded(&self) -> Vec<u8> {
        self.recorder.take_recorded()
    }

    /// Returns `true` if the transaction has changed a row.
    pub const fn has_changes(&self) -> bool {
        self.recorder.has_changes()
    }

    /// Makes the changes durable.
    pub fn commit(self) -> StoreResult<()> {
        Ok(self.txn.commit()?)
    }

    /// Discards the changes.
    pub fn abort(self) -> StoreResult<()> {
        Ok(self.txn.abort()?)
    }
}
