//! The store from outside its rooms: what it promises, on real files and on disks that fail.

mod answers;
mod check_beside;
mod customers;
mod damage;
mod disks;
mod drafts;
mod faults;
mod figures;
mod flow_events;
mod gateways;
mod late;
mod many_bookings;
mod model;
mod outbox;
mod outbox_broken;
mod outbox_model;
mod outbox_shapes;

mod places;
mod promises;
mod queues;
mod receipts;
mod renamed_customers;
mod retention;
pub(crate) mod stray;
pub(crate) mod support;
mod tokens_of_many;
mod waiting_leads;
