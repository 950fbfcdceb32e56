//! The store from outside its rooms: what it promises, on real files and on disks that fail.

mod answers;
mod disks;
mod drafts;
mod faults;
mod flow_events;
mod gateways;
mod late;
mod model;
mod places;
mod promises;
mod support;
