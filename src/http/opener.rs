//! Opening envelopes, off the listener's threads: RSA takes a quarter of a millisecond, and nobody else should wait for it.
//!
//! A pool of its own with a bounded queue, in which requests that nobody has signed have no more than a half: whoever can
//! reach an unsigned flow must not keep signed ones out. What does not fit in is told so at once; plain flows and webhooks
//! never wait here. What an envelope is, and how it is opened, is `crate::intake::encryption`'s.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::domain::flow::SignatureRule;
use crate::intake::PrivateKey;
use crate::intake::encryption::{CannotOpen, Envelope, Opened};

/// Envelopes that wait, for each thread. With one key that is a tenth of a second of work; keys are tried in turn, so it is
/// up to as many tenths as a flow has keys.
const QUEUE_PER_THREAD: usize = 400;

/// Threads that open envelopes. They end when it is dropped.
pub(super) struct Opener {
    offer: Sender<Task>,
    /// Places for unsigned requests.
    unsigned: Arc<Semaphore>,
}

struct Task {
    envelope: Envelope,
    keys: Arc<[PrivateKey]>,
    reply: oneshot::Sender<Result<Opened, CannotOpen>>,
    /// The place of an unsigned request, until it is opened.
    place: Option<OwnedSemaphorePermit>,
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
        Ok(Self::over(offer))
    }

    /// Puts what is to be opened into this queue.
    fn over(offer: Sender<Task>) -> Self {
        let half = offer.capacity().unwrap_or_default() / 2;
        Self { offer, unsigned: Arc::new(Semaphore::new(half)) }
    }

    /// Opens `envelope`, which was signed as `rule` says, with the first of `keys` that fits.
    pub(super) async fn open(
        &self,
        envelope: Envelope,
        keys: Arc<[PrivateKey]>,
        rule: SignatureRule,
    ) -> Result<Result<Opened, CannotOpen>, Flooded> {
        let (reply, opened) = oneshot::channel();
        let place = match rule {
            SignatureRule::Required => None,
            SignatureRule::None => Some(Arc::clone(&self.unsigned).try_acquire_owned().map_err(|_| Flooded)?),
        };
        self.offer.try_send(Task { envelope, keys, reply, place }).map_err(|_| Flooded)?;
        // The other end is dropped without an answer only when the process ends.
        opened.await.map_err(|_| Flooded)
    }
}

fn work(tasks: &Receiver<Task>) {
    for Task { envelope, keys, reply, place } in tasks {
        // Whoever asked may have gone: what nobody waits for is not worth the work.
        if !reply.is_closed() {
            let _ = reply.send(envelope.open(&keys));
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
        let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/flow_good.json")).unwrap();
        Envelope::read(vectors["cases"][0]["body"].as_str().unwrap().as_bytes()).unwrap().unwrap()
    }

    /// Whether there was a place for one more.
    fn is_taken(opener: &Opener, rule: SignatureRule) -> bool {
        let opening = pin!(opener.open(envelope(), Arc::new([]), rule));
        opening.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn unsigned_requests_never_take_more_than_half_of_the_queue() {
        let (offer, tasks) = bounded(4);
        let opener = Opener::over(offer);
        let unsigned = || is_taken(&opener, SignatureRule::None);
        let signed = || is_taken(&opener, SignatureRule::Required);
        assert_eq!([unsigned(), unsigned(), unsigned()], [true, true, false]);
        assert_eq!([signed(), signed(), signed()], [true, true, false]);
        drop(tasks.recv().unwrap());
        assert!(unsigned() && !signed(), "a place that is free again is anybody's");
        while tasks.try_recv().is_ok() {}
        assert!([signed(), signed(), signed(), signed()].iter().all(|taken| *taken), "signed ones may have all of it");
    }
}
