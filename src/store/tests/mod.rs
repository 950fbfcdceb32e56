//! Tests of the store as a whole: its guarantees on real files and on failing disks.

mod booking_cost;
mod bookings_model;
pub(crate) mod corruptions;
mod customer_changes;
mod damage;
mod disk_faults;
mod drafts;
mod event_schemas;
mod flow_events;
mod gateways;
mod guarantees;
mod integrity_beside_server;
mod jobs_and_leads_model;
mod late_arrivals;
mod ordered_deliveries;
mod outbox;
mod outbox_integrity;
mod outbox_model;
mod response_cache;
mod shared_tokens;
mod tallies;
mod test_disks;

mod many_customers_per_token;
mod receipts;
mod retention;
pub(crate) mod support;
mod waiting_leads;
