//! Decrypts envelopes in separate threads. RSA needs a quarter of a millisecond, and no other
//! request should wait for it.
//!
//! The pool has a bounded queue. Unsigned requests may fill at most half of the queue. Without
//! this, anyone who can reach an unsigned flow could block the signed requests. A request that does
//! not fit into the queue is refused at once. Plain flows and webhooks never use this queue.
//!
//! See [`crate::intake::encryption`] for envelopes and their decryption.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::domain::flow::SignaturePolicy;
use crate::intake::PrivateKey;
use crate::intake::encryption::{DecryptError, DecryptedRequest, Envelope};

/// Maximum number of queued envelopes per thread.
///
/// With one key, that is a tenth of a second of work. Keys are tried in turn, so the maximum is as
/// many tenths as a flow has keys.
const QUEUE_PER_THREAD: usize = 400;

/// Threads that decrypt envelopes. The threads stop when the pool is dropped.
pub(in crate::http) struct DecryptPool {
    queue: Sender<DecryptJob>,
    /// Queue places for unsigned requests.
    unsigned_permits: Arc<Semaphore>,
}

struct DecryptJob {
    envelope: Envelope,
    keys: Arc<[PrivateKey]>,
    reply: oneshot::Sender<Result<DecryptedRequest, DecryptError>>,
    /// Queue place of an unsigned request, held until its decryption is finished.
    permit: Option<OwnedSemaphorePermit>,
}

/// The queue has more envelopes than can be decrypted in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the decryption queue is full: try again in a moment")]
pub(in crate::http) struct DecryptQueueFull;

impl DecryptPool {
    /// Starts one thread per core.
    pub(in crate::http) fn start() -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let (queue, jobs) = bounded(QUEUE_PER_THREAD.saturating_mul(threads));
        for number in 0..threads {
            let jobs = jobs.clone();
            thread::Builder::new()
                .name(format!("decrypt {number}"))
                .spawn(move || run_worker(&jobs))?;
        }
        Ok(Self::with_queue(queue))
    }

    /// Creates a pool that sends its jobs to this queue.
    fn with_queue(queue: Sender<DecryptJob>) -> Self {
        let half = queue.capacity().unwrap_or_default() / 2;
        Self {
            queue,
            unsigned_permits: Arc::new(Semaphore::new(half)),
        }
    }

    /// Decrypts `envelope` with the first of `keys` that matches. `signature` is the signature
    /// policy of its flow.
    pub(in crate::http) async fn decrypt(
        &self,
        envelope: Envelope,
        keys: Arc<[PrivateKey]>,
        signature: SignaturePolicy,
    ) -> Result<Result<DecryptedRequest, DecryptError>, DecryptQueueFull> {
        let (reply, decrypted) = oneshot::channel();
        let permit = match signature {
            SignaturePolicy::Required => None,
            SignaturePolicy::None => Some(
                Arc::clone(&self.unsigned_permits)
                    .try_acquire_owned()
                    .map_err(|_| DecryptQueueFull)?,
            ),
        };
        self.queue
            .try_send(DecryptJob {
                envelope,
                keys,
                reply,
                permit,
            })
            .map_err(|_| DecryptQueueFull)?;
        // The worker drops the reply channel without a result only when the process stops.
        decrypted.await.map_err(|_| DecryptQueueFull)
    }
}

fn run_worker(jobs: &Receiver<DecryptJob>) {
    for DecryptJob {
        envelope,
        keys,
        reply,
        permit: place,
    } in jobs
    {
        // The client may have disconnected. Its envelope is then not decrypted.
        if !reply.is_closed() {
            let _ = reply.send(envelope.decrypt(&keys));
        }
        drop(place);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use serde_json::Value;

    use super::*;

    fn envelope() -> Envelope {
        let vectors = include_str!("../../../tests/vectors/flow_good.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let body = vectors["cases"][0]["body"].as_str().unwrap();
        Envelope::parse(body.as_bytes()).unwrap().unwrap()
    }

    /// Returns `true` if the queue had room for one more envelope.
    fn is_queued(pool: &DecryptPool, signature: SignaturePolicy) -> bool {
        let opening = pin!(pool.decrypt(envelope(), Arc::new([]), signature));
        let mut cx = Context::from_waker(Waker::noop());
        opening.poll(&mut cx).is_pending()
    }

    #[test]
    fn unsigned_requests_limited_to_half_of_queue() {
        let (queue, jobs) = bounded(4);
        let pool = DecryptPool::with_queue(queue);
        let unsigned = || is_queued(&pool, SignaturePolicy::None);
        let signed = || is_queued(&pool, SignaturePolicy::Required);
        assert_eq!([unsigned(), unsigned(), unsigned()], [true, true, false]);
        assert_eq!([signed(), signed(), signed()], [true, true, false]);
        drop(jobs.recv().unwrap());
        // Either kind may use a place that is free again.
        assert_eq!([unsigned(), signed()], [true, false]);
        while jobs.try_recv().is_ok() {}
        // Signed requests may use the whole queue.
        assert_eq!([signed(), signed(), signed(), signed()], [true; 4]);
    }
}
