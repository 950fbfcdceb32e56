//! Handles requests to the endpoints of flows: plain and encrypted forms, and flows that an
//! upstream serves.
//!
//! ```text
//! plain ─────────────────────────────────────────────▶ acceptance ─▶ writer
//! encrypted ─▶ data_exchange ─▶ upstream_exchange ─▶ completion ─▶ drafts ─▶ exchange ─▶ screens
//!     │              └─▶ flow_errors
//!     └─▶ decrypt_pool, keyed_lock
//! ```
//!
//! See [`crate::intake`] for parsing and [`crate::domain::flow`] for the rules of a flow.

mod acceptance;
mod completion;
mod data_exchange;
pub(in crate::http) mod decrypt_pool;
mod drafts;
pub(in crate::http) mod encrypted;
mod exchange;
mod flow_errors;
pub(in crate::http) mod keyed_lock;
pub(in crate::http) mod plain;
mod screens;
pub(in crate::http) mod token_warnings;
pub(in crate::http) mod upstream_client;
mod upstream_exchange;
