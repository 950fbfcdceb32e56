//! The single writer thread: gather what waits, apply, commit, only then reply.
//!
//! It takes the place of row locks: the last slot, the least loaded agent and the duplicate token are decided here, one
//! change after the other. A submission never waits for more to come: batches form by themselves while a commit syncs.
//! What a change does is in the named transactions; what becomes of the process after a fault is decided by who started the
//! store.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, select_biased};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};

use crate::clock::Clock;
use crate::domain::ids::JobId;

use super::StoreError;
use super::batch::{Batch, Memory};
use super::disk::{Fault, Faults};
use super::format::{self, Opened};
use super::options::{Progress, StoreOptions};
use super::request::Request;
use super::shared::{Health, Shared};
use super::tables::{DUE, Tables};

/// How long the writer waits before it looks after itself: free space, and a file that opens fast after a crash.
const IDLE: Duration = Duration::from_secs(1);
/// How long a change from inside waits for a submission to share a commit with.
const COMPANY: Duration = Duration::from_millis(2);
/// Bytes in one commit, about: a larger one would keep those who wait for it waiting.
const BATCH_BYTES: usize = 1 << 20;
/// The pauses between tries to open the file again after the disk was full.
const REOPEN: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];

/// The writer thread.
pub(super) struct Writer {
    pub(super) options: StoreOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
    /// Changes from outside.
    pub(super) intake: Receiver<Box<dyn Request>>,
    /// Changes from workers and admins. Apart, so that neither can hold up the other.
    pub(super) inside: Receiver<Box<dyn Request>>,
    /// Closed, or told, when it is time to end.
    pub(super) stop: Receiver<()>,
}

/// The file while it is open.
struct Open {
    database: Arc<Database>,
    faults: Faults,
    memory: Memory,
    /// Whether the file would need a repair if the process died now.
    needs_repair: bool,
    /// When the free space was last looked at, by the process clock.
    looked_at_space: Duration,
}

/// How a batch ended.
enum Ended {
    /// On disk, or nothing had to be.
    Well,
    /// The change at this place can't be made; the others can.
    Without(usize, StoreError),
}

impl Writer {
    /// Opens the file and works until told to stop, or until the disk can't be trusted.
    pub(super) fn run(self) {
        let mut first = true;
        let mut pause = REOPEN[0];
        loop {
            match self.open(first) {
                Ok(open) => {
                    (first, pause) = (false, REOPEN[0]);
                    match self.serve(open) {
                        Ok(()) => return self.shared.set(Health::Closed),
                        Err(StoreError::NoSpace) => {
                            tracing::error!("the disk is full: new submissions get 503 until there is room");
                        }
                        Err(error) => return self.shared.fail(error),
                    }
                }
                // A reader may hold the old file for a moment longer.
                Err(StoreError::NoSpace | StoreError::InUse(_)) if !first => {}
                Err(error) => return self.shared.fail(error),
            }
            self.shared.set(Health::NoSpace);
            if self.wait_refusing(pause) {
                return self.shared.set(Health::Closed);
            }
            let [_, longest] = REOPEN;
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// Opens the file and rebuilds the memory from it.
    fn open(&self, first: bool) -> Result<Open, StoreError> {
        let started = self.clock.elapsed();
        let now = self.clock.now();
        let Opened { database, faults, mut counters } = format::open(&self.options, now, &Progress::default())?;
        let unclean = !counters.clean;
        counters.resume(now);
        counters.clean &= !self.options.serving;
        let database = Arc::new(database);
        let memory = {
            let txn = database.begin_read()?;
            if first && unclean {
                self.shared.suspect(suspects(&txn.open_table(DUE)?, &self.options, now.as_millis())?);
            }
            Memory::load(&self.options, counters, &txn, now, self.clock.elapsed())?
        };
        let keys = memory.keys.len();
        let mut open = Open { database, faults, memory, needs_repair: true, looked_at_space: Duration::ZERO };
        if self.options.serving {
            // From here on the end is unclean until `close` says otherwise.
            self.commit(&mut open, &mut [], true)?;
        }
        self.shared.publish(Arc::clone(&open.database));
        self.look_at_space(&mut open);
        let took = self.clock.elapsed().saturating_sub(started);
        if first && unclean {
            tracing::warn!("the last end was unclean: the whole file was verified, and what was running runs again");
        }
        tracing::info!(store.keys = keys, store.open_ms = millis(took), "data file open");
        Ok(open)
    }

    /// Takes changes until told to stop.
    fn serve(&self, mut open: Open) -> Result<(), StoreError> {
        loop {
            let stopping = match self.next_batch() {
                Next::Batch(batch) => {
                    self.run_batch(&mut open, batch)?;
                    false
                }
                Next::Idle => {
                    self.rest(&mut open)?;
                    false
                }
                Next::Stop => true,
            };
            if stopping {
                return self.finish(open);
            }
            if self.clock.elapsed().saturating_sub(open.looked_at_space) >= IDLE {
                self.look_at_space(&mut open);
            }
        }
    }

    /// Waits for the first change, then takes what else waits, up to the cap: half of the room is for each side.
    fn next_batch(&self) -> Next {
        let first = select_biased! {
            recv(self.stop) -> _ => return Next::Stop,
            recv(self.inside) -> request => {
                self.wait_for_company();
                request.ok()
            }
            recv(self.intake) -> request => request.ok(),
            default(IDLE) => return Next::Idle,
        };
        // Every handle is gone: nobody can ask for anything any more.
        let Some(first) = first else { return Next::Stop };
        Next::Batch(self.gather(first))
    }

    /// Lets a lonely change from inside wait a moment for a submission to share its commit with: no customer waits for
    /// it, and a commit of its own would hold up the next one who does.
    fn wait_for_company(&self) {
        if self.inside.len() < self.options.batch / 2 {
            let mut intake = Select::new();
            intake.recv(&self.intake);
            // What comes is taken by the batch that follows.
            let _ = intake.ready_timeout(COMPANY);
        }
    }

    fn gather(&self, first: Box<dyn Request>) -> Vec<Box<dyn Request>> {
        let mut room = Room { changes: self.options.batch, bytes: BATCH_BYTES };
        room.take(first.as_ref());
        let mut batch = vec![first];
        let half = room.changes / 2;
        for (side, keep) in [(&self.inside, half), (&self.intake, 0), (&self.inside, 0)] {
            while room.changes > keep && room.bytes > 0 {
                let Ok(request) = side.try_recv() else { break };
                room.take(request.as_ref());
                batch.push(request);
            }
        }
        batch
    }

    /// Applies and commits `batch`, without those of its changes that can't be made, and answers all.
    fn run_batch(&self, open: &mut Open, mut batch: Vec<Box<dyn Request>>) -> Result<(), StoreError> {
        let began = self.clock.elapsed();
        loop {
            match self.commit(open, &mut batch, false) {
                Ok(Ended::Well) => {
                    let ended = self.clock.elapsed();
                    self.shared.figures.note_batch(batch.len(), ended.saturating_sub(began), open.memory.keys.len());
                    for request in batch {
                        request.succeed(began, ended);
                    }
                    return Ok(());
                }
                Ok(Ended::Without(place, error)) => {
                    tracing::error!(error = %error, "a change can't be made; the rest of its batch goes on");
                    batch.remove(place).fail(error);
                }
                Err(error) => {
                    // Nobody was told yes. What was stored all the same is met by the sender's next try.
                    for request in batch {
                        request.fail(error.clone());
                    }
                    return Err(error);
                }
            }
        }
    }

    /// One transaction around `requests`. `always`: commit also when nothing was changed.
    fn commit(&self, open: &mut Open, requests: &mut [Box<dyn Request>], always: bool) -> Result<Ended, StoreError> {
        let faults = open.faults.clone();
        // A panic out of redb means that its pages make no sense: no yes may follow from them.
        let result = catch_unwind(AssertUnwindSafe(|| self.commit_unguarded(open, requests, always)));
        match result {
            Ok(Ok(ended)) => Ok(ended),
            Ok(Err(error)) => Err(match faults.first() {
                Some((Fault::NoSpace, _)) => StoreError::NoSpace,
                Some((Fault::Untrusted, what)) => StoreError::Untrusted(what.clone()),
                None => error,
            }),
            Err(panic) => Err(StoreError::Damaged(panic_text(panic.as_ref()))),
        }
    }

    fn commit_unguarded(
        &self,
        open: &mut Open,
        requests: &mut [Box<dyn Request>],
        always: bool,
    ) -> Result<Ended, StoreError> {
        let mut txn = open.database.begin_write()?;
        txn.set_durability(Durability::Immediate).map_err(|error| StoreError::Engine(error.to_string()))?;
        let (dirty, scheduled) = {
            let mut tables = Tables::open(&txn)?;
            let expiry = open.memory.expiry(self.clock.elapsed());
            let now = self.clock.now();
            let memory = &mut open.memory;
            let mut batch = Batch { tables: &mut tables, memory, now, expiry, dirty: always, scheduled: false };
            let mut failed = None;
            for (place, request) in requests.iter_mut().enumerate() {
                if let Err(error) = request.apply(&mut batch) {
                    failed = Some((place, error));
                    break;
                }
            }
            if let Some((place, error)) = failed {
                drop(tables);
                return give_up(open, txn, place, error, now);
            }
            if batch.dirty {
                batch.seal()?;
            }
            (batch.dirty, batch.scheduled)
        };
        if !dirty {
            txn.abort()?;
            return Ok(Ended::Well);
        }
        txn.commit()?;
        open.memory.publish();
        open.needs_repair = true;
        if scheduled {
            self.shared.wake();
        }
        Ok(Ended::Well)
    }

    /// Nothing came for a while: leave the file so that it opens at once even after a crash.
    fn rest(&self, open: &mut Open) -> Result<(), StoreError> {
        self.shared.figures.note_idle();
        if !mem::take(&mut open.needs_repair) {
            return Ok(());
        }
        let quick = || -> Result<(), StoreError> {
            let mut txn = open.database.begin_write()?;
            txn.set_durability(Durability::Immediate).map_err(|error| StoreError::Engine(error.to_string()))?;
            txn.set_quick_repair(true);
            Ok(txn.commit()?)
        };
        quick().map_err(|error| match open.faults.first() {
            Some((Fault::NoSpace, _)) => StoreError::NoSpace,
            Some((Fault::Untrusted, what)) => StoreError::Untrusted(what.clone()),
            None => error,
        })
    }

    /// Takes what still waits, says that the end is a clean one, and closes the file.
    fn finish(&self, mut open: Open) -> Result<(), StoreError> {
        self.shared.set(Health::Closed);
        while let Ok(first) = self.inside.try_recv().or_else(|_| self.intake.try_recv()) {
            let batch = self.gather(first);
            self.run_batch(&mut open, batch)?;
        }
        if self.options.serving {
            open.memory.counters.clean = true;
            self.commit(&mut open, &mut [], true)?;
        }
        self.shared.withdraw();
        // Readers are short; the last one gives the file back.
        let mut database = open.database;
        loop {
            match Arc::try_unwrap(database) {
                Ok(database) => return format::close(database),
                Err(still_shared) => {
                    database = still_shared;
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Refuses whatever comes until `pause` is over. True: it is time to end.
    fn wait_refusing(&self, pause: Duration) -> bool {
        self.shared.withdraw();
        let until = self.clock.elapsed().saturating_add(pause);
        loop {
            let left = until.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return false;
            }
            let request = select_biased! {
                recv(self.stop) -> _ => return true,
                recv(self.inside) -> request => request,
                recv(self.intake) -> request => request,
                default(left) => return false,
            };
            match request {
                Ok(request) => request.fail(StoreError::NoSpace),
                Err(_) => return true,
            }
        }
    }

    fn look_at_space(&self, open: &mut Open) {
        open.looked_at_space = self.clock.elapsed();
        let free = super::shared::free_space(&self.options.path);
        self.shared.set(match free {
            Some(free) if free < self.options.free_space_min => Health::LowSpace,
            _ => Health::Ready,
        });
    }
}

/// Ends a transaction in which the change at `place` failed.
fn give_up(
    open: &mut Open,
    txn: WriteTransaction,
    place: usize,
    error: StoreError,
    now: crate::domain::time::Timestamp,
) -> Result<Ended, StoreError> {
    txn.abort()?;
    if !error.is_of_one_change() {
        return Err(error);
    }
    // What the aborted batch left in memory goes as well.
    let txn = open.database.begin_write()?;
    open.memory.discard(&Tables::open(&txn)?, now)?;
    txn.abort()?;
    Ok(Ended::Without(place, error))
}

/// What the writer does next.
enum Next {
    Batch(Vec<Box<dyn Request>>),
    Idle,
    Stop,
}

/// What still fits into a batch.
struct Room {
    changes: usize,
    bytes: usize,
}

impl Room {
    fn take(&mut self, request: &dyn Request) {
        self.changes = self.changes.saturating_sub(request.weight());
        self.bytes = self.bytes.saturating_sub(request.bytes());
    }
}

/// Jobs that may have been under way when the process died: the feeder hands out in the order of `due`, so they are
/// among the first ones.
fn suspects(
    due: &impl ReadableTable<(u64, u64), ()>,
    options: &StoreOptions,
    now_ms: u64,
) -> Result<Vec<JobId>, StoreError> {
    let first = due.range(..=(now_ms, u64::MAX))?.take(options.jobs_out_max);
    first.map(|row| Ok(JobId::new(row?.0.value().1))).collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref().cloned());
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
