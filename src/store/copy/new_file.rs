//! Builds a new data file from the rows and changes of a copy, and verifies it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{invalid_changes, total_rows};
use crate::clock::Clock;
use crate::panic::catch_panic;
use crate::store::data_file;
use crate::store::engine::{Database, list_changes};
use crate::store::options::StoreOptions;
use crate::store::rows::change_log::{ChangeLogHeader, read_header, write_header};
use crate::store::rows::schema::{CHANGE_LOG, Tables, count_rows};
use crate::store::{Store, StoreError, StoreResult, check_integrity};

/// Size of the changes, in bytes, that one commit of the new file takes.
const COMMIT_BYTES: usize = 8 << 20;

/// New data file. Until [`NewFile::publish`] the file has another name. If the value is dropped
/// before, the file is removed.
pub struct NewFile {
    path: PathBuf,
    /// Path of the file until it is complete.
    part: PathBuf,
    database: Option<Database>,
    /// Changes that wait for the next commit.
    waiting: Vec<u8>,
    clock: Arc<dyn Clock>,
}

/// File whose place a new file may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// The new file takes the place of any other one.
    Any,
    /// No file may have the name of the new one.
    Nothing,
}

/// Result of the verification of a new file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileSummary {
    /// Number of rows of all tables.
    pub rows: u64,
    /// Number of submissions.
    pub submissions: u64,
    /// Number of violated invariants. A copy has those of its source.
    pub violations: u64,
    /// Disk space of the file, in bytes.
    pub bytes: u64,
}

impl NewFile {
    /// Creates an empty file for `path`.
    ///
    /// # Errors
    /// [`StoreError::File`] if the file can't be created.
    pub fn create(path: &Path, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        let database = data_file::create_at(&StoreOptions::new(part.clone()), clock.now())?;
        Ok(Self {
            path: path.to_owned(),
            part,
            database: Some(database),
            waiting: Vec::new(),
            clock,
        })
    }

    /// Opens a file that a publication left, to apply more changes to it.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be opened.
    pub fn reopen(path: &Path, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let options = StoreOptions {
            is_serving: false,
            ..StoreOptions::new(path.to_owned())
        };
        let database = data_file::open_for_changes(&options)?;
        Ok(Self {
            path: path.to_owned(),
            part: path.to_owned(),
            database: Some(database),
            waiting: Vec::new(),
            clock,
        })
    }

    /// Returns the header of the change log.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read.
    pub fn header(&self) -> StoreResult<ChangeLogHeader> {
        let txn = self
            .database
            .as_ref()
            .ok_or(StoreError::NotOpen)?
            .begin_read()?;
        if !txn.has_table(CHANGE_LOG)? {
            return Ok(ChangeLogHeader::default());
        }
        Ok(read_header(&txn.open(CHANGE_LOG)?)?.unwrap_or_default())
    }

    /// Applies changes, in the order of the calls.
    ///
    /// # Errors
    /// [`StoreError`] if the changes are invalid, or the file can't be written.
    pub fn apply(&mut self, changes: &[u8]) -> StoreResult<()> {
        self.waiting.extend_from_slice(changes);
        if self.waiting.len() >= COMMIT_BYTES {
            self.commit(None)?;
        }
        Ok(())
    }

    /// Commits what was applied, with the header of the change log.
    ///
    /// # Errors
    /// [`StoreError`] if the changes are invalid, or the file can't be written.
    pub fn commit(&mut self, header: Option<&ChangeLogHeader>) -> StoreResult<()> {
        let Some(database) = &self.database else {
            return Err(StoreError::NotOpen);
        };
        let faults = database.faults();
        let changes = std::mem::take(&mut self.waiting);
        // A value that does not fit its table makes the engine panic.
        let written = catch_panic(|| write_changes(database, &changes, header));
        written
            .unwrap_or_else(|panic| Err(StoreError::InvalidCopy(panic)))
            .map_err(|error| faults.cause_of(error))
    }

    /// Completes the file: closes it, opens it again, verifies each page and each row, and counts
    /// the rows. `expected` are the numbers of rows of the source.
    ///
    /// # Errors
    /// [`StoreError`] if the file is not as it must be.
    pub fn complete(
        &mut self,
        header: &ChangeLogHeader,
        expected: Option<&BTreeMap<String, u64>>,
    ) -> StoreResult<FileSummary> {
        self.commit(Some(header))?;
        self.close()?;
        self.verify(expected)
    }

    /// Gives a complete file its name.
    ///
    /// # Errors
    /// [`StoreError::File`] if the file can't be renamed, or if it replaces nothing and another
    /// file has the name.
    pub fn publish(self, replaces: Replaces) -> StoreResult<()> {
        let renamed = match replaces {
            Replaces::Any => fs::rename(&self.part, &self.path),
            Replaces::Nothing => rename_to_free(&self.part, &self.path),
        };
        renamed.map_err(|error| data_file::file_error("rename to", &self.path, &error))?;
        data_file::sync_folder(&self.path)
    }

    /// Closes the file. It can't be changed any more.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be written.
    pub fn close(&mut self) -> StoreResult<()> {
        self.database.take().map_or(Ok(()), Database::close)
    }

    fn verify(&self, expected: Option<&BTreeMap<String, u64>>) -> StoreResult<FileSummary> {
        let options = StoreOptions {
            is_serving: false,
            is_read_only: true,
            ..StoreOptions::new(self.part.clone())
        };
        let store = Store::start(options, Arc::clone(&self.clock))?;
        let verified = store.wait_open().and_then(|()| {
            let counts = store.read_last()?.with_read_txn(count_rows)?;
            if let Some(expected) = expected.filter(|expected| **expected != counts) {
                return Err(StoreError::InvalidCopy(format!(
                    "it has {} rows in place of {}",
                    total_rows(&counts),
                    total_rows(expected)
                )));
            }
            let report = check_integrity(&store)?;
            report.damage.map_or(Ok(()), Err)?;
            Ok(FileSummary {
                rows: total_rows(&counts),
                submissions: counts.get("submissions").copied().unwrap_or_default(),
                violations: report.violation_count,
                bytes: store.file_bytes(),
            })
        });
        let closed = store.close();
        let summary = verified?;
        closed?;
        Ok(summary)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        self.database = None;
        if self.part != self.path {
            // After the publication, the file has another name.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Renames a file. Another file may have got the name since the new one was begun, for example
/// that of a server that was started meanwhile.
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems can't check and rename in one step.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => {
            fs::rename(from, to)
        }
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            Err(io::ErrorKind::AlreadyExists.into())
        }
        renamed => Ok(renamed?),
    }
}

fn write_changes(
    database: &Database,
    changes: &[u8],
    header: Option<&ChangeLogHeader>,
) -> StoreResult<()> {
    let txn = database.begin_write()?;
    {
        let mut tables = Tables::open(&txn)?;
        for change in list_changes(changes) {
            tables.apply_change(change.ok_or_else(invalid_changes)?)?;
        }
        if let Some(header) = header {
            write_header(&mut tables.change_log, header)?;
        }
    }
    txn.commit()
}
