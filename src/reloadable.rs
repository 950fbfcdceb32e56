//! A value that a config reload replaces at run time. `load` returns an `Arc` to the current
//! version.
//!
//! Work that began with an older version finishes with that version. The lock is held only while
//! one pointer is cloned or replaced, so no reader waits noticeably. A request takes a thousand
//! times as long.

use std::sync::{Arc, PoisonError, RwLock};

/// Holder of the current version of a value. All clones share the same version.
#[derive(Debug)]
pub struct Reloadable<T>(Arc<RwLock<Arc<T>>>);

impl<T> Reloadable<T> {
    /// Creates a holder with `value` as the current version.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// Returns the current version.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the current version with `value`. Versions that were loaded earlier stay unchanged.
    pub fn store(&self, value: T) {
        let new = Arc::new(value);
        let previous = std::mem::replace(
            &mut *self.0.write().unwrap_or_else(PoisonError::into_inner),
            new,
        );
        // Dropped outside of the lock, because the drop may free a large value.
        drop(previous);
    }
}

impl<T> Clone for Reloadable<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaded_value_outlives_store() {
        let reloadable = Reloadable::new(1);
        let (clone, earlier) = (reloadable.clone(), reloadable.load());
        reloadable.store(2);
        assert_eq!((*earlier, *clone.load()), (1, 2));
    }
}
