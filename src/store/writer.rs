//! The single writer thread: take what waits, apply, commit, only then reply.
//!
//! It takes the place of row locks: the last slot, the least loaded agent and the duplicate token are decided here, one
//! change after the other. What shares a commit is decided in `lanes`, what a change does in the named transactions, and
//! what becomes of the process after a fault by who started the store.

use std::cell::Cell;
use std::mem;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};

use crate::clock::Clock;
use crate::domain::ids::JobId;
use crate::domain::time::{Millis, Timestamp};
use crate::guard::guarded;

use super::StoreError;
use super::batch::{Batch, Memory};
use super::counters::ExpiryClock;
use super::disk::Faults;
use super::format::{self, Opened};
use super::lanes::{IDLE, Lanes, Next};
use super::options::StoreOptions;
use super::request::Request;
use super::shared::{Health, Progress, Readable, Shared};
use super::tables::{DUE, LANES, Tables};
use super::tallies::Changes;

/// The pauses between tries to open the file again after the disk was full.
const REOPEN: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];
/// The pause between tries to open a file that another process has open.
const LOCKED: Duration = Duration::from_millis(20);

/// A pause by the wall clock from which on the log tells of it.
const TOLD_FROM: Millis = Millis::from_secs(60 * 60);

/// With fewer bytes free, a full disk is still full: opening a large file takes long, and would come to nothing.
const ROOM: u64 = 1 << 20;

/// The writer thread.
pub(super) struct Writer {
    pub(super) options: StoreOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
    pub(super) lanes: Lanes,
    /// The elapsed clock since the file was opened first. It goes on while the file is closed because the disk is full.
    pub(super) expiry: Cell<Option<ExpiryClock>>,
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
    /// Works until told to stop, or until the file or the disk can't be trusted. A panic, wherever it comes from, is the
    /// latter: redb panics on pages that make no sense.
    pub(super) fn run(&self) {
        let work = || if self.options.read_only { self.show() } else { self.work() };
        if let Err(panic) = guarded(work) {
            self.shared.fail(&StoreError::Damaged(panic));
        }
    }

    /// Shows the file as it is.
    fn show(&self) {
        let lock_deadline = self.clock.elapsed().saturating_add(self.options.lock_timeout);
        loop {
            match format::look_at(&self.options, true) {
                Ok(readable) => {
                    self.shared.publish(readable);
                    self.shared.set(Health::Ready);
                    while !self.lanes.refuse(IDLE, &StoreError::NotOpen) {}
                    self.shared.withdraw();
                    return self.shared.set(Health::Closed);
                }
                Err(StoreError::InUse(_)) if self.clock.elapsed() < lock_deadline => {
                    if self.lanes.refuse(LOCKED, &StoreError::NotOpen) {
                        return self.shared.set(Health::Closed);
                    }
                }
                Err(error) => return self.shared.fail(&error),
            }
        }
    }

    /// Opens the file and takes changes; where the disk was full, again.
    fn work(&self) {
        let mut first = true;
        let mut pause = REOPEN[0];
        let lock_deadline = self.clock.elapsed().saturating_add(self.options.lock_timeout);
        let mut told = false;
        loop {
            match self.open(first) {
                Ok(open) => {
                    (first, pause) = (false, REOPEN[0]);
                    match self.serve(open) {
                        Ok(()) => return self.shared.set(Health::Closed),
                        Err(StoreError::NoSpace) => {
                            tracing::error!("the disk is full: new submissions get 503 until there is room");
                        }
                        Err(error) => return self.shared.fail(&error),
                    }
                }
                Err(StoreError::InUse(_)) if first && self.clock.elapsed() < lock_deadline => {
                    if !mem::replace(&mut told, true) {
                        let seconds = self.options.lock_timeout.as_secs();
                        tracing::warn!(
                            "another flowgate command or server has the data file open: waiting up to {seconds} s"
                        );
                    }
                    if self.lanes.refuse(LOCKED, &StoreError::NotOpen) {
                        return self.shared.set(Health::Closed);
                    }
                    continue;
                }
                // A reader may hold the old file for a moment longer.
                Err(StoreError::NoSpace | StoreError::InUse(_)) if !first => {}
                Err(error) => return self.shared.fail(&error),
            }
            self.shared.set(Health::NoSpace);
            self.show_last();
            loop {
                if self.lanes.refuse(pause, &StoreError::NoSpace) {
                    self.shared.withdraw();
                    return self.shared.set(Health::Closed);
                }
                let [_, longest] = REOPEN;
                pause = pause.saturating_mul(2).min(longest);
                if super::shared::free_space(&self.options.path).is_none_or(|free| free >= ROOM) {
                    break;
                }
            }
        }
    }

    /// Lets the last commit be read until the file is open again.
    fn show_last(&self) {
        if self.shared.readable().is_some_and(|readable| readable.is_last) {
            return;
        }
        self.shared.withdraw();
        match format::look_at(&self.options, false) {
            Ok(readable) => self.shared.publish(readable),
            Err(error) => tracing::warn!(error = %error, "the data file can't be read until there is room on the disk"),
        }
    }

    /// Opens the file and rebuilds the memory from it.
    fn open(&self, first: bool) -> Result<Open, StoreError> {
        let started = self.clock.elapsed();
        let now = self.clock.now();
        let progress = Progress::of(Arc::clone(&self.shared));
        let Opened { database, faults, mut counters } = format::open(&self.options, now, &progress)?;
        let unclean = !counters.clean;
        let clock = self.expiry.take().unwrap_or_else(|| {
            // Verifying the file may have taken long: both clocks are read now.
            let clock = ExpiryClock::resume(&counters, self.clock.now(), self.clock.elapsed());
            if clock.owed() >= TOLD_FROM {
                tracing::info!(
                    retention.behind_ms = clock.owed().get(),
                    "the file was closed for long by the wall clock: rows from before count that time over the next hours"
                );
            }
            clock
        });
        self.expiry.set(Some(clock));
        counters.clean &= !self.options.serving;
        let database = Arc::new(database);
        let memory = {
            let txn = database.begin_read()?;
            if first && unclean {
                let now = now.as_millis();
                let jobs = suspects(&txn.open_table(DUE)?, &self.options, now)?;
                self.shared.suspect(jobs, suspect_deliveries(&txn.open_table(LANES)?, now)?);
            }
            Memory::load(&self.options, counters, &txn, now)?
        };
        self.shared.note_left_out(memory.left_out);
        let keys = memory.keys.len();
        let mut open = Open { database, faults, memory, needs_repair: true, looked_at_space: Duration::ZERO };
        // What is shown while the disk is full shares the file: from the first commit on, its pages are used again.
        self.shared.withdraw();
        if self.options.serving {
            // From here on the end is unclean until `close` says otherwise.
            self.commit(&mut open, &mut [], true)?;
        }
        self.shared.publish(Readable {
            database: Arc::clone(&open.database),
            faults: open.faults.clone(),
            is_last: false,
        });
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
            let next = self.lanes.next();
            // A reader has met damage.
            if let Some(error) = self.shared.failure() {
                return Err(error);
            }
            let stopping = match next {
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
        match guarded(|| self.commit_unguarded(open, requests, always)) {
            Ok(Ok(ended)) => Ok(ended),
            Ok(Err(error)) => Err(faults.cause(error)),
            Err(panic) => Err(StoreError::Damaged(panic)),
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
        let (dirty, scheduled, delivering) = {
            let mut tables = Tables::open(&txn)?;
            let now = self.clock.now();
            let clock = self.read_expiry(&open.memory, now);
            let memory = &mut open.memory;
            let wall_was_set = memory.begin(&clock);
            let routes = self.options.routes.get();
            let mut batch = Batch {
                tables: &mut tables,
                memory,
                now,
                expiry: clock.shown(),
                dirty: always || wall_was_set,
                scheduled: false,
                delivering: false,
                tallies: Changes::default(),
                routes,
            };
            let mut failed = None;
            for (place, request) in requests.iter_mut().enumerate() {
                if let Err(error) = request.apply(&mut batch) {
                    failed = Some((place, error));
                    break;
                }
            }
            if let Some((place, error)) = failed {
                drop(tables);
                return give_up(open, txn, place, error);
            }
            if batch.dirty {
                batch.seal()?;
            }
            (batch.dirty, batch.scheduled, batch.delivering)
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
        if delivering {
            self.shared.call_courier();
        }
        Ok(Ended::Well)
    }

    /// Reads the elapsed clock.
    fn read_expiry(&self, memory: &Memory, now: Timestamp) -> ExpiryClock {
        let elapsed = self.clock.elapsed();
        let mut clock = self.expiry.take().unwrap_or_else(|| ExpiryClock::resume(&memory.counters, now, elapsed));
        clock.read(now, elapsed);
        self.expiry.set(Some(clock.clone()));
        clock
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
        quick().map_err(|error| open.faults.cause(error))
    }

    /// Takes what still waits, says that the end is a clean one, and closes the file. A disk that has no space left for that
    /// changes nothing: what was acknowledged is on it, and the next start verifies the whole file.
    fn finish(&self, mut open: Open) -> Result<(), StoreError> {
        self.shared.set(Health::Closed);
        let settled = self.settle(&mut open);
        self.shared.withdraw();
        let Open { mut database, faults, .. } = open;
        // Readers are short; the last one gives the file back.
        let closed = loop {
            match Arc::try_unwrap(database) {
                Ok(database) => break format::close(database).map_err(|error| faults.cause(error)),
                Err(still_shared) => {
                    database = still_shared;
                    std::thread::yield_now();
                }
            }
        };
        match settled.and(closed) {
            Err(StoreError::NoSpace) => {
                tracing::warn!("the disk is too full to close the data file tidily: the next start verifies all of it");
                Ok(())
            }
            ended => ended,
        }
    }

    /// Takes what still waits, and notes that the end is a clean one.
    fn settle(&self, open: &mut Open) -> Result<(), StoreError> {
        while let Some(batch) = self.lanes.rest() {
            self.run_batch(open, batch)?;
        }
        if self.options.serving {
            open.memory.counters.clean = true;
            self.commit(open, &mut [], true)?;
        }
        Ok(())
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
fn give_up(open: &mut Open, txn: WriteTransaction, place: usize, error: StoreError) -> Result<Ended, StoreError> {
    txn.abort()?;
    if !error.is_of_one_change() {
        return Err(error);
    }
    // What the aborted batch left in memory goes as well.
    open.memory.discard();
    Ok(Ended::Without(place, error))
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

/// Deliveries of one destination that may be under way at once, being made or noted, with some to spare: a destination
/// takes 256 at once at the most, and few do.
const SUSPECTS: usize = 320;

/// Deliveries that may have been under way when the process died: the first ones of each lane.
fn suspect_deliveries(
    lanes: &impl ReadableTable<(&'static str, u64, u64), ()>,
    now_ms: u64,
) -> Result<Vec<JobId>, StoreError> {
    let mut suspects = Vec::new();
    let mut lane = lanes.first()?.map(|(key, _)| key.value().0.to_owned());
    while let Some(name) = lane {
        for row in lanes.range((&*name, 0, 0)..=(&*name, now_ms, u64::MAX))?.take(SUSPECTS) {
            suspects.push(JobId::new(row?.0.value().2));
        }
        let behind = (Bound::Excluded((&*name, u64::MAX, u64::MAX)), Bound::Unbounded);
        let next = lanes.range::<(&str, u64, u64)>(behind)?.next().transpose()?;
        lane = next.map(|(key, _)| key.value().0.to_owned());
    }
    Ok(suspects)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
