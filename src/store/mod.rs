//! Stores all data of flowgate on disk: one file, one writer thread, named transactions and short
//! reads.
//!
//! No module outside the store uses the storage engine, redb.
//!
//! # Guarantees
//! - A reply means that the transaction is committed with immediate durability. Each batch is one
//!   redb transaction with a maximum number of changes and bytes.
//! - A transaction decides fully before its first write. So a refused transaction leaves no trace
//!   in the batch that it shares.
//! - A part of a batch can't be undone. A transaction that fails after its first write aborts the
//!   whole batch. The writer then runs the batch again without this transaction.
//! - A failed commit fails every reply of its batch, so no caller gets a confirmation. The commit
//!   may have become durable nevertheless. So a sender that tries again may find the rows of its
//!   first try.
//! - After a full disk, the writer opens the file again, with growing pauses. After any other
//!   commit failure, the process must stop ([`StoreError::is_fatal`]).
//! - The file is the only source of truth. The writer's state in memory is derived from the file
//!   and rebuilt at start.
//! - The store creates a new file under a temporary name, closes and renames the file, and syncs
//!   the directory.
//!
//! # Modules
//! | module | responsibility |
//! |---|---|
//! | `engine::redb::tables` | all tables and their key layouts |
//! | `engine::redb::format` | creation, opening and recognition of the data file |
//! | `engine::redb::compact` | compaction of a stopped server's file |
//! | `rows::codec` | rows to bytes and back, with a checksum |
//! | `rows::retention_queue` | rows that may be removed, oldest first |
//! | `rows::tallies` | stored numbers of rows for metrics and counts |
//! | `writer` | batches, commits, and the replies after a commit |
//! | `writer::counters`, `downtime` | next IDs, and the expiry clock for keys and retention |
//! | `writer::dedup` | the dedup index |
//! | `tx` | named transactions: each reads, decides and then writes |
//! | `tx::duplicates` | detection of duplicates |
//! | `tx::response_cache` | one response for each encrypted request |
//! | `tx::completions` | the response that ended a form, for the same form sent again |
//! | `tx::outbox`, `tx::events` | events and the destinations that get them |
//! | `tx::schedule` | due times of jobs and deliveries |
//! | `tx::customer_changes` | rows that move with a customer to a new number |
//! | `read` | snapshots for all other modules |
//! | `integrity` | invariants across tables |
//!
//! redb is pinned to 4.6.0. Earlier versions lost or damaged data in ways that were repaired since.
//! Version 5 changes functions that the store uses.

mod downtime;
pub(crate) mod engine;
mod error;
mod handle;
mod integrity;
mod options;
mod read;
pub(crate) mod rows;
mod state;
pub(crate) mod tx;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use engine::redb::compact::{CompactedSizes, compact};
pub use engine::redb::format::RecordAppSecret;
pub use error::{RowProblem, StoreError};
pub use handle::{Store, SubmitError};
pub use integrity::{IntegrityReport, InvariantViolation, check_integrity};
pub use options::StoreOptions;
pub use read::{DecodedRows, ListedRow, PendingDelivery, QueueStats, Snapshot, StoreCounts};
pub use rows::retention_queue::RetentionQueue;
pub use state::{StoreHealth, WriterStats};
pub use tx::accept::{AcceptInbound, AcceptOutcome, StoredSubmission};
pub use tx::agents::{AddAgent, AgentChange, AgentOutcome, ChangeAgent};
pub use tx::bookings::{BookingOutcome, CancelBooking, MoveBooking};
pub use tx::completions::{FindSubmissionKey, GetCompletion};
pub use tx::dead_letters::{
    BulkOutcome, DeadLetterOutcome, DiscardDeadLetter, DiscardDeadLetters, DiscardDeliveries,
    RetryDeadLetter, RetryDeadLetters,
};
pub use tx::deliveries::{DeferOrExpire, PauseDestination, RecordAttempt, RecordAttempts};
pub use tx::drafts::{DraftOutcome, RecordScreen, SaveDraft};
pub use tx::flow_events::{IngestWebhook, IngestedWebhook, RecordFlowError, RecordHealth};
pub use tx::gateways::{IngestGatewayMessages, IngestedMessages, RecordSessionState};
pub use tx::jobs::{
    ClearSuspect, FailAttempt, FinishJob, FinishMessageJob, FinishOutcome, MarkSuspect,
    SuspectAction,
};
pub use tx::late_arrivals::LateArrival;
pub use tx::leads::{AssignLead, AssignWaitingLeads, CloseLead, LeadOutcome, NewLead};
pub use tx::phone_numbers::RecordTraffic;
pub use tx::receipts::{BeginDelivery, DeferDelivery, DeferReason, MessageOutcome};
pub use tx::response_cache::{CacheOutcome, CachedResponse, GetResponse, StoreResponse};
pub use tx::retention::{PurgeCursor, PurgeResult, PurgeSlice};
pub use writer::write_context::{Timing, Transaction, WriteContext};
