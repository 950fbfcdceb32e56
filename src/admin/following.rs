//! Answers the requests to a process that follows a backup: it has a status, and can be promoted.

use std::sync::Arc;

use super::context::{RowSink, send_row};
use super::error::AdminError;
use super::protocol::{AdminQuery, AdminRequest, ServerCommand};
use crate::backup::{FollowStatus, Promotion};

/// Functions of a process that follows a backup.
#[derive(Clone)]
pub struct FollowerHooks {
    /// Returns the status.
    pub status: Arc<dyn Fn() -> FollowStatus + Send + Sync>,
    /// Ends following and makes the process serve.
    pub promote: Arc<dyn Fn() -> Result<Promotion, AdminError> + Send + Sync>,
}

/// Answers one request.
pub(super) fn handle(
    hooks: &FollowerHooks,
    request: &AdminRequest,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match request {
        AdminRequest::Query(AdminQuery::Status) => send_row(sink, (hooks.status)()),
        AdminRequest::ServerCommand(ServerCommand::Promote) => send_row(sink, (hooks.promote)()?),
        _ => Err(AdminError::failed(
            "this machine follows a backup: it answers only `flowgate status`, and `flowgate promote` makes it serve",
        )),
    }
}
