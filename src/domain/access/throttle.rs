//! Pauses between attempts to sign in: they grow with each failed attempt, per account and in
//! total.
//!
//! An attempt counts as failed from its start until it succeeds. So many attempts at the same time
//! can't avoid the pauses. The names are those that people type, so unknown accounts have the same
//! pauses as known ones.

use std::collections::BTreeMap;

use crate::domain::time::Millis;

/// Failed attempts of one name without a pause.
const FREE_PER_NAME: u32 = 4;
/// Longest pause of one name.
const NAME_PAUSE_MAX: Millis = Millis::from_secs(15 * 60);
/// Failed attempts in total without a pause.
const FREE_IN_TOTAL: u32 = 50;
/// Longest pause of all names. Short, so that nobody can lock out the owners for long.
const TOTAL_PAUSE_MAX: Millis = Millis::from_secs(4);
/// Time without an attempt after which the failed attempts no longer count.
const FORGET_AFTER: Millis = Millis::from_secs(60 * 60);
/// Maximum number of names. Beyond it, the name with the oldest attempt leaves.
const NAMES_MAX: usize = 1000;

/// Failed attempts of one name, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    last_at: Millis,
}

impl Failures {
    /// Returns the time until the next attempt is allowed. 0: now.
    fn wait(&self, now: Millis, free: u32, pause_max: Millis) -> Millis {
        let age = elapsed(self.last_at, now);
        if self.count < free || age >= FORGET_AFTER {
            return Millis::ZERO;
        }
        let doublings = self.count.saturating_sub(free).min(20);
        let pause = Millis::new(1000_u64 << doublings).min(pause_max);
        Millis::new(pause.get().saturating_sub(age.get()))
    }

    fn add(&mut self, now: Millis) {
        if elapsed(self.last_at, now) >= FORGET_AFTER {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last_at = now;
    }
}

const fn elapsed(from: Millis, to: Millis) -> Millis {
    Millis::new(to.get().saturating_sub(from.get()))
}

/// Attempts to sign in since the start of the process.
#[derive(Debug, Default)]
pub struct AttemptThrottle {
    names: BTreeMap<Box<str>, Failures>,
    total: Failures,
}

impl AttemptThrottle {
    /// Counts an attempt with the typed name `name` as failed, if it is allowed. `now` is the time
    /// elapsed since the start of the process.
    ///
    /// # Errors
    /// The time until the next attempt is allowed. The refused attempt is not counted.
    pub fn begin_attempt(&mut self, name: &str, now: Millis) -> Result<(), Millis> {
        let of_name = self.names.get(name).copied().unwrap_or_default();
        let wait = of_name
            .wait(now, FREE_PER_NAME, NAME_PAUSE_MAX)
            .max(self.total.wait(now, FREE_IN_TOTAL, TOTAL_PAUSE_MAX));
        if wait > Millis::ZERO {
            return Err(wait);
        }
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(name) {
            self.remove_oldest();
        }
        self.names.entry(name.into()).or_default().add(now);
        self.total.add(now);
        Ok(())
    }

    /// Ends the pauses of a name after a successful attempt.
    pub fn record_success(&mut self, name: &str) {
        self.names.remove(name);
        self.total.count = self.total.count.saturating_sub(1);
    }

    fn remove_oldest(&mut self) {
        let oldest = self.names.iter().min_by_key(|(_, one)| one.last_at);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Millis {
        Millis::from_secs(seconds)
    }

    #[test]
    fn pauses_of_a_name_grow_and_end_with_success() {
        let mut throttle = AttemptThrottle::default();
        let mut now = secs(1);
        for _ in 0..4 {
            assert_eq!(throttle.begin_attempt("ann", now), Ok(()));
        }
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let wait = throttle.begin_attempt("ann", now).unwrap_err();
            pauses.push(wait.get() / 1000);
            now = Millis::new(now.get() + wait.get());
            assert_eq!(throttle.begin_attempt("ann", now), Ok(()));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(throttle.begin_attempt("ben", now), Ok(()), "others sign in");
        throttle.record_success("ann");
        assert_eq!(throttle.begin_attempt("ann", now), Ok(()));
    }

    #[test]
    fn many_names_share_a_short_pause() {
        let mut throttle = AttemptThrottle::default();
        let attempt = |throttle: &mut AttemptThrottle, number: u64, now| {
            throttle.begin_attempt(&format!("guess-{number}"), now)
        };
        for number in 0..50 {
            assert_eq!(attempt(&mut throttle, number, secs(1)), Ok(()));
        }
        assert_eq!(attempt(&mut throttle, 50, secs(1)), Err(secs(1)));
        for number in 50..60 {
            let now = secs(10 * number);
            assert_eq!(attempt(&mut throttle, number, now), Ok(()));
        }
        assert_eq!(attempt(&mut throttle, 60, secs(590)), Err(secs(4)));
        assert_eq!(
            attempt(&mut throttle, 60, secs(8000)),
            Ok(()),
            "an hour later"
        );
    }

    #[test]
    fn number_of_names_is_bounded() {
        let mut throttle = AttemptThrottle::default();
        for number in 0..2000_u64 {
            let name = format!("guess-{number}");
            assert_eq!(throttle.begin_attempt(&name, secs(10 * number)), Ok(()));
        }
        assert_eq!(throttle.names.len(), NAMES_MAX);
    }
}
