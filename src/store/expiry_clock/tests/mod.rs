//! Tests of the expiry clock with settings of the wall clock and periods of downtime.

mod any_order;
mod settings;
mod simulated_server;
