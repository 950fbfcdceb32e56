//! Serializes copies of one encrypted request. The response to the first copy is stored before the
//! next copy is processed.
//!
//! Without this, two copies could be processed in parallel with different results: one accepted,
//! the other a duplicate. The wrong response could then be stored.
//!
//! See `crate::store::tx::response_cache` for the stored responses.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::domain::submission::IdempotencyKey;

/// Locks of the requests in flight, by the key of the request.
#[derive(Debug, Default)]
pub(in crate::http) struct KeyedLock(Mutex<HashMap<IdempotencyKey, Arc<AsyncMutex<()>>>>);

/// Lock of one copy, held or awaited. The lock is released on drop.
#[derive(Debug)]
pub(in crate::http) struct KeyedGuard<'a> {
    lock: &'a KeyedLock,
    key: IdempotencyKey,
    mutex: Option<Arc<AsyncMutex<()>>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl KeyedLock {
    /// Waits for the lock of the request with this `key`. Returns `None` at the deadline.
    pub(in crate::http) async fn lock(
        &self,
        key: IdempotencyKey,
        deadline: Instant,
    ) -> Option<KeyedGuard<'_>> {
        let mutex = {
            let mut mutexes = self.0.lock();
            Arc::clone(mutexes.entry(key).or_default())
        };
        let mut guard = KeyedGuard {
            lock: self,
            key,
            mutex: Some(Arc::clone(&mutex)),
            guard: None,
        };
        guard.guard = Some(timeout_at(deadline, mutex.lock_owned()).await.ok()?);
        Some(guard)
    }
}

impl Drop for KeyedGuard<'_> {
    fn drop(&mut self) {
        let mut mutexes = self.lock.0.lock();
        (self.guard, self.mutex) = (None, None);
        // Every waiting copy holds a reference, too.
        if mutexes
            .get(&self.key)
            .is_some_and(|mutex| Arc::strong_count(mutex) == 1)
        {
            mutexes.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: IdempotencyKey = IdempotencyKey::from_bytes([1; 16]);
    const OTHER: IdempotencyKey = IdempotencyKey::from_bytes([2; 16]);

    #[tokio::test(start_paused = true)]
    async fn duplicate_waits_for_first_and_others_do_not() {
        let lock = KeyedLock::default();
        let soon = Instant::now() + Duration::from_secs(1);
        let first = lock.lock(ONE, soon).await.unwrap();
        assert!(lock.lock(OTHER, soon).await.is_some());
        assert!(lock.lock(ONE, soon).await.is_none(), "not in time");
        let later = Instant::now() + Duration::from_secs(1);
        let (second, ()) = tokio::join!(lock.lock(ONE, later), async { drop(first) });
        assert!(second.is_some());
        drop(second);
        assert!(lock.0.lock().is_empty(), "nothing is left behind");
    }
}
