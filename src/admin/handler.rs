//! Dispatches the requests of an operator, in a running server or in a command that opened the file
//! of a stopped server.
//!
//! See [`super::queries`], [`super::commands`] and [`super::server_commands`] for the requests, and
//! [`super::transport`] for the socket.

use std::sync::Arc;

use crate::clock::Clock;
use crate::intake::Catalog;
use crate::reloadable::Reloadable;
use crate::store::Store;

use super::context::{AdminContext, RowSink, ServerHooks};
use super::error::AdminError;
use super::protocol::AdminRequest;
use super::responses::{DestinationRow, StatusRow};
use super::{commands, queries, server_commands, status};

/// Handles requests about one store.
#[derive(Clone)]
pub struct AdminHandler {
    context: AdminContext,
}

impl AdminHandler {
    /// Creates a handler for `store`. Only a running server provides [`ServerHooks`].
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        catalog: Reloadable<Catalog>,
        server: Option<ServerHooks>,
    ) -> Self {
        let context = AdminContext {
            store,
            clock,
            catalog,
            server,
        };
        Self { context }
    }

    /// Handles one request. Sends one row per object to the sink, in order. A list stops early if
    /// the sink returns `false`.
    ///
    /// # Errors
    /// [`AdminError`] with the problem and a command to type. Rows may have been sent before the
    /// error.
    pub fn handle(&self, request: AdminRequest, sink: &mut RowSink<'_>) -> Result<(), AdminError> {
        match request {
            AdminRequest::Query(query) => queries::answer(&self.context, query, sink),
            AdminRequest::Command(command) => commands::execute(&self.context, command, sink),
            AdminRequest::ServerCommand(command) => match &self.context.server {
                Some(server) => server_commands::execute(server, command, sink),
                None => Err(AdminError::server_required()),
            },
        }
    }

    /// Returns the status without warnings, and all destinations, from one snapshot, for a metrics
    /// scraper. The cost does not grow with the number of waiting rows.
    ///
    /// # Errors
    /// [`AdminError`] if the file can't be read.
    pub fn metrics_rows(&self) -> Result<(StatusRow, Vec<DestinationRow>), AdminError> {
        status::metrics_rows(&self.context)
    }
}
