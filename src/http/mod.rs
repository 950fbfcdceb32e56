//! Serves HTTP: connections, limits, deadlines, and the handling of each request.
//!
//! ```text
//! listener ─▶ timeout_stream (head timeout, error bodies) ─▶ hyper ─▶ state
//! state ─▶ flow | webhook | gateways | health
//!          each: body (limit, budget, deadline) ─▶ intake ─▶ store
//! encrypted flows, after body: flow::encrypted ─▶ flow::decrypt_pool (RSA in separate threads)
//!          ─▶ flow::data_exchange ─▶ flow::screens ─▶ encrypted response
//! ```
//!
//! Everything is bounded: connections, heads, bodies, the memory of all bodies, and time. A client
//! that exceeds a bound gets a clear response. Only `response` chooses status codes. No input
//! causes a status 500, and no connection is closed without a response.
//!
//! See [`crate::intake`] for parsing and [`crate::store`] for the decisions about a submission.

mod body;
pub(in crate::http) mod endpoint_health;
pub(in crate::http) mod flow;
mod gateways;
mod health;
mod listener;
mod metrics_server;
mod request_log;
mod response;
mod state;
mod timeout_stream;
mod webhook;

pub use endpoint_health::alerter::HealthAlerter;
pub use endpoint_health::monitor::HealthMonitor;
pub use flow::upstream_client::{UpstreamClient, UpstreamError};
pub use listener::{BoundSocket, HttpServer};
pub use metrics_server::MetricsServer;
pub use state::{AppState, HttpConfig, HttpLimits, InboundCredentials};

#[cfg(test)]
mod tests;
