//! Storage backends for tests: one records disk images, one fails on request.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{io, thread};

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::clock::{Entropy, SeededEntropy};
use crate::domain::time::Millis;
use crate::store::{Store, StoreOptions};

use super::support::StoreBench;

/// State of a disk at one moment, as a power cut could leave it.
#[derive(Debug)]
pub struct DiskImage {
    pub bytes: Vec<u8>,
    /// Number of acknowledgements sent before this moment.
    pub acknowledged: u64,
}

/// Recordings of a [`RecordingDisk`], shared with the test.
#[derive(Debug, Default)]
pub struct DiskRecording {
    pub images: Mutex<Vec<DiskImage>>,
    pub acknowledged: AtomicU64,
}

/// Storage backend that records two disk images at every sync.
///
/// The complete image has all writes. The torn image has only some of the latest writes, as after a
/// power cut just before the sync.
#[derive(Debug)]
pub struct RecordingDisk {
    file: FileBackend,
    recording: Arc<DiskRecording>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    synced: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    chance: SeededEntropy,
}

impl RecordingDisk {
    pub fn open(file: File, recording: Arc<DiskRecording>) -> io::Result<Box<dyn StorageBackend>> {
        use std::os::unix::fs::FileExt;
        let length = usize::try_from(file.metadata()?.len()).unwrap();
        let mut synced = vec![0; length];
        file.read_exact_at(&mut synced, 0)?;
        let state = State {
            synced,
            unsynced: Vec::new(),
            chance: SeededEntropy::new(7),
        };
        let file = FileBackend::new(file).unwrap();
        Ok(Box::new(Self {
            file,
            recording,
            state: Mutex::new(state),
        }))
    }

    fn record_image(&self, bytes: Vec<u8>) {
        let acknowledged = self.recording.acknowledged.load(Ordering::SeqCst);
        self.recording.images.lock().unwrap().push(DiskImage {
            bytes,
            acknowledged,
        });
    }
}

impl StorageBackend for RecordingDisk {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut state = self.state.lock().unwrap();
        let length = usize::try_from(len).unwrap();
        state
            .unsynced
            .retain(|(offset, bytes)| offset + bytes.len() <= length);
        // The length is metadata that a sync of the data also persists. A power cut may come before
        // that.
        state.synced.resize(length, 0);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.state.lock().unwrap();
        let State {
            synced,
            unsynced,
            chance,
        } = &mut *state;
        let mut torn = synced.clone();
        for (offset, bytes) in unsynced.drain(..) {
            if chance.fraction() < 0.5 {
                torn[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            synced[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        self.record_image(torn);
        self.record_image(synced.clone());
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.state.lock().unwrap();
        state
            .unsynced
            .push((usize::try_from(offset).unwrap(), data.to_vec()));
        self.file.write(offset, data)
    }
}

/// Faults that a test switches on and off.
#[derive(Debug, Default)]
pub struct FaultSwitches {
    pub no_space: AtomicBool,
    pub sync_fails: AtomicBool,
    /// `true` if a sync panics, as redb does on invalid pages.
    pub sync_panics: AtomicBool,
    /// `true` if each read returns zeros.
    pub reads_zeros: AtomicBool,
    /// Number of reads so far.
    pub read_count: AtomicU64,
}

impl FaultSwitches {
    /// Opens the file on a [`FailingDisk`] with these switches.
    pub fn install(self: &Arc<Self>, options: &mut StoreOptions) {
        let switches = Arc::clone(self);
        options.backend_factory =
            Arc::new(move |file| Ok(FailingDisk::open(file, Arc::clone(&switches))));
    }
}

/// Storage backend with the faults of its switches.
#[derive(Debug)]
pub struct FailingDisk {
    file: FileBackend,
    switches: Arc<FaultSwitches>,
}

impl FailingDisk {
    pub fn open(file: File, switches: Arc<FaultSwitches>) -> Box<dyn StorageBackend> {
        Box::new(Self {
            file: FileBackend::new(file).unwrap(),
            switches,
        })
    }

    fn check_space(&self) -> Result<(), io::Error> {
        if self.switches.no_space.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.switches.read_count.fetch_add(1, Ordering::SeqCst);
        self.file.read(offset, out)?;
        if self.switches.reads_zeros.load(Ordering::SeqCst) {
            out.fill(0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check_space()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if self.switches.sync_fails.load(Ordering::SeqCst) {
            // The kernel reports lost writes with the error of a sync, and this error may be "no
            // space".
            return Err(io::ErrorKind::StorageFull.into());
        }
        assert!(
            !self.switches.sync_panics.load(Ordering::SeqCst),
            "as redb does"
        );
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check_space()?;
        self.file.write(offset, data)
    }
}

impl StoreBench {
    pub fn on_failing_disk() -> (Self, Arc<FaultSwitches>) {
        let switches = Arc::new(FaultSwitches::default());
        let bench = Self::with_options(|options| switches.install(options));
        (bench, switches)
    }

    /// Waits until `condition` holds. Meanwhile the clock of the store advances.
    pub fn wait_until(&self, condition: impl Fn(&Store) -> bool) {
        for _ in 0..2000 {
            if condition(&self.store) {
                return;
            }
            self.clock.advance(Millis::new(50));
            thread::park_timeout(Duration::from_millis(5));
        }
        panic!("still {:?}", self.store.health());
    }
}
