//! Serves the admin API over HTTP: through a Unix socket for commands, and at the admin address for
//! browsers and programs. The admin address also serves metrics and the dashboard.
//!
//! ```text
//! command ─▶ client ─(routes, request_encoder)─▶ Unix socket ─▶ socket_server ─┐
//! browser ─▶ admin address ─▶ tcp_server ─▶ authentication ────────────────────┤
//!              api ◀───────────────────────────────────────────────────────────┘
//!              api ─(routes, request_decoder)─▶ admin ─▶ row_stream ─▶ response
//! ```
//!
//! | module | content |
//! |---|---|
//! | `routes` | the table of methods, paths and requests |
//! | `request_encoder`, `request_decoder` | a request to method, path and body, and back |
//! | `fields` | the fields of a request in a path, a query or a body |
//! | `api` | one request to the API, from its head to its response |
//! | `row_stream` | the rows of a response while they are read |
//! | `response` | statuses and bodies |
//! | `socket_server` | the Unix socket |
//! | `tcp_server` | the admin address: metrics, dashboard, API |
//! | `dashboard` | the pages of [`crate::dashboard`] at the admin address |
//! | `host_check` | which names a browser may use for the admin address |
//! | `client` | the side of a command |
//!
//! See [`crate::admin`] for what each request does.

mod api;
mod client;
mod dashboard;
mod fields;
mod host_check;
mod request_decoder;
mod request_encoder;
mod response;
mod routes;
mod row_stream;
mod socket_server;
mod tcp_server;
#[cfg(test)]
mod tests;

pub use api::HandlerSource;
pub use client::AdminClient;
pub use response::AdminResponse;
pub use socket_server::{SocketServer, socket_path};
pub use tcp_server::{AdminServer, DashboardHandler, Mount};
