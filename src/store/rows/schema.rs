//! Schema of the data file: each table with its name, the types of its keys and values, and the
//! resulting order.
//!
//! The name of a table in the file is the name of its field in [`Tables`]. A retired name must
//! never be used again.
//!
//! Tables that every submission touches have ascending keys, so that a batch writes neighbouring
//! pages. Random page accesses make a commit slow. The docs of the tables with random pages mention
//! this.
//!
//! See [`super::codec`] for the encoding of rows.

use std::collections::BTreeMap;

use crate::domain::access::account::{Account, SignIn};
use crate::domain::access::audit::AuditEntry;
use crate::domain::booking::Booking;
use crate::domain::calendar_feed::Feed;
use crate::domain::delivery::receipt::Receipt;
use crate::domain::delivery::{Delivery, Event, ResponseRecord, Suspension};
use crate::domain::gateway::{HistoryEntry, SessionState};
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::health::number_traffic::NumberTraffic;
use crate::domain::ids::{AgentId, BookingId, Customer, JobId, LeadId, SubmissionId};
use crate::domain::job::{Attempt, DeadLetter, Job};
use crate::domain::lead::{Agent, Lead};
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::{Millis, Timestamp};

use super::counters::Counters;
use super::drafts::StoredDraft;
use super::forgets::PendingForget;
use super::keys::{EvictedKey, KeyLogRow};
use super::responses::{CachedResponse, Completion};
use super::submissions::{LateArrival, StoredSubmission};
use crate::store::engine::{
    Bytes, Hash, Position, RawChange, ReadTxn, Rows, TableDef, TableKey, TableValue, Text,
    WriteTable, WriteTxn,
};
use crate::store::{StoreError, StoreResult};

/// The rows of [`META`] as bytes: each row has its own format.
pub const META_BYTES: TableDef<Text, Bytes> = META.rows_as_bytes();

/// The change log. Key: sequence number of the commit; 0: the header. No copy contains this table.
/// See [`super::change_log`].
pub const CHANGE_LOG: TableDef<u64, Bytes> = TableDef::new("change_log");

fn append_slice<K: TableKey, V: TableValue>(
    txn: &ReadTxn,
    table: TableDef<K, V>,
    after: Option<&Position>,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> StoreResult<Option<Position>> {
    // A file of an older version lacks the newer tables.
    if !txn.has_table(table)? {
        return Ok(None);
    }
    for row in txn.open(table)?.rows_after(after)? {
        let row = row?;
        row.write_change(out);
        if out.len() >= bytes_max {
            return Ok(Some(row.position()));
        }
    }
    Ok(None)
}

macro_rules! tables {
    ($($(#[$doc:meta])* $definition:ident $field:ident: $key:ty => $value:ty;)*) => {
        $($(#[$doc])* pub const $definition: TableDef<$key, $value> =
            TableDef::new(stringify!($field));)*

        /// Number of tables.
        #[cfg(test)]
        pub const TABLE_COUNT: usize = [$($definition.name()),*].len();

        /// All tables, open for writing in one transaction. Each table can be open only once.
        pub struct Tables<'txn> {
            $(pub $field: WriteTable<'txn, $key, $value>,)*
            pub change_log: WriteTable<'txn, u64, Bytes>,
        }

        impl<'txn> Tables<'txn> {
            /// Opens every table of the schema. A new file gets all tables at once, so that readers
            /// find each table.
            pub fn open(txn: &'txn WriteTxn) -> StoreResult<Self> {
                Ok(Self {
                    $($field: txn.open($definition)?,)*
                    change_log: txn.open_unrecorded(CHANGE_LOG)?,
                })
            }

            /// Applies a recorded change to its table.
            pub fn apply_change(
                &mut self,
                change: RawChange<'_>,
            ) -> StoreResult<()> {
                match change.table {
                    $(stringify!($field) => self.$field.apply_raw(change.key, change.value),)*
                    unknown => Err(StoreError::UnknownTable(unknown.to_owned())),
                }
            }
        }

        /// Names of the tables that a copy contains: all but [`CHANGE_LOG`].
        pub const COPIED_TABLES: &[&str] = &[$(stringify!($field)),*];

        /// Appends rows of a copied table to `out`, until `out` has `bytes_max` bytes. Returns the
        /// position of the last row, or `None` if there are no more rows.
        pub fn append_raw_rows(
            txn: &ReadTxn,
            table: &str,
            after: Option<&Position>,
            bytes_max: usize,
            out: &mut Vec<u8>,
        ) -> StoreResult<Option<Position>> {
            match table {
                $(stringify!($field) => append_slice(txn, $definition, after, bytes_max, out),)*
                unknown => Err(StoreError::UnknownTable(unknown.to_owned())),
            }
        }

        /// Counts the rows of each copied table. Tables without rows are left out.
        pub fn count_rows(
            txn: &ReadTxn,
        ) -> StoreResult<BTreeMap<String, u64>> {
            let mut counts = BTreeMap::new();
            $(if txn.has_table($definition)? {
                counts.insert(stringify!($field).to_owned(), txn.open($definition)?.len()?);
            })*
            counts.retain(|_, rows| *rows > 0);
            Ok(counts)
        }
    };
}

tables! {
    /// Properties of the file: `marker`, `format`, and `counters`. Every commit rewrites
    /// `counters`. See [`crate::store::data_file`].
    META meta: Text => Counters;
    /// Submissions by ID, in order of acceptance. A row is written once and never rewritten.
    SUBMISSIONS submissions: SubmissionId => StoredSubmission;
    /// Late arrivals of submissions. Key: (submission ID, number from 1).
    LATE_ARRIVALS late_arrivals: (SubmissionId, u64) => LateArrival;
    /// Idempotency keys of forms in order of acceptance. Key: running number. The dedup index is
    /// derived from this log, see [`crate::store::writer::dedup_index`].
    TOKEN_LOG token_log: u64 => KeyLogRow;
    /// Idempotency keys of webhook messages in order of acceptance. Key: running number.
    MESSAGE_LOG message_log: u64 => KeyLogRow;
    /// Completions of forms with a custom response, by the row number of the form's key in
    /// `token_log`.
    COMPLETIONS completions: u64 => Completion;
    /// Number of each encrypted request that was answered. Random pages: one look-up and one row
    /// per request.
    ENCRYPTED_REQUESTS encrypted_requests: Hash => u64;
    /// Answered encrypted requests in order; the oldest are evicted first. Key: running number
    /// (last key plus 1).
    ENCRYPTED_REQUEST_LOG encrypted_request_log: u64 => Hash;
    /// Responses to encrypted requests, by the number of the request.
    CACHED_RESPONSES cached_responses: u64 => CachedResponse;
    /// Idempotency keys that do not fit into memory. Random pages: touched only if the number of
    /// keys exceeds `limits.max_idempotency_keys`.
    EVICTED_KEYS evicted_keys: Hash => EvictedKey;
    /// Drafts by the key of their token or customer. Random pages: only flows with several screens.
    DRAFTS drafts: Hash => StoredDraft;
    /// Drafts whose abandonment was reported and that have not continued since. Value: time of the
    /// last screen (UTC ms).
    ABANDONED_DRAFTS abandoned_drafts: Hash => Timestamp;
    /// Flow errors that clients reported, in order of receipt. Key: running number (last key plus
    /// 1).
    FLOW_ERRORS flow_errors: u64 => FlowError;
    /// Health events of Meta's monitoring, in order of receipt. Key: running number (last key plus
    /// 1).
    HEALTH_EVENTS health_events: u64 => HealthEvent;
    /// Flows with an unhealthy endpoint by our own measurement, for which an event was emitted.
    /// Value: start of the problem (UTC ms).
    UNHEALTHY_FLOWS unhealthy_flows: Text => Timestamp;
    /// Traffic of the phone numbers, by Meta's `phone_number_id`. A row is rewritten every few
    /// minutes.
    PHONE_NUMBERS phone_numbers: Text => NumberTraffic;
    /// Jobs by ID. The rows are small, because each progress of a job rewrites its row.
    JOBS jobs: JobId => Job;
    /// Scheduled jobs, soonest first. Key: (`due_at` in UTC ms, job ID). Jobs with equal times run
    /// in order of acceptance.
    DUE due: (Timestamp, JobId) => ();
    /// Scheduled deliveries by destination, soonest first. Key: (destination, `due_at` in UTC ms,
    /// job ID).
    DELIVERIES_DUE deliveries_due: (Text, Timestamp, JobId) => ();
    /// Heads of ordered queues: the delivery of each customer that may be sent now. A head is also
    /// in [`DELIVERIES_DUE`].
    ///
    /// Key: (destination, customer); value: job ID. Random pages: only destinations with ordered
    /// deliveries.
    ORDERED_HEADS ordered_heads: (Text, Hash) => JobId;
    /// Deliveries in ordered queues behind the head, oldest first. Key: (destination, customer, job
    /// ID). Random pages: only destinations with ordered deliveries.
    ORDERED_QUEUE ordered_queue: (Text, Hash, JobId) => ();
    /// Events by the job ID of their first delivery, in the order in which they became true. A row
    /// is written once.
    EVENTS events: JobId => Event;
    /// Deliveries by job ID: the data of each job of kind `deliver`. A row is written once.
    DELIVERIES deliveries: JobId => Delivery;
    /// Responses to the attempts of deliveries. Key: (job ID, attempt number from 1).
    DELIVERY_RESPONSES delivery_responses: (JobId, u32) => ResponseRecord;
    /// Suspensions of destinations, by name.
    SUSPENSIONS suspensions: Text => Suspension;
    /// Receipts of the messages that deliveries became, by job ID. Only destinations that report
    /// statuses have receipts.
    RECEIPTS receipts: JobId => Receipt;
    /// Deliveries by Meta's ID of their message. Random pages: one per message.
    WAMIDS wamids: Text => JobId;
    /// Deliveries that wait for their customer to become known. Key: (submission ID, job ID).
    AWAITING_CUSTOMER awaiting_customer: (SubmissionId, JobId) => ();
    /// States of gateway sessions, by name.
    GATEWAY_SESSIONS gateway_sessions: Text => SessionState;
    /// History of gateway sessions. Key: (name, running number: last key plus 1).
    GATEWAY_HISTORY gateway_history: (Text, u64) => HistoryEntry;
    /// Time of the last item from each gateway, by name, in UTC ms.
    GATEWAY_LAST_SEEN gateway_last_seen: Text => Timestamp;
    /// Failed attempts. Key: (job ID, attempt number from 1).
    ATTEMPTS attempts: (JobId, u32) => Attempt;
    /// Dead letters by job ID.
    DEAD_LETTERS dead_letters: JobId => DeadLetter;
    /// Retried dead letters by job ID.
    ///
    /// The row of a message stores the message until the job succeeds. The row of a delivery with a
    /// corrected body stays as long as the delivery.
    RETRIED_DEAD_LETTERS retried_dead_letters: JobId => DeadLetter;
    /// Agents by ID, including removed ones.
    AGENTS agents: AgentId => Agent;
    /// Leads by ID.
    LEADS leads: LeadId => Lead;
    /// Open leads with an agent. Key: (agent ID, lead ID).
    OPEN_LEADS open_leads: (AgentId, LeadId) => ();
    /// Open leads without an agent, oldest first. Key: (team, lead ID).
    WAITING_LEADS waiting_leads: (Text, LeadId) => ();
    /// Removed agents with open leads that are not handed over yet, by ID.
    PENDING_HANDOVERS pending_handovers: AgentId => ();
    /// Last agent of each customer. Value: (agent ID, lead ID, expiry clock at the last lead in
    /// ms).
    ///
    /// The key of a customer without a name is derived from their submission, and the agent ID is
    /// 0. Random pages: only flows with `lead.sticky`.
    CUSTOMER_AGENTS customer_agents: Hash => (AgentId, LeadId, Timestamp);
    /// Customers by a former name. Key: (hash of the name, time of the change in UTC ms). Random
    /// pages: one or two rows per change.
    RENAMED_CUSTOMERS renamed_customers: (Hash, Timestamp) => Customer;
    /// Bookings by ID.
    BOOKINGS bookings: BookingId => Booking;
    /// Number of confirmed bookings of each slot. Key: (calendar, length in ms, start in UTC ms).
    ///
    /// The slots that overlap a time are one key range for each length in use.
    OCCUPIED_SLOTS occupied_slots: (Text, Millis, Timestamp) => u64;
    /// Tallies for metrics and counts. Key: (kind, name). See [`crate::store::rows::tallies`].
    TALLIES tallies: (Text, Text) => u64;
    /// Rows that retention may remove, oldest first. Key: (queue, expiry clock in ms, ID or hashed
    /// key). See [`crate::store::tx::retention_queue`].
    RETENTION retention: (u8, Timestamp, u128) => ();
    /// Last finish of each job that ran again after a finish, by job ID. Value: expiry clock in ms,
    /// or 0 until the job finishes again.
    LAST_ENDS last_ends: JobId => Timestamp;
    /// Calendar feeds by the first half of the hash of their secret.
    FEEDS feeds: Hash => Feed;
    /// Customers whose rows are being removed, in order. Key: running number. Empty as soon as the
    /// removals are complete.
    PENDING_FORGETS pending_forgets: u64 => PendingForget;
    /// Accounts of the dashboard, by name.
    ACCOUNTS accounts: Text => Account;
    /// Browsers that have signed in, by the first half of the hash of their secret.
    SIGN_INS sign_ins: Hash => SignIn;
    /// Audit log in order of time. Key: running number (last key plus 1).
    AUDIT_LOG audit_log: u64 => AuditEntry;
}
