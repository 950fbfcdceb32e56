//! Handles requests to the endpoints of flows: plain and encrypted forms, and flows that an
//! upstream serves.
//!
//! See [`crate::intake`] for parsing and [`crate::domain::flow`] for the rules of a flow.

pub(in crate::http) mod data_exchange;
pub(in crate::http) mod decrypt_pool;
pub(in crate::http) mod encrypted;
pub(in crate::http) mod errors;
pub(in crate::http) mod keyed_lock;
pub(in crate::http) mod plain;
pub(in crate::http) mod screens;
pub(in crate::http) mod upstream_client;
pub(in crate::http) mod upstream_exchange;
