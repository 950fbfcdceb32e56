//! What lies between redb and the disk: any `StorageBackend`, watched for its first fault.
//!
//! redb tells only that an operation failed. Which one decides what is right: a write that finds no space can be made
//! again once there is some, but after a failed sync the kernel may show bytes that the disk never got, and nothing the
//! process reads afterwards can be trusted.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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

/// Bytes of the pieces in which a [`ShadowDisk`] keeps what was written.
const PIECE: u64 = 4096;

/// A disk that is read as it is, and what was written over it, which stays in memory. redb writes also where it only opens a
/// file to read: with this, a file that needs a repair can be read without changing it, and while the disk is full.
#[derive(Debug)]
pub(super) struct ShadowDisk {
    disk: Box<dyn StorageBackend>,
    /// Whether redb locks the file. Otherwise somebody else in this process does.
    locks: bool,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// The bytes from here on are not the disk's any more.
    of_disk: u64,
    pieces: BTreeMap<u64, Box<[u8]>>,
}

impl ShadowDisk {
    /// `disk` as it is now.
    pub(super) fn of(disk: Box<dyn StorageBackend>, locks: bool) -> io::Result<Self> {
        let len = disk.len()?;
        Ok(Self { disk, locks, written: Mutex::new(Written { len, of_disk: len, pieces: BTreeMap::new() }) })
    }

    /// The piece that begins at `at`.
    fn piece(&self, written: &Written, at: u64) -> io::Result<Box<[u8]>> {
        if let Some(piece) = written.pieces.get(&at) {
            return Ok(piece.clone());
        }
        let mut piece = vec![0; usize::try_from(PIECE).unwrap_or_default()].into_boxed_slice();
        let there = usize::try_from(written.of_disk.saturating_sub(at).min(PIECE)).unwrap_or_default();
        if let Some(there) = piece.get_mut(..there) {
            self.disk.read(at, there)?;
        }
        Ok(piece)
    }

    /// What locks the file, where redb is to do that.
    fn locker(&self) -> Result<&dyn StorageBackend, BackendError> {
        if self.locks { Ok(&*self.disk) } else { Err(BackendError::Unsupported) }
    }

    /// Calls `each` with the pieces that `length` bytes from `offset` on lie in: where a piece begins, which of its bytes
    /// are meant, and which of the `length` bytes these are.
    fn pieces(
        offset: u64,
        length: usize,
        mut each: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            let begin = at - at % PIECE;
            let within = usize::try_from(at - begin).unwrap_or_default();
            let size = usize::try_from(PIECE).unwrap_or_default();
            let count = (size - within).min(length - done);
            each(begin, within..within + count, done..done + count)?;
            done += count;
        }
        Ok(())
    }
}

fn beyond() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl StorageBackend for ShadowDisk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.written.lock().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        Self::pieces(offset, out.len(), |begin, within, of_out| {
            let piece = self.piece(&written, begin)?;
            let (from, to) = (piece.get(within).ok_or_else(beyond)?, out.get_mut(of_out).ok_or_else(beyond)?);
            to.copy_from_slice(from);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.of_disk = written.of_disk.min(len);
        written.pieces.retain(|at, _| *at < len);
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        Self::pieces(offset, data.len(), |begin, within, of_data| {
            let mut piece = self.piece(&written, begin)?;
            let (to, from) = (piece.get_mut(within).ok_or_else(beyond)?, data.get(of_data).ok_or_else(beyond)?);
            to.copy_from_slice(from);
            written.pieces.insert(begin, piece);
            Ok(())
        })
    }

    fn close(&self) -> Result<(), io::Error> {
        self.disk.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locker()?.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locker()?.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locker()?.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locker()?.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locker()?.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locker()?.query_lock_range(start, end)
    }
}
