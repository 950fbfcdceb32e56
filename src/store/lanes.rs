//! What shares a commit: the two lanes of changes that wait for the writer, and how it takes from them.
//!
//! Half of every batch is for each lane, so that a storm of forms can't starve the leads, nor the other way round. A
//! submission never waits for more to come: batches form by themselves while a commit syncs.

use std::time::Duration;

use crossbeam_channel::{Receiver, Select, select_biased};

use super::StoreError;
use super::request::Request;

/// How long the writer waits for a change before it looks after the file.
pub(super) const IDLE: Duration = Duration::from_secs(1);
/// How long a change from inside waits for a submission to share a commit with.
const COMPANY: Duration = Duration::from_millis(2);
/// Bytes in one commit, about: a larger one would keep those who wait for it waiting.
const BATCH_BYTES: usize = 1 << 20;

/// Where changes wait.
pub(super) struct Lanes {
    /// Changes from outside.
    pub(super) intake: Receiver<Box<dyn Request>>,
    /// Changes from workers and admins.
    pub(super) inside: Receiver<Box<dyn Request>>,
    /// Closed, or told, when it is time to end.
    pub(super) stop: Receiver<()>,
    /// Changes in one batch at the most.
    pub(super) batch: usize,
}

/// What the writer does next.
pub(super) enum Next {
    /// These changes.
    Batch(Vec<Box<dyn Request>>),
    /// Nothing came for a while.
    Idle,
    /// It is time to end.
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

impl Lanes {
    /// Waits for the first change, then takes what else waits.
    pub(super) fn next(&self) -> Next {
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
        first.map_or(Next::Stop, |first| Next::Batch(self.gather(first)))
    }

    /// What still waits when it is time to end, a batch at a time.
    pub(super) fn rest(&self) -> Option<Vec<Box<dyn Request>>> {
        let first = self.inside.try_recv().or_else(|_| self.intake.try_recv()).ok()?;
        Some(self.gather(first))
    }

    /// Refuses what comes within `pause`. True: it is time to end.
    pub(super) fn refuse(&self, pause: Duration, why: &StoreError) -> bool {
        let over = crossbeam_channel::after(pause);
        loop {
            let request = select_biased! {
                recv(self.stop) -> _ => return true,
                recv(over) -> _ => return false,
                recv(self.inside) -> request => request,
                recv(self.intake) -> request => request,
            };
            match request {
                Ok(request) => request.fail(why.clone()),
                Err(_) => return true,
            }
        }
    }

    /// Lets a lonely change from inside wait a moment for a submission to share its commit with: no customer waits for
    /// it, and a commit of its own would hold up the next one who does.
    fn wait_for_company(&self) {
        if self.inside.len() < self.batch / 2 {
            let mut intake = Select::new();
            intake.recv(&self.intake);
            // What comes is taken by the batch that follows.
            let _ = intake.ready_timeout(COMPANY);
        }
    }

    /// `first` and what waits beside it, up to the cap.
    fn gather(&self, first: Box<dyn Request>) -> Vec<Box<dyn Request>> {
        let mut room = Room { changes: self.batch, bytes: BATCH_BYTES };
        room.take(first.as_ref());
        let mut batch = vec![first];
        let half = room.changes / 2;
        for (lane, keep) in [(&self.inside, half), (&self.intake, 0), (&self.inside, 0)] {
            while room.changes > keep && room.bytes > 0 {
                let Ok(request) = lane.try_recv() else { break };
                room.take(request.as_ref());
                batch.push(request);
            }
        }
        batch
    }
}
