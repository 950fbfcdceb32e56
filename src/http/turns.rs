//! Copies of one encrypted request take turns: the first is answered, and that answer is kept, before the next is looked at.
//!
//! Without this two copies could be decided side by side, and differently (one is taken, the other is its duplicate), and
//! the wrong one of their answers be the one that is kept. What is kept is `crate::store`'s; here is nothing but the order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Baton, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::domain::submission::IdempotencyKey;

/// Requests under way, each with what its copies hand on.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<IdempotencyKey, Arc<Baton<()>>>>);

/// The turn of one copy, or its place in the line. Over when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    request: IdempotencyKey,
    baton: Option<Arc<Baton<()>>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn of a copy of `request`; `None` where it does not come in time.
    pub(super) async fn take(&self, request: IdempotencyKey, deadline: Instant) -> Option<Turn<'_>> {
        let baton = {
            let mut batons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(batons.entry(request).or_default())
        };
        let mut turn = Turn { turns: self, request, baton: Some(Arc::clone(&baton)), held: None };
        turn.held = Some(timeout_at(deadline, baton.lock_owned()).await.ok()?);
        Some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut batons = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        (self.held, self.baton) = (None, None);
        // Whoever still waits holds it as well.
        if batons.get(&self.request).is_some_and(|baton| Arc::strong_count(baton) == 1) {
            batons.remove(&self.request);
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
    async fn a_copy_waits_for_the_one_before_it_and_other_requests_do_not() {
        let turns = Turns::default();
        let soon = Instant::now() + Duration::from_secs(1);
        let first = turns.take(ONE, soon).await.unwrap();
        assert!(turns.take(OTHER, soon).await.is_some());
        assert!(turns.take(ONE, soon).await.is_none(), "not in time");
        let later = Instant::now() + Duration::from_secs(1);
        let (second, ()) = tokio::join!(turns.take(ONE, later), async { drop(first) });
        assert!(second.is_some());
        drop(second);
        assert!(turns.0.lock().unwrap().is_empty(), "nothing is left behind");
    }
}
