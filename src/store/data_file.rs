//! Creates, opens, verifies and closes the data file as a whole.
//!
//! A new file is created under another name, closed and renamed, and its folder is synced. Without
//! this, a crash at the first sync of a new file could leave a file that the engine refuses to
//! open.
//!
//! Every file has a marker row, and a file without a marker is never used. Without this, a file of
//! another program, or a file whose repair lost all data, could pass for an empty store.
//!
//! See [`super::rows::schema`] for the content of the tables.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::time::Timestamp;

use super::engine::{
    self, Database, OpenError, OpenObserver, OverlayBackend, ReadTxn, Rows, StorageBackend,
};
use super::options::StoreOptions;
use super::rows::change_log::{ChangeLogState, read_header};
use super::rows::counters::Counters;
use super::rows::schema::{CHANGE_LOG, META, META_BYTES, Tables};
use super::state::OpenProgress;
use super::{StoreError, StoreResult};

/// Format version that this program writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Minimum file size, in bytes, from which on the progress of the verification is logged. The
/// verification of this size lasts about a quarter of a second.
const PROGRESS_LOG_BYTES_MIN: u64 = 256 << 20;
const MARKER: &[u8] = b"flowgate data file";
const MARKER_KEY: &str = "marker";
const FORMAT_KEY: &str = "format";
/// Key of the row that every commit rewrites.
pub(super) const COUNTERS: &str = "counters";
/// Key of the row that marks a file whose server had the secret of the Meta app.
pub(super) const APP_SECRET: &str = "app_secret";
/// Key of the row with the problems of the backups that have caused an alert.
pub(super) const BACKUP_ALERTS: &str = "backup_alerts";

/// Open data file with its counters.
pub(super) struct OpenedFile {
    pub(super) database: Database,
    pub(super) counters: Counters,
}

/// Opens the file. Creates a missing file if the process is a server. Verifies the file as the
/// options require.
///
/// # Errors
/// [`StoreError`] for a file that is missing, in use, not a data file, of an unknown format, or
/// damaged.
pub(super) fn open_or_create(
    options: &StoreOptions,
    now: Timestamp,
    observer: &Arc<dyn OpenObserver>,
) -> StoreResult<OpenedFile> {
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
    let opened = open_existing(options, options.verify_always, observer)?;
    refuse_following(path, &opened.database)?;
    if opened.counters.is_clean || options.verify_always {
        return Ok(opened);
    }
    // The shutdown was unclean and the file is unverified. The file is opened again, and every page
    // is verified.
    opened.database.close()?;
    open_existing(options, true, observer)
}

/// Checks that this program reads the format of the file. Neither verifies nor changes the file.
///
/// # Errors
/// [`StoreError`] for a file that is missing, in use, not a data file, of an unknown format, or
/// damaged.
pub fn check_format(options: &StoreOptions) -> StoreResult<()> {
    let options = StoreOptions {
        verify_always: false,
        ..options.clone()
    };
    open_read_only(&options, true).map(drop)
}

/// Opens the file only to read it. The engine may write during the open, to repair a file that was
/// not closed. These writes stay in memory. If `locks` is `true`, returns an error if another
/// process has the file open.
///
/// # Errors
/// As [`open_or_create`].
pub(super) fn open_read_only(options: &StoreOptions, locks: bool) -> StoreResult<Database> {
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
    let database = open_database(options, path, backend, locks && options.verify_always, None)?;
    verify_marker(options, &database)?;
    Ok(database)
}

fn open_existing(
    options: &StoreOptions,
    verifies: bool,
    observer: &Arc<dyn OpenObserver>,
) -> StoreResult<OpenedFile> {
    let path = &options.path;
    let file = OpenOptions::new().read(true).write(true).open(path);
    let backend = file
        .and_then(|file| (options.backend_factory)(file))
        .map_err(|error| file_error("open", path, &error))?;
    let database = open_database(options, path, backend, verifies, Some(observer))?;
    verify_marker(options, &database)?;
    let counters = read_counters(path, &database.begin_read()?)?;
    Ok(OpenedFile { database, counters })
}

/// Refuses a file that follows a backup. Only the follower may change it.
fn refuse_following(path: &Path, database: &Database) -> StoreResult<()> {
    let txn = database.begin_read()?;
    if !txn.has_table(CHANGE_LOG)? {
        return Ok(());
    }
    match read_header(&txn.open(CHANGE_LOG)?) {
        Ok(Some(header)) if matches!(header.state, ChangeLogState::Following { .. }) => {
            Err(StoreError::Following(path.to_owned()))
        }
        Err(error) if !error.affects_one_row() => Err(error),
        _ => Ok(()),
    }
}

/// Returns the counters of the file at `path`.
///
/// # Errors
/// [`StoreError::Damaged`] if the row is missing or unreadable. Without the row, the store could
/// assign an ID twice, because no other row records the assigned IDs.
pub(super) fn read_counters(path: &Path, txn: &ReadTxn) -> StoreResult<Counters> {
    match txn.open(META)?.require(COUNTERS) {
        Err(StoreError::Row { problem, .. }) => {
            let reason = format!("row {COUNTERS} of table meta {problem}");
            Err(damaged_file(path, &reason))
        }
        counters => counters,
    }
}

fn open_database(
    options: &StoreOptions,
    path: &Path,
    backend: Box<dyn StorageBackend>,
    verifies: bool,
    observer: Option<&Arc<dyn OpenObserver>>,
) -> StoreResult<Database> {
    // The verification of a small file is too short for progress reports.
    let is_large = fs::metadata(path).is_ok_and(|metadata| metadata.len() > PROGRESS_LOG_BYTES_MIN);
    let options = engine::OpenOptions {
        page_cache_bytes: options.page_cache_bytes,
        verifies,
        observer: observer.cloned(),
        reports_progress: is_large,
    };
    Database::open(backend, options).map_err(|error| match error {
        OpenError::InUse => StoreError::InUse(path.to_owned()),
        OpenError::NotADatabase(reason) => not_a_data_file(path, &reason),
        OpenError::Damaged(reason) => damaged_file(path, &reason),
        OpenError::Disk(error) => error,
    })
}

/// Verifies the marker and the format version. Refuses a file that the options do not allow.
fn verify_marker(options: &StoreOptions, database: &Database) -> StoreResult<()> {
    let path = &options.path;
    let txn = database.begin_read()?;
    if !txn.has_table(META_BYTES)? {
        return Err(not_a_data_file(path, "it has no flowgate marker"));
    }
    let meta = txn.open(META_BYTES)?;
    let marker = meta.get(MARKER_KEY)?;
    if marker.is_none_or(|marker| *marker.0 != *MARKER) {
        return Err(not_a_data_file(path, "it has no flowgate marker"));
    }
    let format = meta
        .get(FORMAT_KEY)?
        .and_then(|row| (*row.0).try_into().ok().map(u32::from_le_bytes));
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
    if options.refuses_known_secret && meta.contains(APP_SECRET)? {
        return Err(StoreError::SecretMissing(path.clone()));
    }
    Ok(())
}

/// Creates the file. The file exists completely under its name, or not at all.
fn create_file(options: &StoreOptions, now: Timestamp) -> StoreResult<()> {
    let path = &options.path;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new_path = PathBuf::from(name);
    create_empty(options, &new_path, now)?.close()?;
    fs::rename(&new_path, path).map_err(|error| file_error("rename to", path, &error))?;
    sync_folder(path)
}

/// Checks that no process has the file of the options open. A file that can't be opened for
/// another reason is not in use.
///
/// # Errors
/// [`StoreError::InUse`]
pub fn require_unused(options: &StoreOptions) -> StoreResult<()> {
    let options = StoreOptions {
        verify_always: false,
        refuses_known_secret: false,
        ..options.clone()
    };
    match open_read_only(&options, true) {
        Err(error @ StoreError::InUse(_)) => Err(error),
        _ => Ok(()),
    }
}

/// Creates an empty file at the path of the options, for a copy of the data.
pub(super) fn create_at(options: &StoreOptions, now: Timestamp) -> StoreResult<Database> {
    create_empty(options, &options.path, now)
}

/// Opens an existing file to change it without a writer.
pub(super) fn open_for_changes(options: &StoreOptions) -> StoreResult<Database> {
    let observer: Arc<dyn OpenObserver> = Arc::new(OpenProgress::new(
        Arc::default(),
        Arc::clone(&options.on_progress),
    ));
    Ok(open_existing(options, options.verify_always, &observer)?.database)
}

fn create_empty(options: &StoreOptions, path: &Path, now: Timestamp) -> StoreResult<Database> {
    // A crash during an earlier creation left this file. No server has ever used it.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(file_error("remove", path, &error));
    }
    let file = create_private_file(path);
    let backend = file
        .and_then(|file| (options.backend_factory)(file))
        .map_err(|error| file_error("create", path, &error))?;
    let database = open_database(options, path, backend, false, None)?;
    write_initial_rows(&database, now)?;
    Ok(database)
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
fn write_initial_rows(database: &Database, now: Timestamp) -> StoreResult<()> {
    let txn = database.begin_write()?;
    {
        let mut tables = Tables::open(&txn)?;
        tables.meta.put_bytes(MARKER_KEY, MARKER)?;
        let format = FORMAT_VERSION.to_le_bytes();
        tables.meta.put_bytes(FORMAT_KEY, &format)?;
        tables.meta.put(COUNTERS, &Counters::new(now))?;
    }
    txn.commit()
}

pub fn sync_folder(path: &Path) -> StoreResult<()> {
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

pub(super) fn file_error(operation: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::File {
        operation,
        path: path.to_owned(),
        error: error.to_string(),
    }
}
