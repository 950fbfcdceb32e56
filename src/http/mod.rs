//! Serves HTTP: connections, limits, deadlines, and the handling of each request.
//!
//! ```text
//! listener ─▶ timeout_stream (head timeout, error bodies) ─▶ hyper ─▶ router
//! router ─▶ flow | webhook | gateways | calendar_feed | health
//!           each: authentication ─▶ body (limit, budget, deadline) ─▶ intake
//!                 ─▶ request (commit in the store) ─▶ response
//! encrypted flows, after body: flow::encrypted ─▶ flow::decrypt_pool (RSA in separate threads)
//!          ─▶ flow::data_exchange ─▶ flow::screens ─▶ encrypted response
//! ```
//!
//! The router knows the handlers, the handlers know `request` and `state`, and these know none of
//! them.
//!
//! Everything is bounded: connections, heads, bodies, the memory of all bodies, and time. A client
//! that exceeds a bound gets a clear response. Only `response` chooses status codes. No input
//! causes a status 500, and no connection is closed without a response.
//!
//! See [`crate::intake`] for parsing and [`crate::store`] for the decisions about a submission.

mod authentication;
mod body;
mod calendar_feed;
mod endpoint_health;
mod flow;
mod gateways;
mod health;
mod lead_close;
mod listener;
mod request;
mod request_log;
mod response;
mod response_body;
mod router;
mod state;
mod timeout_stream;
mod webhook;

pub use endpoint_health::alerter::HealthAlerter;
pub use endpoint_health::monitor::HealthMonitor;
pub use flow::upstream_client::{UpstreamClient, UpstreamError};
pub use listener::{BoundSocket, HttpServer};
pub(crate) use listener::{ConnectionLimits, serve_listener};
pub use state::{AppState, HttpConfig, InboundCredentials};
pub(crate) use timeout_stream::ConnectionPhase;

#[cfg(test)]
mod tests;
