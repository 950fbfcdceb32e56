//! Tests of the store as a whole: its guarantees on real files and on failing disks.

mod abandoned_drafts;
mod booking_cost;
mod bookings_model;
mod change_log;
mod customer_changes;
mod damaged_pages;
mod damaged_rows;
mod data_file;
mod dead_letters;
mod disk_faults;
mod drafts;
mod duplicates;
mod event_schemas;
mod flow_events;
mod gateways;
mod integrity_beside_server;
mod jobs_and_leads_model;
mod late_arrivals;
mod lead_assignment;
mod many_customers_per_token;
mod ordered_deliveries;
mod outbox_events;
mod outbox_integrity;
mod outbox_model;
mod outbox_retention;
mod receipts;
mod response_cache;
mod retention_clock;
mod retention_slices;
mod shared_token_drafts;
mod shared_tokens;
mod tallies;
mod waiting_leads;

// Setup that the tests share.
mod booking_forms;
mod booking_steps;
pub(crate) mod corruptions;
mod customer_forms;
mod file_edits;
mod invariants;
mod job_and_lead_steps;
mod outbox_bench;
mod purge_rounds;
mod receipt_bench;
pub(crate) mod support;
mod test_disks;
