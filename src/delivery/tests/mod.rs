//! Tests of the delivery service on a real store, with a manual clock, an entropy source that can
//! fail, and local receivers.

mod destination_worker;
mod max_age;
mod service;
pub(super) mod support;
mod worker_harness;
