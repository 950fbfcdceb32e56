//! The handle that everybody else holds: hand over a change, take a snapshot, close.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::domain::ids::JobId;
use crate::guard::guarded;

use super::StoreError;
use super::batch::{Timing, Transaction};
use super::lanes::Lanes;
use super::options::StoreOptions;
use super::read::Snapshot;
use super::request::{Request, Waiting};
use super::shared::{Health, Shared, WriterFigures};
use super::writer::Writer;

/// Changes from workers and admins that may wait for the writer.
const INSIDE: usize = 4096;

/// How soon a task asks again whether the writer's queue has room.
const ROOM: Duration = Duration::from_millis(2);

/// Why a submission was not even queued. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// As many changes wait as may.
    #[error("too many submissions are waiting")]
    Full,
    /// The file is being opened, or the disk is full, or the store has ended.
    #[error("the data file is not open right now")]
    NotOpen,
    /// The disk is nearly full.
    #[error("the disk is nearly full")]
    LowSpace,
}

/// A handle to the store. Cheap to clone; the file is closed by [`Store::close`], or when the last handle is gone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    options: Arc<StoreOptions>,
    intake: Sender<Box<dyn Request>>,
    inside: Sender<Box<dyn Request>>,
    stop: Sender<()>,
    ended: Receiver<()>,
}

impl Store {
    /// Starts the writer thread, which opens the file. Use [`Store::wait_open`] to know how that went.
    ///
    /// # Errors
    /// [`StoreError::File`] where the system gives no thread.
    pub fn start(options: StoreOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::new());
        let (intake, from_outside) = bounded(options.intake.max(1));
        let (inside, from_inside) = bounded(INSIDE);
        let (stop, told_to_stop) = bounded(1);
        let (end, ended) = bounded(1);
        let writer = Writer {
            options: options.clone(),
            clock: Arc::clone(&clock),
            shared: Arc::clone(&shared),
            lanes: Lanes { intake: from_outside, inside: from_inside, stop: told_to_stop, batch: options.batch },
            expiry: Cell::default(),
        };
        let path = options.path.clone();
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                writer.run();
                drop(end);
            })
            .map_err(|error| StoreError::File { operation: "start the writer of", path, error: error.to_string() })?;
        Ok(Self { shared, clock, options: Arc::new(options), intake, inside, stop, ended })
    }

    /// Waits until no other process has the file. From then on this process alone may answer for the file.
    ///
    /// # Errors
    /// [`StoreError::InUse`] after [`StoreOptions::lock_timeout`], or why the file will not be opened.
    pub fn wait_held(&self) -> Result<(), StoreError> {
        self.shared.wait_held()
    }

    /// Percent of the file that were verified at the start; 0 for a small file.
    #[must_use]
    pub fn verified_percent(&self) -> u8 {
        self.shared.verified_percent()
    }

    /// Waits until the file is open.
    ///
    /// # Errors
    /// Why it will not be.
    pub fn wait_open(&self) -> Result<(), StoreError> {
        self.shared.wait_open()
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Hands a submission to the writer without ever waiting. `reply` runs on the writer's thread, after the commit: it
    /// must be quick. It is dropped, not called, if the store ends before it came to it.
    ///
    /// # Errors
    /// [`Busy`]: nothing was queued, and `reply` will not be called.
    pub fn offer<T: Transaction>(
        &self,
        transaction: T,
        reply: impl FnOnce(Result<T::Outcome, StoreError>, Timing) + Send + 'static,
    ) -> Result<(), Busy> {
        match self.shared.health() {
            Health::Ready => {}
            Health::LowSpace => return Err(Busy::LowSpace),
            _ => return Err(Busy::NotOpen),
        }
        let request = Waiting::boxed(transaction, reply, self.clock.elapsed());
        self.intake.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => Busy::Full,
            TrySendError::Disconnected(_) => Busy::NotOpen,
        })
    }

    /// Hands a change from inside to the writer, waiting for a place in its queue, not for the commit. `reply` as in
    /// [`Store::offer`]; it is dropped where the store has ended.
    pub fn send<T: Transaction>(
        &self,
        transaction: T,
        reply: impl FnOnce(Result<T::Outcome, StoreError>, Timing) + Send + 'static,
    ) {
        let request = Waiting::boxed(transaction, reply, self.clock.elapsed());
        if let Err(returned) = self.inside.send(request) {
            returned.into_inner().fail(StoreError::NotOpen);
        }
    }

    /// Makes a change and waits until it is on disk.
    ///
    /// # Errors
    /// Why it is not.
    pub fn ask<T: Transaction>(&self, transaction: T) -> Result<T::Outcome, StoreError> {
        let (answer, answered) = bounded(1);
        self.send(transaction, move |result, _| {
            let _ = answer.send(result);
        });
        answered.recv().unwrap_or(Err(StoreError::NotOpen))
    }

    /// As [`Store::ask`], for tasks: they wait without holding up a thread. Where the task ends meanwhile, what is on disk stays
    /// there.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn commit<T: Transaction>(&self, transaction: T) -> Result<T::Outcome, StoreError> {
        let (answer, answered) = oneshot::channel();
        let reply = move |result, _| {
            let _ = answer.send(result);
        };
        let mut request = Waiting::boxed(transaction, reply, self.clock.elapsed());
        while let Err(refused) = self.inside.try_send(request) {
            match refused {
                TrySendError::Full(returned) => request = returned,
                TrySendError::Disconnected(_) => return Err(StoreError::NotOpen),
            }
            sleep(ROOM).await;
        }
        answered.await.unwrap_or(Err(StoreError::NotOpen))
    }

    /// The file as of the last commit. Keep it for moments only: while it lives, no page of it can be used again. A page
    /// that makes no sense, or a disk that can't be read, ends the store: see [`Store::failure`].
    ///
    /// # Errors
    /// [`StoreError::NotOpen`], or what kept redb from beginning to read.
    pub fn read(&self) -> Result<Snapshot, StoreError> {
        self.read_last().and_then(|snapshot| if snapshot.is_last() { Err(StoreError::NotOpen) } else { Ok(snapshot) })
    }

    /// As [`Store::read`]. While the disk is full, and nothing can be changed, the file as of the last commit before
    /// that: for those who only show it. Whoever acts on what they read would do the same again and again.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_last(&self) -> Result<Snapshot, StoreError> {
        Snapshot::of(&self.shared)
    }

    /// Reads something from the file as it is now.
    ///
    /// # Errors
    /// As [`Store::read`], and those of `look`.
    pub fn look<T>(&self, look: impl FnOnce(Snapshot) -> Result<T, StoreError>) -> Result<T, StoreError> {
        // A panic of redb ends in the snapshot; whoever reads goes on after one of its own.
        guarded(|| look(self.read()?)).unwrap_or_else(|panic| Err(StoreError::Engine(panic)))
    }

    /// Time by the process clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.options.path
    }

    /// Whether the file is only read: see [`StoreOptions::read_only`].
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.read_only
    }

    /// Rows that can't be read, and that the store does without since the file was opened: `check` names them.
    #[must_use]
    pub fn rows_left_out(&self) -> u64 {
        self.shared.left_out()
    }

    /// Jobs that may have been under way when the process died, in the order in which they are due; none after a clean
    /// end. Known once the file is open.
    #[must_use]
    pub fn suspects(&self) -> Vec<JobId> {
        self.shared.suspects()
    }

    /// Deliveries that may have been under way when the process died; none after a clean end. Known once the file is open.
    #[must_use]
    pub fn suspect_deliveries(&self) -> Vec<JobId> {
        self.shared.suspect_deliveries()
    }

    /// `wake` gets a token after each commit in which a job was scheduled. One channel at a time.
    pub fn wake_on_due(&self, wake: Sender<()>) {
        self.shared.on_due(wake);
    }

    /// `call` runs on the writer's thread after each commit in which a delivery was scheduled or a destination freed: it must
    /// be quick. One at a time.
    pub fn call_on_delivery(&self, call: impl Fn() + Send + 'static) {
        self.shared.on_delivery(call);
    }

    /// Gets the error with which the store ends, if it does not end in peace.
    #[must_use]
    pub fn failure(&self) -> Receiver<StoreError> {
        let (told, failed) = bounded(1);
        self.shared.on_failure(told);
        failed
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn figures(&self) -> WriterFigures {
        self.shared.figures.now()
    }

    /// Submissions waiting for the writer, and how many may.
    #[must_use]
    pub fn intake_depth(&self) -> (usize, usize) {
        (self.intake.len(), self.options.intake)
    }

    /// Bytes that the file takes on disk. It is sparse, so this is less than its length.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        super::compact::size_of(&self.options.path)
    }

    /// Bytes free on the disk, and the floor below which no submission is taken.
    #[must_use]
    pub fn free_space(&self) -> (Option<u64>, u64) {
        (super::shared::free_space(&self.options.path), self.options.free_space_min)
    }

    /// Commits what was handed over, closes the file, and waits for that. Every other handle is of no use afterwards.
    ///
    /// # Errors
    /// Why the end was not a clean one.
    pub fn close(&self) -> Result<(), StoreError> {
        let _ = self.stop.try_send(());
        // Nothing is ever sent: the channel closes when the thread ends.
        let _ = self.ended.recv();
        self.shared.failure().map_or(Ok(()), Err)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.options.path).finish_non_exhaustive()
    }
}
