//! Provides time and random numbers. This file is the only source of both, and has test doubles.
//!
//! Other code gets a [`Clock`] or an [`Entropy`] as an argument or, preferably, a `Timestamp` and a
//! number. `clippy.toml` enforces this. See [`crate::domain`] for all rules about time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::domain::time::{Millis, Timestamp};

/// Source of wall-clock time and elapsed time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the time of the wall clock, which may jump forwards and backwards.
    fn now(&self) -> Timestamp;

    /// Returns the time elapsed since a fixed moment of this process. Never jumps.
    fn elapsed(&self) -> Duration;
}

/// Source of unpredictable random numbers.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);

    /// Returns a random number from 0 (included) to 1 (excluded).
    fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Returns the time of tokio's timers, for deadlines and timeouts. A test can pause this clock.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that asks the timers"
)]
pub fn timer_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Creates a clock whose elapsed time starts now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the machine"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the machine"
    )]
    fn now(&self) -> Timestamp {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Random numbers of the kernel.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Without random numbers from the kernel, the process must end: zeros would make guessable
        // secrets. The standard library does the same for its hash maps.
        if getrandom::fill(bytes).is_err() {
            tracing::error!("the kernel gives no random numbers: ending");
            std::process::abort();
        }
    }
}

/// Clock for tests. Its time changes only when a test changes it.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicU64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    /// Creates a clock with the wall-clock time `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            now_ms: AtomicU64::new(now.as_millis()),
            elapsed_ms: AtomicU64::new(0),
        }
    }

    /// Advances the wall-clock time and the elapsed time by `length`.
    pub fn advance(&self, length: Millis) {
        self.now_ms.fetch_add(length.get(), Ordering::SeqCst);
        self.elapsed_ms.fetch_add(length.get(), Ordering::SeqCst);
    }

    /// Sets the wall clock and leaves the elapsed time unchanged, as an administrator or a time
    /// server does.
    pub fn jump_to(&self, now: Timestamp) {
        self.now_ms.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}

/// Predictable random numbers for tests: the same seed gives the same numbers.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// Creates a source whose numbers depend only on `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // SplitMix64 (Steele, Lea, Flood 2014): each state gives a different number.
        for chunk in bytes.chunks_mut(8) {
            let mut z = self
                .0
                .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst)
                .wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            for (to, from) in chunk.iter_mut().zip((z ^ (z >> 31)).to_le_bytes()) {
                *to = from;
            }
        }
    }
}
