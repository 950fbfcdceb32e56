//! Holds a value that a config reload replaces at run time. `load` returns an `Arc` to the current
//! version.
//!
//! Work that began with an older version finishes with that version. Reading takes no lock.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// Holder of the current version of a value. All clones share the same version.
#[derive(Debug)]
pub struct Reloadable<T>(Arc<ArcSwap<T>>);

impl<T> Reloadable<T> {
    /// Creates a holder with `value` as the current version.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// Returns the current version.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the current version with `value`. Versions that were loaded earlier stay unchanged.
    pub fn store(&self, value: T) {
        self.0.store(Arc::new(value));
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
