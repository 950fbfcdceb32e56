//! What may be changed while others use it: whoever asks gets it as it is at that moment, and keeps that as long as they like.
//!
//! A reload of the config puts new things in place; what was begun with the old ones ends with them. A lock held for one
//! clone of a pointer is enough: nobody waits for a change, and a request takes a thousand times as long.

use std::sync::{Arc, PoisonError, RwLock};

/// The newest of something. Clones show the same.
#[derive(Debug)]
pub struct Current<T>(Arc<RwLock<Arc<T>>>);

impl<T> Current<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// As it is now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `value` in its place, for everybody who asks from now on.
    pub fn set(&self, value: T) {
        let new = Arc::new(value);
        let old = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), new);
        // Outside of the lock: the last one to hold something large frees it.
        drop(old);
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_gets_the_newest_and_keeps_it() {
        let current = Current::new(1);
        let (other, before) = (current.clone(), current.get());
        current.set(2);
        assert_eq!((*before, *other.get()), (1, 2));
    }
}
