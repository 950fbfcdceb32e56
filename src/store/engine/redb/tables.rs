//! Schema of the data file: each table with its name, its key layout and the resulting order.
//!
//! Keys and values are primitive types on purpose. redb stores the type names in the file and
//! refuses to open a table with a changed type. Rows are bytes. A retired table name must never be
//! used again.
//!
//! Tables that every submission touches have ascending keys, so that a batch writes neighbouring
//! pages. Random page accesses make a commit slow. The docs of the tables with random pages mention
//! this.
//!
//! See [`crate::store::rows::codec`] for the encoding of rows.

use redb::{Table, TableDefinition, WriteTransaction};

use crate::store::StoreError;

/// Table of rows with ascending numbers as keys.
pub(in crate::store) type RowTable = TableDefinition<'static, u64, &'static [u8]>;
/// Table of rows by the hash of a text. Each access touches a separate page.
pub(in crate::store) type HashedTable = TableDefinition<'static, &'static [u8; 16], &'static [u8]>;

/// Properties of the file: `marker`, `format`, and `counters`. Every commit rewrites `counters`.
/// See [`super::format`].
pub(in crate::store) const META: TableDefinition<'static, &str, &[u8]> =
    TableDefinition::new("meta");

/// Submissions by ID, in order of acceptance. A row is written once and never rewritten.
pub(in crate::store) const SUBMISSIONS: RowTable = TableDefinition::new("submissions");
/// Late arrivals of submissions. Key: (submission ID, number from 1).
pub(in crate::store) const LATE_ARRIVALS: TableDefinition<'static, (u64, u64), &[u8]> =
    TableDefinition::new("late_arrivals");
/// Idempotency keys of forms in order of acceptance. Key: running number. The dedup index is
/// derived from this log, see [`crate::store::writer::dedup`].
pub(in crate::store) const TOKEN_LOG: RowTable = TableDefinition::new("token_log");
/// Idempotency keys of webhook messages in order of acceptance. Key: running number.
pub(in crate::store) const MESSAGE_LOG: RowTable = TableDefinition::new("message_log");
/// Completions of forms with a custom response, by the row number of the form's key in `token_log`.
pub(in crate::store) const COMPLETIONS: RowTable = TableDefinition::new("completions");
/// Number of each encrypted request that was answered. Random pages: one look-up and one row per
/// request.
pub(in crate::store) const ENCRYPTED_REQUESTS: TableDefinition<'static, &[u8; 16], u64> =
    TableDefinition::new("encrypted_requests");
/// Answered encrypted requests in order; the oldest are evicted first. Key: running number (last
/// key plus 1).
pub(in crate::store) const ENCRYPTED_REQUEST_LOG: TableDefinition<'static, u64, &[u8; 16]> =
    TableDefinition::new("encrypted_request_log");
/// Responses to encrypted requests, by the number of the request.
pub(in crate::store) const CACHED_RESPONSES: RowTable = TableDefinition::new("cached_responses");
/// Idempotency keys that do not fit into memory. Random pages: touched only if the number of keys
/// exceeds `limits.max_idempotency_keys`.
pub(in crate::store) const EVICTED_KEYS: HashedTable = TableDefinition::new("evicted_keys");
/// Drafts by the key of their token or customer. Random pages: only flows with several screens.
pub(in crate::store) const DRAFTS: HashedTable = TableDefinition::new("drafts");
/// Drafts whose abandonment was reported and that have not continued since. Value: time of the last
/// screen (UTC ms).
pub(in crate::store) const ABANDONED_DRAFTS: TableDefinition<'static, &[u8; 16], u64> =
    TableDefinition::new("abandoned_drafts");

/// Flow errors that clients reported, in order of receipt. Key: running number (last key plus 1).
pub(in crate::store) const FLOW_ERRORS: RowTable = TableDefinition::new("flow_errors");
/// Health events of Meta's monitoring, in order of receipt. Key: running number (last key plus 1).
pub(in crate::store) const HEALTH_EVENTS: RowTable = TableDefinition::new("health_events");
/// Flows with an unhealthy endpoint by our own measurement, for which an event was emitted. Value:
/// start of the problem (UTC ms).
pub(in crate::store) const UNHEALTHY_FLOWS: TableDefinition<'static, &str, u64> =
    TableDefinition::new("unhealthy_flows");

/// Jobs by ID. The rows are small, because each progress of a job rewrites its row.
pub(in crate::store) const JOBS: RowTable = TableDefinition::new("jobs");
/// Scheduled jobs, soonest first. Key: (`due_at` in UTC ms, job ID). Jobs with equal times run in
/// order of acceptance.
pub(in crate::store) const DUE: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("due");
/// Scheduled deliveries by destination, soonest first. Key: (destination, `due_at` in UTC ms, job
/// ID).
pub(in crate::store) const DELIVERIES_DUE: TableDefinition<'static, (&str, u64, u64), ()> =
    TableDefinition::new("deliveries_due");
/// Heads of ordered queues: the delivery of each customer that may be sent now. A head is also in
/// [`DELIVERIES_DUE`].
///
/// Key: (destination, customer); value: job ID. Random pages: only destinations with ordered
/// deliveries.
pub(in crate::store) const ORDERED_HEADS: TableDefinition<'static, (&str, &[u8; 16]), u64> =
    TableDefinition::new("ordered_heads");
/// Deliveries in ordered queues behind the head, oldest first. Key: (destination, customer, job
/// ID). Random pages: only destinations with ordered deliveries.
pub(in crate::store) const ORDERED_QUEUE: TableDefinition<'static, (&str, &[u8; 16], u64), ()> =
    TableDefinition::new("ordered_queue");
/// Events by the job ID of their first delivery, in the order in which they became true. A row is
/// written once.
pub(in crate::store) const EVENTS: RowTable = TableDefinition::new("events");
/// Deliveries by job ID: the data of each job of kind `deliver`. A row is written once.
pub(in crate::store) const DELIVERIES: RowTable = TableDefinition::new("deliveries");
/// Responses to the attempts of deliveries. Key: (job ID, attempt number from 1).
pub(in crate::store) const DELIVERY_RESPONSES: TableDefinition<'static, (u64, u32), &[u8]> =
    TableDefinition::new("delivery_responses");
/// Suspensions of destinations, by name.
pub(in crate::store) const SUSPENSIONS: TableDefinition<'static, &str, &[u8]> =
    TableDefinition::new("suspensions");
/// Receipts of the messages that deliveries became, by job ID. Only destinations that report
/// statuses have receipts.
pub(in crate::store) const RECEIPTS: RowTable = TableDefinition::new("receipts");
/// Deliveries by Meta's ID of their message. Random pages: one per message.
pub(in crate::store) const WAMIDS: TableDefinition<'static, &str, u64> =
    TableDefinition::new("wamids");
/// Deliveries that wait for their customer to become known. Key: (submission ID, job ID).
pub(in crate::store) const AWAITING_CUSTOMER: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("awaiting_customer");
/// States of gateway sessions, by name.
pub(in crate::store) const GATEWAY_SESSIONS: TableDefinition<'static, &str, &[u8]> =
    TableDefinition::new("gateway_sessions");
/// History of gateway sessions. Key: (name, running number: last key plus 1).
pub(in crate::store) const GATEWAY_HISTORY: TableDefinition<'static, (&str, u64), &[u8]> =
    TableDefinition::new("gateway_history");
/// Time of the last item from each gateway, by name, in UTC ms.
pub(in crate::store) const GATEWAY_LAST_SEEN: TableDefinition<'static, &str, u64> =
    TableDefinition::new("gateway_last_seen");
/// Failed attempts. Key: (job ID, attempt number from 1).
pub(in crate::store) const ATTEMPTS: TableDefinition<'static, (u64, u32), &[u8]> =
    TableDefinition::new("attempts");
/// Dead letters by job ID.
pub(in crate::store) const DEAD_LETTERS: RowTable = TableDefinition::new("dead_letters");
/// Retried dead letters by job ID.
///
/// The row of a message stores the message until the job succeeds. The row of a delivery with a
/// corrected body stays as long as the delivery.
pub(in crate::store) const RETRIED_DEAD_LETTERS: RowTable =
    TableDefinition::new("retried_dead_letters");

/// Agents by ID, including removed ones.
pub(in crate::store) const AGENTS: RowTable = TableDefinition::new("agents");
/// Leads by ID.
pub(in crate::store) const LEADS: RowTable = TableDefinition::new("leads");
/// Open leads with an agent. Key: (agent ID, lead ID).
pub(in crate::store) const OPEN_LEADS: TableDefinition<'static, (u64, u64), ()> =
    TableDefinition::new("open_leads");
/// Open leads without an agent, oldest first. Key: (team, lead ID).
pub(in crate::store) const WAITING_LEADS: TableDefinition<'static, (&str, u64), ()> =
    TableDefinition::new("waiting_leads");
/// Removed agents with open leads that are not handed over yet, by ID.
pub(in crate::store) const PENDING_HANDOVERS: TableDefinition<'static, u64, ()> =
    TableDefinition::new("pending_handovers");
/// Last agent of each customer. Value: (agent ID, lead ID, expiry clock at the last lead in ms).
///
/// The key of a customer without a name is derived from their submission, and the agent ID is 0.
/// Random pages: only flows with `lead.sticky`.
pub(in crate::store) const CUSTOMER_AGENTS: TableDefinition<'static, &[u8; 16], (u64, u64, u64)> =
    TableDefinition::new("customer_agents");

/// Customers by a former name. Key: (hash of the name, time of the change in UTC ms). Random pages:
/// one or two rows per change.
pub(in crate::store) const RENAMED_CUSTOMERS: TableDefinition<'static, (&[u8; 16], u64), &[u8]> =
    TableDefinition::new("renamed_customers");

/// Bookings by ID.
pub(in crate::store) const BOOKINGS: RowTable = TableDefinition::new("bookings");
/// Number of confirmed bookings of each slot. Key: (calendar, length in ms, start in UTC ms).
///
/// The slots that overlap a time are one key range for each length in use.
pub(in crate::store) const OCCUPIED_SLOTS: TableDefinition<'static, (&str, u64, u64), u64> =
    TableDefinition::new("occupied_slots");
/// Tallies for metrics and counts. Key: (kind, name). See [`crate::store::rows::tallies`].
pub(in crate::store) const TALLIES: TableDefinition<'static, (&str, &str), u64> =
    TableDefinition::new("tallies");

/// Rows that retention may remove, oldest first. Key: (queue, expiry clock in ms, ID or hashed
/// key). See [`crate::store::rows::retention_queue`].
pub(in crate::store) const RETENTION: TableDefinition<'static, (u8, u64, u128), ()> =
    TableDefinition::new("retention");
/// Last finish of each job that ran again after a finish, by job ID. Value: expiry clock in ms, or
/// 0 until the job finishes again.
pub(in crate::store) const LAST_ENDS: TableDefinition<'static, u64, u64> =
    TableDefinition::new("last_ends");

/// Traffic of the phone numbers, by Meta's `phone_number_id`. A row is rewritten every few minutes.
pub(in crate::store) const PHONE_NUMBERS: TableDefinition<'static, &str, &[u8]> =
    TableDefinition::new("phone_numbers");

macro_rules! tables {
    ($($field:ident: $definition:ident, ($key:ty, $value:ty);)*) => {
        /// All tables, open for writing in one transaction. redb allows only one open handle per
        /// table.
        pub(in crate::store) struct Tables<'txn> {
            $(pub(in crate::store) $field: Table<'txn, $key, $value>,)*
        }

        impl<'txn> Tables<'txn> {
            /// Opens every table of the schema. A new file gets all tables at once, so that readers
            /// find each table.
            pub(in crate::store) fn open(txn: &'txn WriteTransaction) -> Result<Self, StoreError> {
                Ok(Self { $($field: txn.open_table($definition)?,)* })
            }
        }
    };
}

tables! {
    meta: META, (&'static str, &'static [u8]);
    submissions: SUBMISSIONS, (u64, &'static [u8]);
    late_arrivals: LATE_ARRIVALS, ((u64, u64), &'static [u8]);
    token_log: TOKEN_LOG, (u64, &'static [u8]);
    message_log: MESSAGE_LOG, (u64, &'static [u8]);
    completions: COMPLETIONS, (u64, &'static [u8]);
    encrypted_requests: ENCRYPTED_REQUESTS, (&'static [u8; 16], u64);
    encrypted_request_log: ENCRYPTED_REQUEST_LOG, (u64, &'static [u8; 16]);
    cached_responses: CACHED_RESPONSES, (u64, &'static [u8]);
    evicted_keys: EVICTED_KEYS, (&'static [u8; 16], &'static [u8]);
    drafts: DRAFTS, (&'static [u8; 16], &'static [u8]);
    abandoned_drafts: ABANDONED_DRAFTS, (&'static [u8; 16], u64);
    flow_errors: FLOW_ERRORS, (u64, &'static [u8]);
    health_events: HEALTH_EVENTS, (u64, &'static [u8]);
    unhealthy_flows: UNHEALTHY_FLOWS, (&'static str, u64);
    phone_numbers: PHONE_NUMBERS, (&'static str, &'static [u8]);
    jobs: JOBS, (u64, &'static [u8]);
    due: DUE, ((u64, u64), ());
    deliveries_due: DELIVERIES_DUE, ((&'static str, u64, u64), ());
    ordered_heads: ORDERED_HEADS, ((&'static str, &'static [u8; 16]), u64);
    ordered_queue: ORDERED_QUEUE, ((&'static str, &'static [u8; 16], u64), ());
    events: EVENTS, (u64, &'static [u8]);
    deliveries: DELIVERIES, (u64, &'static [u8]);
    delivery_responses: DELIVERY_RESPONSES, ((u64, u32), &'static [u8]);
    suspensions: SUSPENSIONS, (&'static str, &'static [u8]);
    receipts: RECEIPTS, (u64, &'static [u8]);
    wamids: WAMIDS, (&'static str, u64);
    awaiting_customer: AWAITING_CUSTOMER, ((u64, u64), ());
    gateway_sessions: GATEWAY_SESSIONS, (&'static str, &'static [u8]);
    gateway_history: GATEWAY_HISTORY, ((&'static str, u64), &'static [u8]);
    gateway_last_seen: GATEWAY_LAST_SEEN, (&'static str, u64);
    attempts: ATTEMPTS, ((u64, u32), &'static [u8]);
    dead_letters: DEAD_LETTERS, (u64, &'static [u8]);
    retried_dead_letters: RETRIED_DEAD_LETTERS, (u64, &'static [u8]);
    agents: AGENTS, (u64, &'static [u8]);
    leads: LEADS, (u64, &'static [u8]);
    open_leads: OPEN_LEADS, ((u64, u64), ());
    waiting_leads: WAITING_LEADS, ((&'static str, u64), ());
    pending_handovers: PENDING_HANDOVERS, (u64, ());
    customer_agents: CUSTOMER_AGENTS, (&'static [u8; 16], (u64, u64, u64));
    renamed_customers: RENAMED_CUSTOMERS, ((&'static [u8; 16], u64), &'static [u8]);
    bookings: BOOKINGS, (u64, &'static [u8]);
    occupied_slots: OCCUPIED_SLOTS, ((&'static str, u64, u64), u64);
    tallies: TALLIES, ((&'static str, &'static str), u64);
    retention: RETENTION, ((u8, u64, u128), ());
    last_ends: LAST_ENDS, (u64, u64);
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableTable, backends::InMemoryBackend};

    use super::*;

    #[test]
    fn due_jobs_are_ordered_by_time_then_id() {
        let db = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        let txn = db.begin_write().unwrap();
        let mut due = txn.open_table(DUE).unwrap();
        for key in [(300, 1), (5, 9), (300, 0), (5, 300)] {
            due.insert(key, ()).unwrap();
        }
        let order: Vec<_> = due
            .iter()
            .unwrap()
            .map(|row| row.unwrap().0.value())
            .collect();
        assert_eq!(order, [(5, 9), (5, 300), (300, 0), (300, 1)]);
    }

    #[test]
    fn occupied_slots_are_ordered_by_calendar_and_length() {
        let db = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        let txn = db.begin_write().unwrap();
        let mut occupied = txn.open_table(OCCUPIED_SLOTS).unwrap();
        for key in [
            ("b", 1, 1),
            ("a", 1000, 2),
            ("a", 2, 300),
            ("a", 2, 5),
            ("ab", 1, 4),
        ] {
            occupied.insert(key, 1).unwrap();
        }
        let starts: Vec<_> = occupied
            .range(("a", 0, 0)..("a", u64::MAX, 0))
            .unwrap()
            .map(|row| row.unwrap().0.value().2)
            .collect();
        assert_eq!(starts, [5, 300, 2]);
    }
}
