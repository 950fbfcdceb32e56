//! Named transactions. Each reads, decides fully and then writes.
//!
//! See [`crate::store::writer`] for the thread that runs them.

pub(in crate::store) mod accept;
pub(in crate::store) mod agents;
pub(in crate::store) mod app_secret;
pub(in crate::store) mod attempts;
pub(in crate::store) mod backup;
pub(in crate::store) mod bookings;
pub(in crate::store) mod change_log;
pub(in crate::store) mod completions;
pub(in crate::store) mod customer_agents;
pub(in crate::store) mod customer_changes;
pub(in crate::store) mod customers;
pub(in crate::store) mod dead_letters;
pub(in crate::store) mod deliveries;
pub(in crate::store) mod drafts;
pub(in crate::store) mod duplicates;
pub(in crate::store) mod events;
pub(in crate::store) mod flow_events;
pub(in crate::store) mod gateways;
pub(in crate::store) mod jobs;
pub(in crate::store) mod late_arrivals;
pub(in crate::store) mod lead_queue;
pub(in crate::store) mod leads;
pub(in crate::store) mod outbox;
pub(in crate::store) mod phone_numbers;
pub(in crate::store) mod purge_result;
pub(in crate::store) mod receipts;
pub(in crate::store) mod response_cache;
pub(in crate::store) mod retention;
pub(in crate::store) mod retention_queue;
pub(in crate::store) mod schedule;
pub(in crate::store) mod submission_history;
pub(in crate::store) mod suspensions;
