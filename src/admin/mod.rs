//! Handles the requests of an operator, with the same code for a running server and for the data
//! file of a stopped server.
//!
//! [`crate::admin_server`] receives the requests to a running server.
//!
//! | module | content |
//! |---|---|
//! | `protocol`, `filters`, `error` | the requests, their filters, and errors |
//! | `authorization` | which requests a principal may send |
//! | `audit` | the log of all changes |
//! | `access` | sign-ins, invites and passwords of browsers |
//! | `account_requests` | fields of the requests about accounts |
//! | `handler` | dispatch of each request by its type |
//! | `queries` | requests that only read |
//! | `commands` | requests that change rows |
//! | `server_commands` | requests that need a running server |
//! | `status`, `warnings` | `flowgate status`, and the status for metrics |
//! | `destinations`, `flow_health`, `gateways` | rows and warnings of these topics |
//! | `following` | requests to a process that follows a backup |
//! | `context` | the store, the config and the hooks of the server, for all of these |
//! | `responses` | the JSON rows of the responses |
//!
//! See [`crate::cli`] for the output on a terminal, and [`crate::domain`] for the rules.

pub mod access;
mod account_requests;
mod audit;
mod authorization;
mod commands;
mod context;
mod destinations;
mod error;
mod filters;
mod flow_health;
mod following;
mod gateways;
mod handler;
mod protocol;
mod queries;
mod responses;
mod server_commands;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod warnings;

pub(crate) use account_requests::{AccountInvite, AuditFilter};
pub(crate) use context::ServerHooks;
pub(crate) use error::{AdminError, ErrorCode};
pub(crate) use following::FollowerHooks;
pub(crate) use handler::AdminHandler;
pub(crate) use protocol::{
    AdminCommand, AdminQuery, AdminRequest, CustomerFilter, JobSelector, LeadSelection, ListFilter,
    SearchLimits, ServerCommand, SlotFilter,
};
pub(crate) use protocol::{AgentSettings, FormImport, ImportedAgent, ImportedForm};
pub(crate) use responses::{
    AccountRow, AgentRow, AuditRow, BookingRow, CalendarRow, CheckRow, CopyRow, CustomerRow,
    DeadLetterRow, DeliveryRow, DestinationRow, DestinationStatsRow, DestinationTestRow, DraftRow,
    DryRunRow, EndpointHealthRow, FlowErrorRow, FlowHealthRow, FlowRow, GatewayRow, HeaderRow,
    ImportProblem, ImportRow, InviteRow, JobRow, LeadRow, LogLevelRow, MetaEventRow, PublicKeyRow,
    QueryRow, ReloadRow, SignatureRow, SlotRow, StatusRow, SubmissionRow, TraceRow,
};
pub(crate) use server_commands::write_test_result;
