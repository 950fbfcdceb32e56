//! The only code that knows redb: one file, one writer thread, named transactions, short reads.
//!
//! # The promise
//! - A reply means committed with immediate durability. One transaction a batch, bounded by count and bytes.
//! - A change decides fully before its first write, so a refused one leaves no trace inside a shared batch. There is no
//!   undoing half a batch: a change that errs midway aborts the whole transaction, and the batch is run again without it.
//! - A failed commit fails every reply of its batch: nobody was told yes. It may have become durable all the same, so a
//!   sender's next try may meet its own first one. Where the disk was full the file is opened again with growing
//!   pauses; after anything else the process has to end ([`StoreError::is_fatal`]).
//! - The file is the truth. What the writer keeps in memory follows from it and is rebuilt at start.
//! - A new file is made under another name, closed, renamed, its folder synced.
//!
//! # The rooms
//! | file | what it decides |
//! |---|---|
//! | `tables` | every table and key layout |
//! | `codec` | rows to bytes and back, with a checksum |
//! | `format` | making, opening and recognising the file |
//! | `writer`, `batch`, `request` | what shares a commit, and who is told what after it |
//! | `counters`, `closings` | the next numbers, and the clock of elapsed time that keys and retention go by |
//! | `keys`, `known` | what is a duplicate |
//! | `answers` | that no encrypted request gets two answers |
//! | `ends` | what a form that was sent before ended with |
//! | `outbox`, `announce` | what the outside is told, and who |
//! | `schedule` | what is due when |
//! | `retention` | which rows may be removed, oldest first |
//! | `tallies` | sums that figures need |
//! | `customers` | what a customer with a new number takes along |
//! | `accept`, `drafts`, `flow_events`, `gateways`, `numbers`, `jobs`, `letters`, `agents`, `leads`, `bookings`, `deliveries`, `sweep` | named transactions: read, decide (domain), write |
//! | `read` | snapshots for everybody else |
//! | `check` | what must hold across tables |
//! | `compact` | that a stopped server's file takes no more than what is in it |
//!
//! redb is pinned to 4.6.0: the versions before it lost or damaged data in ways that were repaired since, and 5 changes
//! calls that are used here.

mod accept;
mod agents;
mod announce;
mod answers;
mod batch;
mod bookings;
mod check;
mod closings;
mod codec;
mod compact;
mod counters;
mod customers;
mod deliveries;
mod disk;
mod drafts;
mod ends;
mod error;
mod flow_events;
mod format;
mod gateways;
mod handle;
mod jobs;
mod joins;
mod keys;
mod known;
mod lanes;
mod leads;
mod letters;
mod numbers;
mod options;
mod outbox;
mod read;
mod receipts;
mod request;
mod retention;
mod schedule;
mod shared;
mod sweep;
mod tables;
mod tallies;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use accept::{Accept, Accepted, StoredSubmission};
pub use agents::{AddAgent, AgentChange, AgentChanged, ChangeAgent};
pub use answers::{AnswerKept, KeepAnswer, KeptAnswer, RecallAnswer};
pub use batch::{Batch, Timing, Transaction};
pub use bookings::{BookingChanged, CancelBooking, MoveBooking};
pub use check::{Finding, Report, check};
pub use compact::{Compacted, compact};
pub use deliveries::{NoteDeliveries, NoteDelivery, PauseDestination, SettleDeliveries};
pub use drafts::{DraftKept, KeepDraft, NoteScreen};
pub use ends::{FindKey, RecallEnd};
pub use error::{RowProblem, StoreError};
pub use flow_events::{KeepComplaint, NoteHealth, Receive, Received};
pub use format::NoteAppSecret;
pub use gateways::{Hear, Heard, NoteGateway};
pub use handle::{Busy, Store};
pub use jobs::{ClearSuspect, Fail, Finish, FinishMessage, Finished, MarkSuspect, Suspect};
pub use joins::Join;
pub use leads::{AssignLead, CloseLead, Distribute, LeadChanged, LeadOrder};
pub use letters::{Discard, DiscardMany, GiveUpDeliveries, JobChanged, ManyChanged, Revive, ReviveMany};
pub use numbers::NoteTraffic;
pub use options::StoreOptions;
pub use read::{Counts, Found, Listed, Outgoing, Snapshot, Waiting};
pub use receipts::{BeginDelivery, HoldDelivery, Trace, Until};
pub use retention::Queue;
pub use shared::{Health, WriterFigures};
pub use sweep::{Place, Sweep, Swept};
