//! Hashes passwords with argon2id, at most two at the same time.
//!
//! Each hash takes 19 MiB and one core for some 20 ms (OWASP *Password Storage*). So a flood of
//! attempts must not occupy all memory and cores.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use parking_lot::{Condvar, Mutex};

use crate::clock::{Entropy, SystemEntropy};

/// Maximum number of hashes at the same time.
const RUNNING_MAX: usize = 2;
/// Maximum number of attempts that wait. Each occupies a thread.
const WAITING_MAX: usize = 8;

/// Hash that no password has. An unknown account is checked against it, so that the answer takes
/// as long as for a known one. Same parameters as [`Argon2::default`].
const UNKNOWN_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies passwords.
#[derive(Clone, Default)]
pub(super) struct PasswordHashing {
    slots: Arc<Slots>,
}

#[derive(Default)]
struct Slots {
    counts: Mutex<SlotCounts>,
    freed: Condvar,
}

#[derive(Default)]
struct SlotCounts {
    running: usize,
    waiting: usize,
}

/// Place of one running hash. Dropping it frees the place.
struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock();
        counts.running = counts.running.saturating_sub(1);
        drop(counts);
        self.0.freed.notify_one();
    }
}

impl Slots {
    /// Waits for a place. Returns `None` if too many wait.
    fn enter(&self) -> Option<Slot<'_>> {
        let mut counts = self.counts.lock();
        if counts.running >= RUNNING_MAX {
            if counts.waiting >= WAITING_MAX {
                return None;
            }
            counts.waiting += 1;
            while counts.running >= RUNNING_MAX {
                self.freed.wait(&mut counts);
            }
            counts.waiting = counts.waiting.saturating_sub(1);
        }
        counts.running += 1;
        drop(counts);
        Some(Slot(self))
    }
}

impl PasswordHashing {
    /// Hashes a new password. Returns `None` if too many others wait.
    pub(super) fn hash(&self, password: &str) -> Option<String> {
        let _slot = self.slots.enter()?;
        let mut salt = [0; 16];
        SystemEntropy.fill(&mut salt);
        let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
        hash.ok().map(|hash| hash.to_string())
    }

    /// Returns `true` if the password belongs to the hash. `None` is an unknown account: takes as
    /// long, and returns `false`. Returns `None` if too many others wait.
    pub(super) fn verify(&self, password: &str, hash: Option<&str>) -> Option<bool> {
        let _slot = self.slots.enter()?;
        let text = hash.unwrap_or(UNKNOWN_HASH);
        let is_right = PasswordHash::new(text).is_ok_and(|parsed| {
            Argon2::default()
                .verify_password(password.as_bytes(), &parsed)
                .is_ok()
        });
        Some(is_right && hash.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_is_verified() {
        let hashing = PasswordHashing::default();
        let hash = hashing.hash("correct horse battery").unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_ne!(
            hashing.hash("correct horse battery").unwrap(),
            hash,
            "salted"
        );
        let verify = |password, hash| hashing.verify(password, hash);
        assert_eq!(verify("correct horse battery", Some(&*hash)), Some(true));
        assert_eq!(verify("correct horse batterx", Some(&*hash)), Some(false));
        assert_eq!(verify("correct horse battery", None), Some(false));
        assert_eq!(verify("", Some("damaged")), Some(false));
        assert!(
            PasswordHash::new(UNKNOWN_HASH).is_ok(),
            "takes as long as another"
        );
    }

    #[test]
    fn a_flood_is_refused() {
        let slots = Slots::default();
        let running: Vec<_> = (0..RUNNING_MAX).map(|_| slots.enter().unwrap()).collect();
        slots.counts.lock().waiting = WAITING_MAX;
        assert!(slots.enter().is_none());
        slots.counts.lock().waiting = 0;
        drop(running);
        assert!(slots.enter().is_some());
    }
}
