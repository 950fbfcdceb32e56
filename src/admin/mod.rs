//! Handles the requests of an operator, with the same code for a running server and for the data
//! file of a stopped server.
//!
//! A command reaches a running server through a Unix socket.
//!
//! | module | content |
//! |---|---|
//! | `protocol` | the requests and errors |
//! | `handler` | dispatch of each request to its function; `status` and `check` |
//! | `queries` | requests that only read |
//! | `commands` | requests that change data |
//! | `responses` | the JSON rows of the responses |
//! | `transport` | server and client of the Unix socket |
//!
//! See [`crate::cli`] for the output on a terminal, and [`crate::domain`] for the rules.

mod commands;
mod destinations;
mod flow_health;
mod gateways;
mod handler;
mod number_warnings;
mod protocol;
mod queries;
mod responses;
#[cfg(test)]
mod tests;
pub(crate) mod transport;

pub use destinations::write_test_result;
pub use handler::{AdminHandler, ServerHooks};
pub use protocol::{AdminError, AdminRequest, AgentSettings, ErrorCode, JobSelector, ListFilter};
pub use responses::{
    DeadLetterRow, DestinationRow, DestinationStatsRow, DestinationTestRow, HeaderRow, JobRow,
    LeadRow, ReloadRow, StatusRow, SubmissionRow,
};
pub use transport::client::AdminClient;
pub use transport::server::{HandlerSource, SocketServer, socket_path};
