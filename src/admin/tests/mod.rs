//! Tests requests with a real store and a manual clock, with and without the socket.

mod access;
mod commands;
mod deliveries;
mod flows;
mod gateways;
mod people;
mod queries;
mod roles;
pub(crate) mod support;
mod transport;
