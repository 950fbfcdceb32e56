//! Connects commands to a running server through a Unix socket. A request is one line of JSON, and
//! the response is one or more lines of JSON.
//!
//! See [`crate::admin::handler`] for the handling of requests.

pub(crate) mod client;
pub(crate) mod server;
