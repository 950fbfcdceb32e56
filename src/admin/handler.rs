//! Dispatches the requests of an operator, in a running server or in a command that opened the file
//! of a stopped server.
//!
//! See [`super::queries`], [`super::commands`] and [`super::server_commands`] for the requests.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::domain::access::Principal;
use crate::domain::time::Timestamp;
use crate::intake::Catalog;
use crate::reloadable::Reloadable;
use crate::store::Store;

use super::audit;
use super::authorization::{self, AuthorizedRequest};
use super::context::{AdminContext, RowSink, ServerHooks};
use super::error::AdminError;
use super::following::{self, FollowerHooks};
use super::protocol::AdminRequest;
use super::responses::{DestinationRow, StatusRow};
use super::{commands, queries, server_commands, status};

/// Handles requests about one store.
#[derive(Clone)]
pub struct AdminHandler {
    source: AnswerSource,
}

/// Source of the answers.
#[derive(Clone)]
enum AnswerSource {
    /// A store, with or without a running server.
    Store(Box<AdminContext>),
    /// A process that follows a backup.
    Follower(FollowerHooks),
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
        Self {
            source: AnswerSource::Store(Box::new(context)),
        }
    }

    /// Creates a handler for a process that follows a backup.
    #[must_use]
    pub const fn following(hooks: FollowerHooks) -> Self {
        Self {
            source: AnswerSource::Follower(hooks),
        }
    }

    /// Handles one request of `principal`. Sends one row per object to the sink, in order. A list
    /// stops early if the sink returns `false`.
    ///
    /// # Errors
    /// [`AdminError`] with the problem and a command to type. Rows may have been sent before the
    /// error. [`ErrorCode::Forbidden`](super::ErrorCode::Forbidden) if the principal may not send
    /// the request.
    pub fn handle(
        &self,
        principal: &Principal,
        request: AdminRequest,
        sink: &mut RowSink<'_>,
    ) -> Result<(), AdminError> {
        let audited = audit::describe(&request);
        let authorized = authorization::authorize(principal, request);
        let context = match &self.source {
            AnswerSource::Store(context) => context,
            AnswerSource::Follower(hooks) => {
                return following::handle(hooks, &authorized?.request, sink);
            }
        };
        audit::record(&context.store, principal, audited, || {
            let AuthorizedRequest { request, owned } = authorized?;
            if let Some(object) = owned {
                authorization::check_owned(context, &object)?;
            }
            answer(context, principal, request, sink)
        })
    }

    /// Handles one request of `principal` and returns its rows.
    ///
    /// # Errors
    /// Like [`Self::handle`], and [`ErrorCode::Failed`](super::ErrorCode::Failed) if a row is not a
    /// `T`.
    pub fn rows<T: DeserializeOwned>(
        &self,
        principal: &Principal,
        request: impl Into<AdminRequest>,
    ) -> Result<Vec<T>, AdminError> {
        let mut rows = Vec::new();
        let mut unexpected = None;
        self.handle(principal, request.into(), &mut |row| {
            match serde_json::from_value(row) {
                Ok(row) => rows.push(row),
                Err(error) => unexpected = Some(error),
            }
            unexpected.is_none()
        })?;
        match unexpected {
            None => Ok(rows),
            Some(error) => Err(AdminError::failed(format!("unexpected row: {error}"))),
        }
    }

    /// Handles one request of `principal` that has one row, and returns this row.
    ///
    /// # Errors
    /// Like [`Self::rows`], and [`ErrorCode::NotFound`](super::ErrorCode::NotFound) without a row.
    pub fn row<T: DeserializeOwned>(
        &self,
        principal: &Principal,
        request: impl Into<AdminRequest>,
    ) -> Result<T, AdminError> {
        let first = self.rows(principal, request)?.into_iter().next();
        first.ok_or_else(|| AdminError::not_found("the request has no rows"))
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.source {
            AnswerSource::Store(context) => context.now(),
            AnswerSource::Follower(_) => Timestamp::ZERO,
        }
    }

    /// Returns the business time zone.
    #[must_use]
    pub fn time_zone(&self) -> TimeZone {
        match &self.source {
            AnswerSource::Store(context) => (*context.catalog().time_zone).clone(),
            AnswerSource::Follower(_) => TimeZone::UTC,
        }
    }

    /// Returns the status without warnings, and all destinations, from one snapshot, for a metrics
    /// scraper. The cost does not grow with the number of waiting rows.
    ///
    /// # Errors
    /// [`AdminError`] if the file can't be read.
    pub fn metrics_rows(&self) -> Result<(StatusRow, Vec<DestinationRow>), AdminError> {
        match &self.source {
            AnswerSource::Store(context) => status::metrics_rows(context),
            AnswerSource::Follower(_) => Err(AdminError::server_required()),
        }
    }
}

/// Answers an authorized request.
fn answer(
    context: &AdminContext,
    principal: &Principal,
    request: AdminRequest,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match request {
        AdminRequest::Query(query) => queries::answer(context, query, sink),
        AdminRequest::Command(command) => commands::execute(context, principal, command, sink),
        AdminRequest::ServerCommand(command) => match &context.server {
            Some(server) => server_commands::execute(server, command, sink),
            None => Err(AdminError::server_required()),
        },
    }
}
