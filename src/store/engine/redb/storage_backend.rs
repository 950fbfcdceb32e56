//! Storage backends between redb and the disk: one records the first disk fault, one stores all
//! writes in memory.
//!
//! redb reports only that an operation failed. The kind of the operation decides the reaction. A
//! write without space can be repeated once there is space. After a failed sync, the kernel may
//! show bytes that never reached the disk. Then the process can't trust any byte that it reads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::{Bound, Range};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use redb::{BackendError, StorageBackend};

use crate::store::StoreError;

/// Observer of the opening of a database.
pub trait OpenObserver: std::fmt::Debug + Send + Sync {
    /// Is called when no other process has the file open.
    fn on_locked(&self);
    /// Is called with the verified fraction of the file, from 0 to 1.
    fn on_verified(&self, fraction: f64);
}

/// Function that turns an open file into the storage backend of redb. Tests use recording and
/// failing backends.
pub type BackendFactory = dyn Fn(File) -> io::Result<Box<dyn StorageBackend>> + Send + Sync;

/// Creates the default storage backend, which reads and writes the file itself.
///
/// # Errors
/// The errors of redb's own backend.
pub fn file_backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    let backend = redb::backends::FileBackend::new(file).map_err(io::Error::other)?;
    Ok(Box::new(backend))
}

/// Kind of a disk fault, as far as the reaction depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A write or an extension of the file found no space. The writer opens the file again and
    /// continues.
    NoSpace,
    /// Any other fault: the disk can't be trusted.
    Untrusted,
}

/// Recorder of the first fault since the file was opened.
#[derive(Clone, Debug, Default)]
pub struct FaultRecorder(Arc<OnceLock<(DiskFault, String)>>);

impl FaultRecorder {
    /// Returns the cause of a failed engine operation: the first fault, or `error` from the engine
    /// if no fault was recorded.
    pub fn cause_of(&self, error: StoreError) -> StoreError {
        self.cause().unwrap_or(error)
    }

    /// Returns the first fault as an error.
    pub fn cause(&self) -> Option<StoreError> {
        self.0.get().map(|(fault, reason)| match fault {
            DiskFault::NoSpace => StoreError::NoSpace,
            DiskFault::Untrusted => StoreError::Untrusted(reason.clone()),
        })
    }

    fn record(&self, operation: &str, error: &io::Error, can_be_no_space: bool) {
        let fault = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded if can_be_no_space => {
                DiskFault::NoSpace
            }
            _ => DiskFault::Untrusted,
        };
        // Only the first fault shows the cause. Later faults are consequences.
        let _ = self.0.set((fault, format!("{operation}: {error}")));
    }
}

/// A backend that records its faults, and reports when the file is locked.
#[derive(Debug)]
pub struct RecordingBackend {
    pub(super) backend: Box<dyn StorageBackend>,
    pub(super) faults: FaultRecorder,
    pub(super) observer: Option<Arc<dyn OpenObserver>>,
}

impl StorageBackend for RecordingBackend {
    fn len(&self) -> Result<u64, io::Error> {
        self.backend
            .len()
            .inspect_err(|error| self.faults.record("length", error, false))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        // redb first locks the file and then reads the header at offset 0. So a read at offset 0
        // shows that the file is locked.
        if let Some(observer) = self.observer.as_ref().filter(|_| offset == 0) {
            observer.on_locked();
        }
        self.backend
            .read(offset, out)
            .inspect_err(|error| self.faults.record("read", error, false))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.backend
            .set_len(len)
            .inspect_err(|error| self.faults.record("set length", error, true))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.backend
            .sync_data()
            .inspect_err(|error| self.faults.record("sync", error, false))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.backend
            .write(offset, data)
            .inspect_err(|error| self.faults.record("write", error, true))
    }

    fn close(&self) -> Result<(), io::Error> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}

/// Size of the blocks in which an [`OverlayBackend`] stores written bytes.
const BLOCK_BYTES: u64 = 4096;
/// The same size in memory.
const BLOCK_SIZE: usize = 4096;

/// A backend that reads from the disk and stores all writes in memory. redb also writes when it
/// opens a file only to read. With this backend, a file that needs a repair can be read without a
/// change of the file, and while the disk is full.
#[derive(Debug)]
pub struct OverlayBackend {
    backend: Box<dyn StorageBackend>,
    /// `true` if redb locks the file. `false` if another open handle of this process has locked the
    /// file.
    locks_file: bool,
    overlay: Mutex<Overlay>,
}

#[derive(Debug)]
struct Overlay {
    len: u64,
    /// Length of the part that still comes from the disk, in bytes. Later bytes are in `blocks` or
    /// zero.
    backend_len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl OverlayBackend {
    /// Creates an overlay of the given backend in its current state.
    pub fn new(backend: Box<dyn StorageBackend>, locks_file: bool) -> io::Result<Self> {
        let len = backend.len()?;
        Ok(Self {
            backend,
            locks_file,
            overlay: Mutex::new(Overlay {
                len,
                backend_len: len,
                blocks: BTreeMap::new(),
            }),
        })
    }

    /// Reads the block that begins at offset `at`.
    fn read_block(&self, overlay: &Overlay, at: u64) -> io::Result<Box<[u8]>> {
        if let Some(block) = overlay.blocks.get(&at) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK_SIZE].into_boxed_slice();
        let backend_bytes = usize::try_from(overlay.backend_len.saturating_sub(at))
            .map_or(BLOCK_SIZE, |bytes| bytes.min(BLOCK_SIZE));
        if let Some(backend_bytes) = block.get_mut(..backend_bytes) {
            self.backend.read(at, backend_bytes)?;
        }
        Ok(block)
    }

    /// Returns the backend that locks the file, if redb must lock the file.
    fn locking_backend(&self) -> Result<&dyn StorageBackend, BackendError> {
        if self.locks_file {
            Ok(&*self.backend)
        } else {
            Err(BackendError::Unsupported)
        }
    }

    /// Calls `apply` for each block that overlaps the `length` bytes from `offset` on. The
    /// arguments of `apply` are the offset of the block, the range within the block, and the range
    /// within the `length` bytes.
    fn for_each_block(
        offset: u64,
        length: usize,
        mut apply: impl FnMut(u64, Range<usize>, Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            let begin = at - at % BLOCK_BYTES;
            let within = usize::try_from(at - begin).unwrap_or_default();
            let count = (BLOCK_SIZE - within).min(length - done);
            apply(begin, within..within + count, done..done + count)?;
            done += count;
        }
        Ok(())
    }
}

fn unexpected_eof() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl StorageBackend for OverlayBackend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.overlay.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let overlay = self.overlay.lock();
        Self::for_each_block(offset, out.len(), |begin, within, of_out| {
            let block = self.read_block(&overlay, begin)?;
            let (from, to) = (
                block.get(within).ok_or_else(unexpected_eof)?,
                out.get_mut(of_out).ok_or_else(unexpected_eof)?,
            );
            to.copy_from_slice(from);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut overlay = self.overlay.lock();
        overlay.backend_len = overlay.backend_len.min(len);
        overlay.blocks.retain(|at, _| *at < len);
        overlay.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut overlay = self.overlay.lock();
        Self::for_each_block(offset, data.len(), |begin, within, of_data| {
            let mut block = self.read_block(&overlay, begin)?;
            let (to, from) = (
                block.get_mut(within).ok_or_else(unexpected_eof)?,
                data.get(of_data).ok_or_else(unexpected_eof)?,
            );
            to.copy_from_slice(from);
            overlay.blocks.insert(begin, block);
            Ok(())
        })
    }

    fn close(&self) -> Result<(), io::Error> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locking_backend()?.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.locking_backend()?.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking_backend()?.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking_backend()?.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking_backend()?.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locking_backend()?.query_lock_range(start, end)
    }
}
