//! Runs jobs in the background: dispatches due jobs to worker threads and stores their results.
//!
//! ```text
//! file ── due ──▶ dispatcher ──▶ channel ──▶ workers ── outcome ──▶ store (the writer commits)
//!                     ▲                                               │
//!                     └──────────── the job is finished ◀─────────────┘
//! ```
//!
//! | file | content |
//! |---|---|
//! | `dispatcher` | dispatches due jobs, each job once; maximum in flight: `workers.queue` |
//! | `lease` | guarantees that each job in flight reports its result exactly once |
//! | `worker` | runs jobs; a failure or a panic is a failed attempt of one job only |
//! | `handler` | what one job does |
//! | `retention_task` | periodically removes old rows and assigns waiting leads to agents |
//! | `settings` | the part of the config that these files use |
//! | `pool` | starts and stops the threads |
//!
//! No write is needed to start a job. Only the dispatcher knows which jobs are in flight. After a
//! crash these jobs are still due.
//!
//! See [`crate::domain::job`] for the states of a job, and [`crate::domain::job::retry`] for the
//! time of the next attempt.

mod dispatcher;
mod handler;
mod lease;
mod pool;
mod retention_task;
mod settings;
mod worker;

#[cfg(test)]
mod tests;

use std::io;

pub use pool::JobSystem;
pub use settings::JobSettings;

/// Error at the start of the job system.
#[derive(Debug, thiserror::Error)]
pub enum JobSystemError {
    /// The operating system can't create a thread.
    #[error("can't start thread {name}: {source}")]
    Thread {
        /// Name of the thread.
        name: String,
        /// Cause from the operating system.
        #[source]
        source: io::Error,
    },
}
