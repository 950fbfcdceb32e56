//! The desk and the way to it: a real store, a clock that stands still.

mod changes;
mod deliveries;
mod flows;
mod gateways;
mod lists;
mod socket;
mod support;
