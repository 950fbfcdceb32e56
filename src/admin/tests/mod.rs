//! Tests requests with a real store and a manual clock, with and without the socket.

mod commands;
mod deliveries;
mod flows;
mod gateways;
mod people;
mod queries;
pub(crate) mod support;
