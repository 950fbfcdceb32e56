//! Opening envelopes, off the listener's threads: RSA takes a quarter of a millisecond, and nobody else should wait for it.
//!
//! A pool of its own with a bounded queue. What does not fit in is told so at once; plain flows and webhooks never wait
//! here. What an envelope is, and how it is opened, is `crate::intake::encryption`'s.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use crate::intake::PrivateKey;
use crate::intake::encryption::{CannotOpen, Envelope, Opened};

/// Envelopes that wait, for each thread: a tenth of a second of work, which is what anybody should wait.
const QUEUE_PER_THREAD: usize = 400;

/// Threads that open envelopes. They end when it is dropped.
pub(super) struct Opener(Sender<Task>);

struct Task {
    envelope: Envelope,
    keys: Arc<[PrivateKey]>,
    reply: oneshot::Sender<Result<Opened, CannotOpen>>,
}

/// More wait than can be opened in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many encrypted requests wait to be opened: try again in a moment")]
pub(super) struct Flooded;

impl Opener {
    /// Starts a thread for each core.
    pub(super) fn start() -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let (offer, tasks) = bounded(QUEUE_PER_THREAD.saturating_mul(threads));
        for number in 0..threads {
            let tasks = tasks.clone();
            thread::Builder::new().name(format!("opener {number}")).spawn(move || work(&tasks))?;
        }
        Ok(Self(offer))
    }

    /// Opens `envelope` with the first of `keys` that fits.
    pub(super) async fn open(
        &self,
        envelope: Envelope,
        keys: Arc<[PrivateKey]>,
    ) -> Result<Result<Opened, CannotOpen>, Flooded> {
        let (reply, opened) = oneshot::channel();
        self.0.try_send(Task { envelope, keys, reply }).map_err(|_| Flooded)?;
        // The other end is dropped without an answer only when the process ends.
        opened.await.map_err(|_| Flooded)
    }
}

fn work(tasks: &Receiver<Task>) {
    for Task { envelope, keys, reply } in tasks {
        // Whoever asked may have gone: what nobody waits for is not worth the work.
        if !reply.is_closed() {
            let _ = reply.send(envelope.open(&keys));
        }
    }
}
