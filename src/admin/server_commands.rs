//! Executes the requests that only a running server can execute, through its hooks.

use crate::domain::ids::GatewayName;
use crate::gateways::RestartError;

use super::context::{RowSink, ServerHooks, send_row};
use super::error::AdminError;
use super::gateways;
use super::protocol::ServerCommand;
use super::responses::{DestinationTestRow, LogLevelRow, PublicKeyRow, RestartRow, SignatureRow};

/// Executes one request and sends the row with its result.
pub(super) fn execute(
    server: &ServerHooks,
    command: ServerCommand,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match command {
        ServerCommand::TestDestination { name, to, event } => {
            write_test_result((server.test_destination)(&name, to.as_ref(), event)?, sink)
        }
        ServerCommand::RestartGateway { name } => send_row(sink, restart_gateway(server, name)?),
        ServerCommand::SignBody { body } => {
            let signature = (server.sign_body)(body.as_bytes());
            send_row(sink, SignatureRow { signature })
        }
        ServerCommand::FlowPublicKey { flow } => {
            let public_key = (server.flow_public_key)(&flow);
            send_row(sink, PublicKeyRow { public_key })
        }
        ServerCommand::LogLevel { filter } => {
            send_row(sink, change_log_filter(server, filter.as_deref())?)
        }
        ServerCommand::Promote => Err(AdminError::failed(
            "this server follows no backup: it serves already",
        )),
        ServerCommand::ReloadConfig => send_row(sink, (server.reload_config)()?),
    }
}

/// Sends the row with the result of a test, from a running server or from a command.
///
/// # Errors
/// [`AdminError`] if the destination rejected the test. The row precedes the error.
pub fn write_test_result(
    test: DestinationTestRow,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let problem = test
        .delivered
        .map_or("can't be reached", |_| "rejected the test");
    let failed = test
        .error
        .as_ref()
        .map(|why| AdminError::failed(format!("{} {problem}: {why}", test.destination)));
    send_row(sink, test)?;
    failed.map_or(Ok(()), Err)
}

/// Changes the log filter, if there is a new one. Returns the active filter.
fn change_log_filter(
    server: &ServerHooks,
    filter: Option<&str>,
) -> Result<LogLevelRow, AdminError> {
    if let Some(filter) = filter {
        let changed = server.log_filter.set(filter);
        changed.map_err(|error| AdminError::invalid(error.to_string()))?;
        tracing::info!(log.filter = filter, "an admin changed the log filter");
    }
    Ok(LogLevelRow::from(server.log_filter.state()))
}

fn restart_gateway(server: &ServerHooks, name: GatewayName) -> Result<RestartRow, AdminError> {
    let restart = server.gateway_registry.request_restart(&name);
    let result = restart.map_err(|why| match why {
        RestartError::Unknown => gateways::gateway_not_found(&name),
        RestartError::Busy => AdminError::failed(format!(
            "another restart of gateway {name} is in progress: wait a moment"
        )),
        RestartError::Timeout => AdminError::failed(format!(
            "gateway {name} did not respond in time: `flowgate gateways show {name}`"
        )),
    })?;
    let unread = AdminError::failed(format!(
        "the state of gateway {name} can't be read, so no action was taken: {}",
        result.detail
    ));
    RestartRow::new(name, result).ok_or(unread)
}
