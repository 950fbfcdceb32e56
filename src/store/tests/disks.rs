//! Disks for tests: one that remembers, one that fails when told to.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::clock::{Entropy, SeededEntropy};

/// One moment of a disk: what it held for sure, and what else it may have held.
#[derive(Debug)]
pub struct Image {
    pub bytes: Vec<u8>,
    /// Acknowledgements that had gone out by then.
    pub acknowledged: u64,
}

/// What a [`RecordingDisk`] saw, shared with the test.
#[derive(Debug, Default)]
pub struct Recording {
    pub images: Mutex<Vec<Image>>,
    pub acknowledged: AtomicU64,
}

/// A disk that keeps an image at every sync: one with all that was written, and one in which a power cut just before
/// the sync let only some of the writes through.
#[derive(Debug)]
pub struct RecordingDisk {
    file: FileBackend,
    recording: Arc<Recording>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    synced: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    chance: SeededEntropy,
}

impl RecordingDisk {
    pub fn open(file: File, recording: Arc<Recording>) -> io::Result<Box<dyn StorageBackend>> {
        use std::os::unix::fs::FileExt;
        let length = usize::try_from(file.metadata()?.len()).unwrap();
        let mut synced = vec![0; length];
        file.read_exact_at(&mut synced, 0)?;
        let state = State { synced, unsynced: Vec::new(), chance: SeededEntropy::new(7) };
        let file = FileBackend::new(file).unwrap();
        Ok(Box::new(Self { file, recording, state: Mutex::new(state) }))
    }

    fn keep(&self, bytes: Vec<u8>) {
        let acknowledged = self.recording.acknowledged.load(Ordering::SeqCst);
        self.recording.images.lock().unwrap().push(Image { bytes, acknowledged });
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
        state.unsynced.retain(|(offset, bytes)| offset + bytes.len() <= length);
        // A length is metadata that a sync of the data brings along; a cut may come before it.
        state.synced.resize(length, 0);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.state.lock().unwrap();
        let State { synced, unsynced, chance } = &mut *state;
        let mut torn = synced.clone();
        for (offset, bytes) in unsynced.drain(..) {
            if chance.fraction() < 0.5 {
                torn[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            synced[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        self.keep(torn);
        self.keep(synced.clone());
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.state.lock().unwrap();
        state.unsynced.push((usize::try_from(offset).unwrap(), data.to_vec()));
        self.file.write(offset, data)
    }
}

/// Faults that a test switches on and off.
#[derive(Debug, Default)]
pub struct Switches {
    pub no_space: AtomicBool,
    pub sync_fails: AtomicBool,
    /// A sync panics, as redb does on pages that make no sense.
    pub sync_panics: AtomicBool,
    /// What is read is zeros.
    pub zeros: AtomicBool,
    /// How often something was read.
    pub reads: AtomicU64,
}

/// A disk that fails as its switches say.
#[derive(Debug)]
pub struct FailingDisk {
    file: FileBackend,
    switches: Arc<Switches>,
}

impl FailingDisk {
    pub fn open(file: File, switches: Arc<Switches>) -> Box<dyn StorageBackend> {
        Box::new(Self { file: FileBackend::new(file).unwrap(), switches })
    }

    fn space(&self) -> Result<(), io::Error> {
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
        self.switches.reads.fetch_add(1, Ordering::SeqCst);
        self.file.read(offset, out)?;
        if self.switches.zeros.load(Ordering::SeqCst) {
            out.fill(0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.space()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if self.switches.sync_fails.load(Ordering::SeqCst) {
            // What the kernel says when it has lost writes, be it for want of space.
            return Err(io::ErrorKind::StorageFull.into());
        }
        assert!(!self.switches.sync_panics.load(Ordering::SeqCst), "as redb does");
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.space()?;
        self.file.write(offset, data)
    }
}
