//! Rules for the removal of old bases and their log.

use super::objects::{BaseName, Generation};
use crate::domain::time::Timestamp;

/// Complete base with the generation that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBase {
    /// Generation of the base.
    pub generation: Generation,
    /// Name of the base.
    pub name: BaseName,
    /// Time of the commit at which the base is consistent. Earlier times need an earlier base.
    pub ends_at: Timestamp,
}

/// Returns the oldest base that must stay, so that every time since `since` can be restored: the
/// newest base that ended before `since`. Without one, all bases stay and the result is the oldest.
#[must_use]
pub fn oldest_needed_base(mut bases: Vec<StoredBase>, since: Timestamp) -> Option<StoredBase> {
    bases.sort_unstable_by_key(|base| (base.generation.clone(), base.name));
    let needed = bases.iter().rposition(|base| base.ends_at <= since);
    bases.into_iter().nth(needed.unwrap_or(0))
}

/// Returns `true` if nothing of `generation` is needed any more: it ended before the oldest needed
/// base.
#[must_use]
pub fn is_generation_expired(generation: &Generation, oldest: &StoredBase) -> bool {
    *generation < oldest.generation
}

/// Returns `true` if the base is not needed any more.
#[must_use]
pub fn is_base_expired(generation: &Generation, base: BaseName, oldest: &StoredBase) -> bool {
    *generation == oldest.generation && base < oldest.name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(epoch: u32, began_at: u64) -> StoredBase {
        StoredBase {
            generation: Generation {
                epoch,
                began_at: Timestamp::ZERO,
                lineage: "aa".to_owned(),
            },
            name: BaseName {
                begins_after: began_at,
                began_at: Timestamp::from_millis(began_at),
            },
            ends_at: Timestamp::from_millis(began_at + 2),
        }
    }

    #[test]
    fn newest_base_before_the_time_stays() {
        let bases = || vec![base(1, 30), base(0, 10), base(1, 40), base(0, 20)];
        let oldest = |since| oldest_needed_base(bases(), Timestamp::from_millis(since));
        assert_eq!(oldest(35), Some(base(1, 30)));
        assert_eq!(oldest(32), Some(base(1, 30)));
        assert_eq!(oldest(31), Some(base(0, 20)), "began before, ended after");
        assert_eq!(oldest(5), Some(base(0, 10)), "all stay");
        assert_eq!(oldest_needed_base(Vec::new(), Timestamp::MAX), None);
        let oldest = base(1, 30);
        assert!(is_generation_expired(&base(0, 20).generation, &oldest));
        assert!(!is_base_expired(&oldest.generation, oldest.name, &oldest));
        assert!(is_base_expired(
            &oldest.generation,
            base(1, 29).name,
            &oldest
        ));
    }
}
