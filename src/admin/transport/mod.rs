//! Unix socket between commands and a running server: one JSON line per request, JSON lines back.
//!
//! See [`crate::admin::handler`] for what a request does.

pub(crate) mod client;
pub(crate) mod server;
