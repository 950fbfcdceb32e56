//! The file as a whole: made, opened, recognised.
//!
//! A new file is made under another name, closed, renamed, and its folder synced: redb refuses to open what a crash at
//! the first sync of a fresh file leaves behind. Every file has a marker row; one without it is never served, so that a
//! foreign file, or one that was "repaired" to nothing, is not taken for an empty store. What is in the tables is not
//! this file's business.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    AccessGuard, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageBackend, StorageError,
    TableError,
};

use crate::domain::time::Timestamp;
use crate::guard::guarded;

use super::batch::{Batch, Transaction};
use super::codec;
use super::counters::Counters;
use super::disk::{Faults, ShadowDisk, WatchedDisk};
use super::options::StoreOptions;
use super::shared::{Progress, Readable};
use super::tables::{META, Tables};
use super::{RowProblem, StoreError};

/// The format that this program writes, and the only one that it reads.
const FORMAT: u32 = 1;
/// Bytes of a file from which on it is told how far its verification has come: about a quarter of a second.
const TOLD_FROM: u64 = 256 << 20;
const MARKER: &[u8] = b"flowgate data file";
/// The row that every commit rewrites.
pub(super) const COUNTERS: &str = "counters";
/// The row of a file whose server knew the app's own secret.
const APP_SECRET: &str = "app_secret";

/// An open file.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) faults: Faults,
    pub(super) counters: Counters,
}

/// Opens the file, or makes it where it is missing and `options` say so; verifies it as `options` say.
///
/// # Errors
/// [`StoreError`] for a file that is missing, in use, foreign, too new or damaged.
pub(super) fn open(options: &StoreOptions, now: Timestamp, progress: &Progress) -> Result<Opened, StoreError> {
    let path = &options.path;
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(foreign(path, "a folder")),
        Ok(metadata) if metadata.len() == 0 => return Err(foreign(path, "an empty file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.serving => create(options, now)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::Missing(path.clone())),
        Err(error) => return Err(failed("look at", path, &error)),
    }
    let opened = open_existing(options, options.verify_always, progress)?;
    if opened.counters.clean || options.verify_always {
        return Ok(opened);
    }
    // The end was unclean and the file is unverified: once more, this time looking at every page.
    close(opened.database)?;
    open_existing(options, true, progress)
}

/// Closes the file, so that the next open finds nothing to repair.
///
/// # Errors
/// [`StoreError::Engine`] where redb could not write what belongs to a clean end.
pub(super) fn close(database: Database) -> Result<(), StoreError> {
    database.close().map_err(|error| StoreError::Engine(error.to_string()))
}

/// Opens the file only to read it. What redb writes for that (a file that was not closed is repaired) stays in memory.
/// `locks`: refuses a file that another process has open.
///
/// # Errors
/// As [`open`].
pub(super) fn look_at(options: &StoreOptions, locks: bool) -> Result<Readable, StoreError> {
    let path = &options.path;
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::Missing(path.clone())),
        opened => opened.map_err(|error| failed("open", path, &error))?,
    };
    if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Err(foreign(path, "an empty file"));
    }
    let disk = (options.medium)(file).and_then(|disk| ShadowDisk::of(disk, locks));
    let disk = Box::new(disk.map_err(|error| failed("open", path, &error))?);
    let verify = locks && options.verify_always;
    let (database, faults) = open_database(options, path, disk, verify, None)?;
    recognise(options, &database)?;
    Ok(Readable { database: Arc::new(database), faults, is_last: true })
}

fn open_existing(options: &StoreOptions, verify: bool, progress: &Progress) -> Result<Opened, StoreError> {
    let path = &options.path;
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| failed("open", path, &error))?;
    let disk = (options.medium)(file).map_err(|error| failed("open", path, &error))?;
    let (database, faults) = open_database(options, path, disk, verify, Some(progress))?;
    recognise(options, &database)?;
    let counters = read_counters(path, &database)?;
    Ok(Opened { database, faults, counters })
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
/// [`StoreError::Damaged`] if the row is missing or can't be read: without it, the store could give a number twice, and no
/// other row says which numbers were given.
pub(super) fn counters(path: &Path, row: Option<&[u8]>) -> Result<Counters, StoreError> {
    let problem = match row.map(|row| codec::decode(COUNTERS, row)) {
        Some(Ok(counters)) => return Ok(counters),
        Some(Err(StoreError::Row { problem, .. })) => problem,
        Some(Err(error)) => return Err(error),
        None => RowProblem::Missing,
    };
    Err(damaged(path, &format!("row {COUNTERS} of table meta {problem}")))
}

fn open_database(
    options: &StoreOptions,
    path: &Path,
    disk: Box<dyn StorageBackend>,
    verify: bool,
    progress: Option<&Progress>,
) -> Result<(Database, Faults), StoreError> {
    let faults = Faults::default();
    let disk = WatchedDisk::new(disk, faults.clone(), progress.cloned());
    // A small file is verified before anybody could read about it.
    let is_long = fs::metadata(path).is_ok_and(|metadata| metadata.len() > TOLD_FROM);
    let progress = progress.cloned().filter(|_| is_long);
    // On damaged pages redb may panic instead of returning an error.
    let opened = guarded(move || {
        redb::Builder::new()
            .set_cache_size(options.cache_bytes)
            .set_check_integrity_on_open(verify)
            .set_repair_callback(move |session| {
                if let Some(progress) = &progress {
                    progress.report(session.progress());
                }
            })
            .create_with_backend(disk)
    });
    match opened {
        Ok(Ok(database)) => Ok((database, faults)),
        Ok(Err(error)) => Err(open_error(path, error, &faults)),
        Err(_) => Err(damaged(path, "its pages make no sense")),
    }
}

fn open_error(path: &Path, error: DatabaseError, faults: &Faults) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        DatabaseError::UpgradeRequired(version) => foreign(path, &format!("redb file format {version}")),
        DatabaseError::Storage(StorageError::Corrupted(what)) => damaged(path, &what),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            foreign(path, &error.to_string())
        }
        other => faults.cause(damaged(path, &other.to_string())),
    }
}

/// Reads the marker and the format, and refuses a file that `options` don't fit.
fn recognise(options: &StoreOptions, database: &Database) -> Result<(), StoreError> {
    let path = &options.path;
    let txn = database.begin_read()?;
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(foreign(path, "it has no marker")),
    };
    match meta.get("marker")? {
        Some(marker) if marker.value() == MARKER => {}
        _ => return Err(foreign(path, "it has no marker")),
    }
    let format = meta.get("format")?.and_then(|row| row.value().try_into().ok().map(u32::from_le_bytes));
    match format {
        Some(FORMAT) => {}
        Some(found) => return Err(StoreError::UnknownFormat { path: path.to_owned(), found, known: FORMAT }),
        None => return Err(foreign(path, "it names no format")),
    }
    if options.refuses_known_secret && meta.get(APP_SECRET)?.is_some() {
        return Err(StoreError::SecretMissing(path.clone()));
    }
    Ok(())
}

/// Makes the file: whole under its name, or not there at all.
fn create(options: &StoreOptions, now: Timestamp) -> Result<(), StoreError> {
    let path = &options.path;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    // What a crash in here left behind was never served.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &fresh, &error)),
        _ => {}
    }
    let file = new_file(&fresh).map_err(|error| failed("make", &fresh, &error))?;
    let disk = (options.medium)(file).map_err(|error| failed("make", &fresh, &error))?;
    let (database, _) = open_database(options, &fresh, disk, false, None)?;
    fill(&database, now)?;
    close(database)?;
    fs::rename(&fresh, path).map_err(|error| failed("rename to", path, &error))?;
    sync_folder(path)
}

/// An empty file that only its owner may read: customers' data goes into it.
fn new_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Writes what makes a file ours.
fn fill(database: &Database, now: Timestamp) -> Result<(), StoreError> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate).map_err(|error| StoreError::Engine(error.to_string()))?;
    {
        let mut tables = Tables::open(&txn)?;
        tables.meta.insert("marker", MARKER)?;
        tables.meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        tables.meta.insert(COUNTERS, codec::encode(&Counters::new(now))?.as_slice())?;
    }
    Ok(txn.commit()?)
}

/// Notes in the file that its server checks signatures with the app's own secret. The note stays: without it, a server
/// that lost the secret would start on a development secret and refuse all that Meta sends. Nothing of the secret itself
/// is kept. See [`StoreOptions::refuses_known_secret`].
#[derive(Debug)]
pub struct NoteAppSecret;

impl Transaction for NoteAppSecret {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        if batch.tables.meta.get(APP_SECRET)?.is_none() {
            batch.tables.meta.insert(APP_SECRET, b"known".as_slice())?;
            batch.dirty = true;
        }
        Ok(())
    }
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed("sync", folder, &error))
}

fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged(format!("{}: {what}", path.display()))
}

fn foreign(path: &Path, what: &str) -> StoreError {
    StoreError::Foreign { path: path.to_owned(), what: what.to_owned() }
}

fn failed(operation: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::File { operation, path: path.to_owned(), error: error.to_string() }
}

/// The disk that `serve` uses: the file itself.
///
/// # Errors
/// Those of redb's own backend.
pub(super) fn file_backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    match redb::backends::FileBackend::new(file) {
        Ok(backend) => Ok(Box::new(backend)),
        Err(error) => Err(io::Error::other(error)),
    }
}
