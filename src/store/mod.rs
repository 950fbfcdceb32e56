//! Stores all data of flowgate on disk: one file, one writer thread, named transactions and short
//! reads.
//!
//! Only `engine` names the storage engine, redb.
//!
//! # Guarantees
//! - A reply means that the transaction is committed with immediate durability. Each batch is one
//!   transaction of the engine with a maximum number of changes and bytes.
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
//! | `engine` | the storage engine: a redb database, its transactions and its tables |
//! | `rows::schema` | all tables with the types of their keys and values |
//! | `rows::codec` | rows to bytes and back, with a checksum |
//! | `rows::counters` | next IDs |
//! | `rows::tallies` | stored numbers of rows for metrics and counts |
//! | `data_file` | creation, opening and recognition of the data file |
//! | `rows::change_log` | the changes of each commit, for copies and backups |
//! | `copy` | copies of the data beside the writer, and new files from them |
//! | `compact` | compaction of a stopped server's file |
//! | `expiry_clock` | the clock by which keys expire and retention purges rows |
//! | `writer` | batches, commits, and the replies after a commit |
//! | `writer::dedup_index` | the dedup index |
//! | `tx` | named transactions: each reads, decides and then writes |
//! | `tx::duplicates` | detection of duplicates |
//! | `tx::response_cache` | one response for each encrypted request |
//! | `tx::completions` | the response that ended a form, for the same form sent again |
//! | `tx::outbox`, `tx::events` | events and the destinations that get them |
//! | `tx::schedule` | due times of jobs and deliveries |
//! | `tx::retention_queue` | rows that may be removed, oldest first |
//! | `tx::customer_changes` | rows that move with a customer to a new number |
//! | `read` | snapshots for all other modules |
//! | `forget` | removal of one customer from all tables |
//! | `integrity` | invariants across tables |
//!
//! redb is pinned to 4.6.0. Earlier versions lost or damaged data in ways that were repaired since.
//! Version 5 changes functions that the store uses.

mod compact;
mod copy;
mod data_file;
pub(crate) mod engine;
mod error;
mod expiry_clock;
mod forget;
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

pub use compact::{CompactedSizes, compact};
pub use copy::{CopyEnd, DataCopy, FileSummary, NewFile, Replaces};
pub use data_file::require_unused;
pub use data_file::{FORMAT_VERSION, check_format};
pub use error::{RowProblem, StoreError, StoreResult};
pub use forget::{ForgottenRows, count_customer_rows, forget_customer, resume_forgets};
pub use handle::{Store, SubmitError};
pub use integrity::{IntegrityReport, InvariantViolation, check_integrity};
pub use options::StoreOptions;
pub use read::{
    DecodedRows, FoundSubmission, ListedRow, PendingDelivery, QueueStats, SearchSlice, Snapshot,
    StoreCounts,
};
pub use rows::change_log::{ChangeLogEntry, ChangeLogHeader, ChangeLogState, Lineage};
pub use rows::responses::CachedResponse;
pub use rows::submissions::{LateArrival, StoredSubmission};
pub use state::{StoreHealth, WriterStats};
pub use tx::accept::{AcceptInbound, AcceptOutcome};
pub use tx::accounts::{
    AccountOutcome, ChangePassword, InviteAccount, RedeemInvite, RemoveAccount, ResetAccount,
    SetAccountRole,
};
pub use tx::agents::{AddAgent, AgentChange, AgentOutcome, ChangeAgent};
pub use tx::app_secret::RecordAppSecret;
pub use tx::audit_log::{BeginAudit, EndAudit};
pub use tx::backup::RecordBackupAlerts;
pub use tx::bookings::{BookingOutcome, CancelBooking, MoveBooking};
pub use tx::change_log::{BeginChangeLog, EndChangeLog};
pub use tx::completions::{FindSubmissionKey, GetCompletion};
pub use tx::dead_letters::{
    BulkOutcome, DeadLetterOutcome, DiscardDeadLetter, DiscardDeadLetters, DiscardDeliveries,
    RetryDeadLetter, RetryDeadLetters,
};
pub use tx::deliveries::{DeferOrExpire, RecordAttempt, RecordAttempts};
pub use tx::drafts::{DraftOutcome, RecordScreen, SaveDraft};
pub use tx::feeds::{CreateFeed, RevokeFeed};
pub use tx::flow_events::{IngestWebhook, IngestedWebhook, RecordFlowError, RecordHealth};
pub use tx::gateways::{IngestGatewayMessages, IngestedMessages, RecordSessionState};
pub use tx::imports::{ImportAgents, ImportForms, ImportOutcome};
pub use tx::jobs::{
    ClearSuspect, FailAttempt, FinishJob, FinishMessageJob, FinishOutcome, MarkSuspect,
    SuspectAction,
};
pub use tx::lead_closing::{CloseLead, CloseLeads, ClosedLeads};
pub use tx::leads::{AssignLead, AssignWaitingLeads, LeadOutcome, NewLead};
pub use tx::phone_numbers::RecordTraffic;
pub use tx::purge_result::{PurgeCursor, PurgeResult};
pub use tx::receipts::{BeginDelivery, DeferDelivery, DeferReason, MessageOutcome};
pub use tx::response_cache::{CacheOutcome, GetResponse, StoreResponse};
pub use tx::retention::PurgeSlice;
pub use tx::retention_queue::RetentionQueue;
pub use tx::sign_ins::{EndSignIn, EndSignIns, NewSignIn, RefreshSignIn, SignInBrowser};
pub use tx::suspensions::PauseDestination;
pub use writer::write_context::{Timing, Transaction, WriteContext};
