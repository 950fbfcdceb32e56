//! Every table of the file: its name, its key layout, and the order that follows from it. The schema is here and nowhere
//! else.
//!
//! Keys and values are primitives on purpose: redb stores the type names in the file and refuses to open a table under
//! a changed one. Rows are bytes, read and written by [`super::codec`]. Names are never used again once retired.
//!
//! Tables that every submission touches have ascending keys, so that a batch writes neighbouring pages: touching random
//! pages is what makes a commit slow. The exceptions say so.

use redb::{Table, TableDefinition, WriteTransaction};

use super::StoreError;

/// A table of rows under ascending numbers.
pub(super) type Rows = TableDefinition<'static, u64, &'static [u8]>;
/// A table of rows under the hash of a text: each access is a page of its own.
pub(super) type Hashed = TableDefinition<'static, &'static [u8; 16], &'static [u8]>;

/// What the file is: `marker`, `format`, and `counters`, which every commit rewrites. See [`super::format`].
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// Submissions by id, in order of acceptance. Written once, never rewritten.
pub(super) const SUBMISSIONS: Rows = TableDefinition::new("submissions");
/// What came later for a submission that was already there. Key: (submission id, number from 1).
pub(super) const JOINS: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("joins");
/// Idempotency keys of forms in order of acceptance. Key: a running number. The truth behind [`super::keys`].
pub(super) const TOKEN_LOG: Rows = TableDefinition::new("token_log");
/// Idempotency keys of webhook messages, likewise.
pub(super) const MESSAGE_LOG: Rows = TableDefinition::new("message_log");
/// Ends of forms that are not the usual one, by the row that their form's key has in `token_log`.
pub(super) const ENDS: Rows = TableDefinition::new("ends");
/// The number of each encrypted request that was answered. Random pages: one look-up and one row for each of them.
pub(super) const ANSWERED: TableDefinition<'static, &[u8; 16], u64> = TableDefinition::new("answered");
/// The same requests in order: the oldest are forgotten first. Key: the last one's and 1.
pub(super) const ANSWERED_LOG: TableDefinition<'static, u64, &[u8; 16]> = TableDefinition::new("answered_log");
/// What was answered to them, by number.
pub(super) const ANSWERS: Rows = TableDefinition::new("answers");
/// Keys that no longer fit into memory. Random pages: touched only past `limits.idempotency_keys`.
pub(super) const OLD_KEYS: Hashed = TableDefinition::new("old_keys");
/// Forms in the making, by the key of their token or user. Random pages: only flows with several screens.
pub(super) const DRAFTS: Hashed = TableDefinition::new("drafts");
/// Drafts that were told of as left and have not gone on since; value: the time of their last screen (UTC ms).
pub(super) const ABANDONED: TableDefinition<'static, &[u8; 16], u64> = TableDefinition::new("abandoned");

/// What clients did not like, in order of receipt. Key: the last one's and 1.
pub(super) const COMPLAINTS: Rows = TableDefinition::new("complaints");
/// What Meta's monitoring said, likewise.
pub(super) const HEALTH_EVENTS: Rows = TableDefinition::new("health_events");
/// Flows whose endpoint is in trouble by our own figures, as was told, and since when (UTC ms).
pub(super) const UNWELL: TableDefinition<'static, &str, u64> = TableDefinition::new("unwell");

/// Jobs by id. Small rows: they are rewritten as the job goes on.
pub(super) const JOBS: Rows = TableDefinition::new("jobs");
/// Jobs waiting, soonest first. Key: (`due_at` in UTC ms, job id). Equal times run in order of acceptance.
pub(super) const DUE: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("due");
/// Deliveries waiting, by destination, soonest first. Key: (destination, `due_at` in UTC ms, job id).
pub(super) const LANES: TableDefinition<'static, (&str, u64, u64), ()> = TableDefinition::new("lanes");
/// Deliveries whose turn it is, where a destination is told of each customer in order: these are in their lanes. Key:
/// (destination, customer); value: job id. Random pages: only where that is asked for; likewise below.
pub(super) const TURNS: TableDefinition<'static, (&str, &[u8; 16]), u64> = TableDefinition::new("turns");
/// Deliveries that wait for their turn, oldest first. Key: (destination, customer, job id).
pub(super) const QUEUES: TableDefinition<'static, (&str, &[u8; 16], u64), ()> = TableDefinition::new("queues");
/// What the outside is told, by the job id of its first delivery, in the order in which it became true. Written once.
pub(super) const EVENTS: Rows = TableDefinition::new("events");
/// What each job of kind `deliver` is to do, by job id. Written once.
pub(super) const DELIVERIES: Rows = TableDefinition::new("deliveries");
/// What came back from the attempts of deliveries. Key: (job id, attempt from 1).
pub(super) const EXCHANGES: TableDefinition<'static, (u64, u32), &[u8]> = TableDefinition::new("exchanges");
/// Destinations that are to be left alone, by name.
pub(super) const STANDSTILLS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("standstills");
/// What is known of the messages that deliveries became, by job id: of kinds that tell of it later.
pub(super) const RECEIPTS: Rows = TableDefinition::new("receipts");
/// The deliveries behind those messages. Key: Meta's id of the message. Random pages: one for each message.
pub(super) const WAMIDS: TableDefinition<'static, &str, u64> = TableDefinition::new("wamids");
/// Deliveries that wait for their customer to become known. Key: (submission id, job id).
pub(super) const AWAITING: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("awaiting");
/// How unofficial gateways stand, by name.
pub(super) const GATEWAYS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("gateways");
/// What became of them. Key: (name, the last one's and 1).
pub(super) const GATEWAY_HISTORY: TableDefinition<'static, (&str, u64), &[u8]> =
    TableDefinition::new("gateway_history");
/// When something last came from them, by name, in UTC ms.
pub(super) const GATEWAYS_HEARD: TableDefinition<'static, &str, u64> = TableDefinition::new("gateways_heard");
/// Failed attempts. Key: (job id, attempt from 1).
pub(super) const ATTEMPTS: TableDefinition<'static, (u64, u32), &[u8]> = TableDefinition::new("attempts");
/// Dead letters by job id.
pub(super) const DEAD: Rows = TableDefinition::new("dead");
/// Dead letters that are run again, by job id: of messages, as they hold the message until that succeeds, and of deliveries
/// whose body an admin corrected, for as long as the delivery is kept.
pub(super) const REVIVED: Rows = TableDefinition::new("revived");

/// Agents by id, removed ones included.
pub(super) const AGENTS: Rows = TableDefinition::new("agents");
/// Leads by id.
pub(super) const LEADS: Rows = TableDefinition::new("leads");
/// Open leads that an agent has. Key: (agent id, lead id).
pub(super) const OPEN_LEADS: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("open_leads");
/// Open leads that nobody has yet, oldest first. Key: (team, lead id).
pub(super) const WAITING_LEADS: TableDefinition<'static, (&str, u64), ()> = TableDefinition::new("waiting_leads");
/// Removed agents whose open leads are not all handed over, by id.
pub(super) const LEAVING: TableDefinition<'static, u64, ()> = TableDefinition::new("leaving");
/// Who had a customer last. Value: (agent id, lead id, elapsed clock of the last lead in ms). A customer whom nothing names
/// yet is known by their submission, with agent 0. Random pages: only `sticky` flows.
pub(super) const CUSTOMERS: TableDefinition<'static, &[u8; 16], (u64, u64, u64)> = TableDefinition::new("customers");

/// Customers by a name that they no longer have. Key: (the name's hash, when it changed in UTC ms). Random pages: one row or two for each
/// change.
pub(super) const RENAMED: TableDefinition<'static, (&[u8; 16], u64), &[u8]> = TableDefinition::new("renamed_customers");

/// Bookings by id.
pub(super) const BOOKINGS: Rows = TableDefinition::new("bookings");
/// Number of confirmed bookings of each time. Key: (calendar, length in ms, start in UTC ms): those that overlap a time are
/// one range for each length that is in use.
pub(super) const PLACES: TableDefinition<'static, (&str, u64, u64), u64> = TableDefinition::new("places");
/// Sums that figures need. Key: (what is counted, of whom). See [`super::tallies`].
pub(super) const TALLIES: TableDefinition<'static, (&str, &str), u64> = TableDefinition::new("tallies");

/// Rows that retention may remove, oldest first. Key: (queue, elapsed clock in ms, id or hashed key). See [`super::retention`].
pub(super) const RETENTION: TableDefinition<'static, (u8, u64, u128), ()> = TableDefinition::new("retention");
/// Last ends of jobs that ran again after an end, by job id. Value: elapsed clock in ms; 0 until the job ends again.
pub(super) const LAST_ENDS: TableDefinition<'static, u64, u64> = TableDefinition::new("last_ends");

/// The traffic of our numbers, by Meta's `phone_number_id`. Rewritten every few minutes.
pub(super) const NUMBERS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("numbers");

macro_rules! tables {
    ($($field:ident: $definition:ident, ($key:ty, $value:ty);)*) => {
        /// All tables, open for writing in one transaction. redb allows each to be open once.
        pub(super) struct Tables<'txn> {
            $(pub(super) $field: Table<'txn, $key, $value>,)*
        }

        impl<'txn> Tables<'txn> {
            /// Opens every table of the schema. A new file gets all of them at once, so that readers find each of them.
            pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, StoreError> {
                Ok(Self { $($field: txn.open_table($definition)?,)* })
            }
        }
    };
}

tables! {
    meta: META, (&'static str, &'static [u8]);
    submissions: SUBMISSIONS, (u64, &'static [u8]);
    joins: JOINS, ((u64, u64), &'static [u8]);
    token_log: TOKEN_LOG, (u64, &'static [u8]);
    message_log: MESSAGE_LOG, (u64, &'static [u8]);
    ends: ENDS, (u64, &'static [u8]);
    answered: ANSWERED, (&'static [u8; 16], u64);
    answered_log: ANSWERED_LOG, (u64, &'static [u8; 16]);
    answers: ANSWERS, (u64, &'static [u8]);
    old_keys: OLD_KEYS, (&'static [u8; 16], &'static [u8]);
    drafts: DRAFTS, (&'static [u8; 16], &'static [u8]);
    abandoned: ABANDONED, (&'static [u8; 16], u64);
    complaints: COMPLAINTS, (u64, &'static [u8]);
    health_events: HEALTH_EVENTS, (u64, &'static [u8]);
    unwell: UNWELL, (&'static str, u64);
    numbers: NUMBERS, (&'static str, &'static [u8]);
    jobs: JOBS, (u64, &'static [u8]);
    due: DUE, ((u64, u64), ());
    lanes: LANES, ((&'static str, u64, u64), ());
    turns: TURNS, ((&'static str, &'static [u8; 16]), u64);
    queues: QUEUES, ((&'static str, &'static [u8; 16], u64), ());
    events: EVENTS, (u64, &'static [u8]);
    deliveries: DELIVERIES, (u64, &'static [u8]);
    exchanges: EXCHANGES, ((u64, u32), &'static [u8]);
    standstills: STANDSTILLS, (&'static str, &'static [u8]);
    receipts: RECEIPTS, (u64, &'static [u8]);
    wamids: WAMIDS, (&'static str, u64);
    awaiting: AWAITING, ((u64, u64), ());
    gateways: GATEWAYS, (&'static str, &'static [u8]);
    gateway_history: GATEWAY_HISTORY, ((&'static str, u64), &'static [u8]);
    gateways_heard: GATEWAYS_HEARD, (&'static str, u64);
    attempts: ATTEMPTS, ((u64, u32), &'static [u8]);
    dead: DEAD, (u64, &'static [u8]);
    revived: REVIVED, (u64, &'static [u8]);
    agents: AGENTS, (u64, &'static [u8]);
    leads: LEADS, (u64, &'static [u8]);
    open_leads: OPEN_LEADS, ((u64, u64), ());
    waiting_leads: WAITING_LEADS, ((&'static str, u64), ());
    leaving: LEAVING, (u64, ());
    customers: CUSTOMERS, (&'static [u8; 16], (u64, u64, u64));
    renamed: RENAMED, ((&'static [u8; 16], u64), &'static [u8]);
    bookings: BOOKINGS, (u64, &'static [u8]);
    places: PLACES, ((&'static str, u64, u64), u64);
    tallies: TALLIES, ((&'static str, &'static str), u64);
    retention: RETENTION, ((u8, u64, u128), ());
    last_ends: LAST_ENDS, (u64, u64);
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableTable, backends::InMemoryBackend};

    use super::*;

    #[test]
    fn what_is_due_soonest_comes_first_and_equal_times_in_order_of_acceptance() {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let txn = db.begin_write().unwrap();
        let mut due = txn.open_table(DUE).unwrap();
        for key in [(300, 1), (5, 9), (300, 0), (5, 300)] {
            due.insert(key, ()).unwrap();
        }
        let order: Vec<_> = due.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        assert_eq!(order, [(5, 9), (5, 300), (300, 0), (300, 1)]);
    }

    #[test]
    fn places_of_a_calendar_lie_together_by_length_then_by_start() {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let txn = db.begin_write().unwrap();
        let mut places = txn.open_table(PLACES).unwrap();
        for key in [("b", 1, 1), ("a", 1000, 2), ("a", 2, 300), ("a", 2, 5), ("ab", 1, 4)] {
            places.insert(key, 1).unwrap();
        }
        let of_a: Vec<_> =
            places.range(("a", 0, 0)..("a", u64::MAX, 0)).unwrap().map(|row| row.unwrap().0.value().2).collect();
        assert_eq!(of_a, [5, 300, 2]);
    }
}
