//! What lies between redb and the disk: any `StorageBackend`, watched for its first fault.
//!
//! redb tells only that an operation failed. Which one decides what is right: a write that finds no space can be made
//! again once there is some, but after a failed sync the kernel may show bytes that the disk never got, and nothing the
//! process reads afterwards can be trusted.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use redb::{BackendError, StorageBackend};

use super::StoreError;
use super::shared::Progress;

/// Why a disk operation failed, as far as it decides what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A write or an extension found no space: open again and go on.
    NoSpace,
    /// Anything else: the disk can't be trusted.
    Untrusted,
}

/// The first fault since the file was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<OnceLock<(Fault, String)>>);

impl Faults {
    /// What an operation of the engine failed from: the first fault, if there was one, else `error` as the engine has it.
    pub(super) fn cause(&self, error: StoreError) -> StoreError {
        match self.0.get() {
            Some((Fault::NoSpace, _)) => StoreError::NoSpace,
            Some((Fault::Untrusted, what)) => StoreError::Untrusted(what.clone()),
            None => error,
        }
    }

    fn note(&self, operation: &str, error: &io::Error, may_be_space: bool) {
        let no_space =
            may_be_space && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let fault = if no_space { Fault::NoSpace } else { Fault::Untrusted };
        // Only the first fault tells the cause; what follows are its consequences.
        let _ = self.0.set((fault, format!("{operation}: {error}")));
    }
}

/// A backend whose faults are noted, and that tells once the file is locked.
#[derive(Debug)]
pub(super) struct WatchedDisk {
    disk: Box<dyn StorageBackend>,
    faults: Faults,
    progress: Option<Progress>,
}

impl WatchedDisk {
    pub(super) fn new(disk: Box<dyn StorageBackend>, faults: Faults, progress: Option<Progress>) -> Self {
        Self { disk, faults, progress }
    }
}

impl StorageBackend for WatchedDisk {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.len().inspect_err(|error| self.faults.note("length", error, false))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        // redb takes its locks before it reads anything. The header is the first that it reads.
        if let Some(progress) = self.progress.as_ref().filter(|_| offset == 0) {
            progress.hold();
        }
        self.disk.read(offset, out).inspect_err(|error| self.faults.note("read", error, false))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.disk.set_len(len).inspect_err(|error| self.faults.note("set length", error, true))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.disk.sync_data().inspect_err(|error| self.faults.note("sync", error, false))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.disk.write(offset, data).inspect_err(|error| self.faults.note("write", error, true))
    }

    fn close(&self) -> Result<(), io::Error> {
        self.disk.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.query_lock_range(start, end)
    }
}
