//! Reads values that a config reload replaces at run time. `load` returns an `Arc` to the current
//! version.
//!
//! Several values can be parts of one cell: one swap of the cell replaces all of them.
//! Work that began with an older version finishes with that version. Reading takes no lock.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// Reader of the current version of a value.
pub struct Reloadable<T>(Arc<dyn Fn() -> Arc<T> + Send + Sync>);

impl<T> Reloadable<T> {
    /// Returns a reader of `value`, which no reload replaces.
    pub fn new(value: T) -> Self
    where
        T: Send + Sync + 'static,
    {
        let value = Arc::new(value);
        Self(Arc::new(move || Arc::clone(&value)))
    }

    /// Returns a reader of the part of `cell` that `part` selects.
    pub fn part_of<S: Send + Sync + 'static>(
        cell: &Arc<ArcSwap<S>>,
        part: fn(&Arc<S>) -> Arc<T>,
    ) -> Self
    where
        T: 'static,
    {
        let cell = Arc::clone(cell);
        Self(Arc::new(move || part(&cell.load())))
    }

    /// Returns the current version.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        (self.0)()
    }
}

impl<T: Send + Sync + 'static> From<T> for Reloadable<T> {
    fn from(value: T) -> Self {
        Self::new(value)
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
    fn one_swap_replaces_all_parts_and_leaves_loaded_versions() {
        let cell = Arc::new(ArcSwap::from_pointee((Arc::new(1), Arc::new("one"))));
        let number = Reloadable::part_of(&cell, |both| Arc::clone(&both.0));
        let text = Reloadable::part_of(&cell, |both| Arc::clone(&both.1)).clone();
        let earlier = number.load();
        cell.store(Arc::new((Arc::new(2), Arc::new("two"))));
        assert_eq!((*earlier, *number.load(), *text.load()), (1, 2, "two"));
    }
}
