//! Creates, opens, verifies and closes the data file as a whole.
//!
//! A new file is created under another name, closed and renamed, and its folder is synced. Without
//! this, a crash at the first sync of a new file could leave a file that redb refuses to open.
//!
//! Every file has a marker row, and a file without a marker is never used. Without this, a file of
//! another program, or a file whose repair lost all data, could pass for an empty store.
//!
//! See [`super::tables`] for the content of the tables.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    AccessGuard, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable,
    StorageBackend, StorageError, TableError,
};

use crate::domain::time::Timestamp;
use crate::panic::catch_panic;

use super::storage_backend::{FaultRecorder, OverlayBackend, RecordingBackend};
use super::tables::{META, Tables};
use crate::store::options::StoreOptions;
use crate::store::rows::codec;
use crate::store::state::{OpenProgress, ReadSource};
use crate::store::writer::counters::Counters;
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{RowProblem, StoreError};

/// Format version that this program writes, and the only one that it reads.
const FORMAT_VERSION: u32 = 1;
/// Minimum file size, in bytes, from which on the progress of the verification is logged. The
/// verification of this size lasts about a quarter of a second.
const PROGRESS_LOG_BYTES_MIN: u64 = 256 << 20;
const MARKER: &[u8] = b"flowgate data file";
/// Key of the row that every commit rewrites.
pub(in crate::store) const COUNTERS: &str = "counters";
/// Key of the row that marks a file whose server had the secret of the Meta app.
const APP_SECRET: &str = "app_secret";

/// Open data file with its counters.
pub(in crate::store) struct OpenedFile {
    pub(in crate::store) database: Database,
    pub(in crate::store) faults: FaultRecorder,
    pub(in crate::store) counters: Counters,
}

/// Opens the file. Creates a missing file if the process is a server. Verifies the file as the
/// options require.
///
/// # Errors
/// [`StoreError`] for a file that is missing, in use, not a data file, of an unknown format, or
/// damaged.
pub(in crate::store) fn open_or_create(
    options: &StoreOptions,
    now: Timestamp,
    progress: &OpenProgress,
) -> Result<OpenedFile, StoreError> {
    let path = &options.path;
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(not_a_data_file(path, "it is a directory"));
        }
        Ok(metadata) if metadata.len() == 0 => return Err(not_a_data_file(path, "it is empty")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.is_serving => {
            create_file(options, now)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::FileMissing(path.clone()));
        }
        Err(error) => return Err(file_error("inspect", path, &error)),
    }
    let opened = open_existing(options, options.verify_always, progress)?;
    if opened.counters.is_clean || options.verify_always {
        return Ok(opened);
    }
    // The shutdown was unclean and the file is unverified. The file is opened again, and every page
    // is verified.
    close_database(opened.database)?;
    open_existing(options, true, progress)
}

/// Closes the file, so that the next open needs no repair.
///
/// # Errors
/// [`StoreError::Engine`] if redb can't write the data of a clean shutdown.
pub(in crate::store) fn close_database(database: Database) -> Result<(), StoreError> {
    database
        .close()
        .map_err(|error| StoreError::Engine(error.to_string()))
}

/// Opens the file only to read it. redb may write during the open, to repair a file that was not
/// closed. These writes stay in memory. If `locks` is `true`, returns an error if another process
/// has the file open.
///
/// # Errors
/// As [`open_or_create`].
pub(in crate::store) fn open_read_only(
    options: &StoreOptions,
    locks: bool,
) -> Result<ReadSource, StoreError> {
    let path = &options.path;
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::FileMissing(path.clone()));
        }
        opened => opened.map_err(|error| file_error("open", path, &error))?,
    };
    if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Err(not_a_data_file(path, "it is empty"));
    }
    let backend =
        (options.backend_factory)(file).and_then(|backend| OverlayBackend::new(backend, locks));
    let backend = Box::new(backend.map_err(|error| file_error("open", path, &error))?);
    let verify = locks && options.verify_always;
    let (database, faults) = open_database(options, path, backend, verify, None)?;
    verify_marker(options, &database)?;
    Ok(ReadSource {
        database: Arc::new(database),
        faults,
        is_before_full_disk: true,
    })
}

fn open_existing(
    options: &StoreOptions,
    verify: bool,
    progress: &OpenProgress,
) -> Result<OpenedFile, StoreError> {
    let path = &options.path;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| file_error("open", path, &error))?;
    let backend =
        (options.backend_factory)(file).map_err(|error| file_error("open", path, &error))?;
    let (database, faults) = open_database(options, path, backend, verify, Some(progress))?;
    verify_marker(options, &database)?;
    let counters = read_counters(path, &database)?;
    Ok(OpenedFile {
        database,
        faults,
        counters,
    })
}

fn read_counters(path: &Path, database: &Database) -> Result<Counters, StoreError> {
    let txn = database.begin_read()?;
    let meta = txn.open_table(META)?;
    let row = meta.get(COUNTERS)?;
    counters(path, row.as_ref().map(AccessGuard::value))
}

/// Decodes the row of the counters in the file at `path`.
///
/// # Errors
/// [`StoreError::Damaged`] if the row is missing or unreadable. Without the row, the store could
/// assign an ID twice, because no other row records the assigned IDs.
pub(in crate::store) fn counters(path: &Path, row: Option<&[u8]>) -> Result<Counters, StoreError> {
    let problem = match row.map(|row| codec::decode(COUNTERS, row)) {
        Some(Ok(counters)) => return Ok(counters),
        Some(Err(StoreError::Row { problem, .. })) => problem,
        Some(Err(error)) => return Err(error),
        None => RowProblem::Missing,
    };
    Err(damaged_file(
        path,
        &format!("row {COUNTERS} of table meta {problem}"),
    ))
}

fn open_database(
    options: &StoreOptions,
    path: &Path,
    backend: Box<dyn StorageBackend>,
    verify: bool,
    progress: Option<&OpenProgress>,
) -> Result<(Database, FaultRecorder), StoreError> {
    let faults = FaultRecorder::default();
    let backend = RecordingBackend::new(backend, faults.clone(), progress.cloned());
    // The verification of a small file is too short for progress reports.
    let is_large = fs::metadata(path).is_ok_and(|metadata| metadata.len() > PROGRESS_LOG_BYTES_MIN);
    let progress = progress.cloned().filter(|_| is_large);
    // redb may panic on damaged pages instead of returning an error.
    let opened = catch_panic(move || {
        redb::Builder::new()
            .set_cache_size(options.page_cache_bytes)
            .set_check_integrity_on_open(verify)
            .set_repair_callback(move |session| {
                if let Some(progress) = &progress {
                    progress.report_verified(session.progress());
                }
            })
            .create_with_backend(backend)
    });
    match opened {
        Ok(Ok(database)) => Ok((database, faults)),
        Ok(Err(error)) => Err(explain_open_error(path, error, &faults)),
        Err(_) => Err(damaged_file(path, "its pages are invalid")),
    }
}

fn explain_open_error(path: &Path, error: DatabaseError, faults: &FaultRecorder) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        DatabaseError::UpgradeRequired(version) => {
            not_a_data_file(path, &format!("redb file format {version}"))
        }
        DatabaseError::Storage(StorageError::Corrupted(reason)) => damaged_file(path, &reason),
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            not_a_data_file(path, &error.to_string())
        }
        other => faults.cause_of(damaged_file(path, &other.to_string())),
    }
}

/// Verifies the marker and the format version. Refuses a file that the options do not allow.
fn verify_marker(options: &StoreOptions, database: &Database) -> Result<(), StoreError> {
    let path = &options.path;
    let txn = database.begin_read()?;
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(not_a_data_file(path, "it has no flowgate marker")),
    };
    match meta.get("marker")? {
        Some(marker) if marker.value() == MARKER => {}
        _ => return Err(not_a_data_file(path, "it has no flowgate marker")),
    }
    let format = meta
        .get("format")?
        .and_then(|row| row.value().try_into().ok().map(u32::from_le_bytes));
    match format {
        Some(FORMAT_VERSION) => {}
        Some(found) => {
            return Err(StoreError::UnknownFormat {
                path: path.to_owned(),
                found,
                supported: FORMAT_VERSION,
            });
        }
        None => return Err(not_a_data_file(path, "it has no format version")),
    }
    if options.refuses_known_secret && meta.get(APP_SECRET)?.is_some() {
        return Err(StoreError::SecretMissing(path.clone()));
    }
    Ok(())
}

/// Creates the file. The file exists completely under its name, or not at all.
fn create_file(options: &StoreOptions, now: Timestamp) -> Result<(), StoreError> {
    let path = &options.path;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new_path = PathBuf::from(name);
    // A crash during an earlier creation left this file. No server has ever used it.
    match fs::remove_file(&new_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(file_error("remove", &new_path, &error));
        }
        _ => {}
    }
    let file =
        create_private_file(&new_path).map_err(|error| file_error("create", &new_path, &error))?;
    let backend =
        (options.backend_factory)(file).map_err(|error| file_error("create", &new_path, &error))?;
    let (database, _) = open_database(options, &new_path, backend, false, None)?;
    write_initial_rows(&database, now)?;
    close_database(database)?;
    fs::rename(&new_path, path).map_err(|error| file_error("rename to", path, &error))?;
    sync_folder(path)
}

/// Creates an empty file that only its owner may read, because the file will contain personal data
/// of customers.
fn create_private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes the marker, the format version and the counters.
fn write_initial_rows(database: &Database, now: Timestamp) -> Result<(), StoreError> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)
        .map_err(|error| StoreError::Engine(error.to_string()))?;
    {
        let mut tables = Tables::open(&txn)?;
        tables.meta.insert("marker", MARKER)?;
        tables
            .meta
            .insert("format", FORMAT_VERSION.to_le_bytes().as_slice())?;
        tables
            .meta
            .insert(COUNTERS, codec::encode(&Counters::new(now))?.as_slice())?;
    }
    Ok(txn.commit()?)
}

/// Records in the file that its server verifies signatures with the secret of the Meta app. The
/// record is permanent. Without it, a server that lost the secret would start with a development
/// secret and refuse all requests of Meta. No part of the secret is stored. See
/// [`StoreOptions::refuses_known_secret`].
#[derive(Debug)]
pub struct RecordAppSecret;

impl Transaction for RecordAppSecret {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        if ctx.tables.meta.get(APP_SECRET)?.is_none() {
            ctx.tables.meta.insert(APP_SECRET, b"known".as_slice())?;
            ctx.is_dirty = true;
        }
        Ok(())
    }
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| file_error("sync", folder, &error))
}

fn damaged_file(path: &Path, reason: &str) -> StoreError {
    StoreError::Damaged(format!("{}: {reason}", path.display()))
}

fn not_a_data_file(path: &Path, reason: &str) -> StoreError {
    StoreError::NotADataFile {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn file_error(operation: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::File {
        operation,
        path: path.to_owned(),
        error: error.to_string(),
    }
}

/// Creates the default storage backend, which reads and writes the file itself.
///
/// # Errors
/// The errors of redb's own backend.
pub(in crate::store) fn file_backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    match redb::backends::FileBackend::new(file) {
        Ok(backend) => Ok(Box::new(backend)),
        Err(error) => Err(io::Error::other(error)),
    }
}
