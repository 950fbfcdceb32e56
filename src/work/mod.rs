//! Background work: jobs are handed out when they are due, run, and come to an end in the file.
//!
//! ```text
//! file ── due ──▶ feeder ──▶ bounded channel ──▶ workers ── outcome ──▶ store (the writer commits it)
//!                    ▲                                                     │
//!                    └──────────────── this job is out of hand ◀───────────┘
//! ```
//!
//! | file | what it decides |
//! |---|---|
//! | `feeder` | which jobs are under way: those that are due, each once, no more than `workers.queue` |
//! | `out` | that a job which was handed out comes back exactly once |
//! | `worker` | that the failure of a job stays its own: a panic, too, is one failed attempt |
//! | `process` | what one job does |
//! | `sweeper` | when time gets its due: old rows go, waiting leads find agents who are free again |
//! | `rules` | nothing: it is what the others go by |
//! | `threads` | who runs where, and how it all ends |
//!
//! A job needs no write to start. What is under way is known to the feeder alone; after a crash it is still due. What
//! may follow which state is `crate::domain::job`'s to say, when the next try comes `crate::domain::retry`'s.

mod feeder;
mod out;
mod process;
mod rules;
mod sweeper;
mod threads;
mod worker;

#[cfg(test)]
mod tests;

use std::io;

pub use rules::Rules;
pub use threads::Work;

/// Why no work can be done.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The system gives no thread.
    #[error("no thread for {name}: {error}")]
    Thread {
        /// What it was to be.
        name: String,
        /// Why there is none.
        #[source]
        error: io::Error,
    },
}
