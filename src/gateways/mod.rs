//! Monitors the sessions of unofficial gateways. Each gateway has a task that probes its session,
//! performs recovery actions, and stores the session's state and history.
//!
//! ```text
//! schedule ──────────────────▶ monitor ──probes, actions────────▶ gateway
//! webhook, admin ─▶ registry ─▶ (task) ──state, history, alerts─▶ store
//! ```
//!
//! | file | content |
//! |---|---|
//! | `monitors` | starts, updates and stops the monitors when the config changes |
//! | `monitor` | schedule of the probes; performs and stores the effects of each result |
//! | `api` | requests and responses of each kind of gateway |
//! | `credentials` | settings of a gateway with its secrets |
//! | `registry` | updates from webhooks and requests of admins for the monitors |
//!
//! A gateway that does not respond delays only its own monitor.
//!
//! See [`crate::domain::gateway`] for the effects of a state, and [`crate::intake`] for the content
//! of webhooks.

mod api;
mod credentials;
mod monitor;
mod monitors;
mod registry;

pub use credentials::{GatewayCredentials, GatewayCredentialsByName};
pub use monitors::GatewayMonitors;
pub use registry::{GatewayRegistry, RestartError, RestartResult};

#[cfg(test)]
mod tests;
