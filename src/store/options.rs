//! What the store needs to be told when it starts.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redb::StorageBackend;

use crate::current::Current;
use crate::domain::routes::Routes;
use crate::domain::time::Millis;

use super::format;

/// Turns an open file into what redb reads and writes. Tests put recording and failing disks here.
type Medium = dyn Fn(File) -> io::Result<Box<dyn StorageBackend>> + Send + Sync;

/// How the store is to run.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct StoreOptions {
    /// The data file.
    pub path: PathBuf,
    /// Whether this process serves: it makes a missing file, and its end is clean only if the store was closed. The
    /// command line, on a stopped server's file, does neither.
    pub serving: bool,
    /// Whether the file is only read: nothing of it is written, and nothing can be changed. `serving` counts for nothing then.
    pub read_only: bool,
    /// Changes from outside that may wait for the writer, 1 or more.
    pub intake: usize,
    /// Changes in one commit at the most, 1 or more.
    pub batch: usize,
    /// Memory for pages of the file, in bytes.
    pub cache_bytes: usize,
    /// Idempotency keys in memory at the most. Older ones stay on disk.
    pub keys_max: usize,
    /// Encrypted requests at the most of which it is remembered that they were answered, 1 or more. Each takes
    /// about 65 bytes of the file.
    pub answered_max: u64,
    /// How long a form's key is remembered.
    pub token_ttl: Millis,
    /// How long a webhook message's key is remembered.
    pub message_ttl: Millis,
    /// Free space on the disk, in bytes, below which no new submission is taken.
    pub free_space_min: u64,
    /// Jobs that may be under way at once: after an unclean end, so many are suspects.
    pub jobs_out_max: usize,
    /// Whether every start verifies the whole file, or only one after an unclean end.
    pub verify_always: bool,
    /// Time to wait for another process to close the file, before [`StoreError::InUse`](super::StoreError::InUse).
    pub lock_timeout: Duration,
    /// Refuses a file whose server knew the app's own secret. See [`NoteAppSecret`](super::NoteAppSecret).
    pub refuses_known_secret: bool,
    /// Who is told of what: changes as the config does.
    pub routes: Current<Routes>,
    pub(super) medium: Arc<Medium>,
}

impl StoreOptions {
    /// The shipped defaults, for the file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            path,
            serving: true,
            read_only: false,
            intake: 4096,
            batch: 256,
            cache_bytes: 64 << 20,
            keys_max: 10_000_000,
            answered_max: 4_000_000,
            token_ttl: Millis::from_secs(DAY),
            message_ttl: Millis::from_secs(8 * DAY),
            free_space_min: 256 << 20,
            jobs_out_max: 1024,
            verify_always: true,
            lock_timeout: Duration::ZERO,
            refuses_known_secret: false,
            routes: Current::new(Routes::default()),
            medium: Arc::new(format::file_backend),
        }
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions").field("path", &self.path).finish_non_exhaustive()
    }
}
