//! Named transactions. Each reads, decides fully and then writes.
//!
//! See [`crate::store::writer`] for the thread that runs them.

pub mod accept;
pub mod accounts;
pub mod agents;
pub mod app_secret;
pub mod attempts;
pub mod audit_log;
pub mod backup;
pub mod bookings;
pub mod change_log;
pub mod completions;
pub mod customer_agents;
pub mod customer_changes;
pub mod customers;
pub mod dead_letters;
pub mod deliveries;
pub mod drafts;
pub mod duplicates;
pub mod events;
pub mod feeds;
pub mod flow_events;
pub mod forget;
pub mod gateways;
pub mod imports;
pub mod jobs;
pub mod late_arrivals;
pub mod lead_closing;
pub mod lead_queue;
pub mod leads;
pub mod outbox;
pub mod phone_numbers;
pub mod purge_result;
pub mod purge_rows;
pub mod receipts;
pub mod response_cache;
pub mod retention;
pub mod retention_queue;
pub mod schedule;
pub mod sign_ins;
pub mod submission_history;
pub mod suspensions;
