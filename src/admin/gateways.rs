//! Handles the requests about unofficial gateways: lists their sessions, shows the history of one,
//! and restarts a session.
//!
//! Without a server, the list contains all gateways that were ever probed. With a server, the list
//! contains the gateways of its config.

use std::collections::BTreeMap;

use crate::domain::gateway::SessionState;
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;
use crate::gateways::RestartError;
use crate::store::{Snapshot, StoreError};

use super::handler::{AdminHandler, RowSink, send_row};
use super::protocol::AdminError;
use super::queries;
use super::responses::{GatewayRow, HistoryRow, QueryRow, RestartRow, RowKey, suggestion_for};

/// Maximum number of history entries in a response.
const HISTORY_ROWS_MAX: usize = 50;

pub(super) fn list_gateways(
    handler: &AdminHandler,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let views = gateway_rows(handler, &handler.snapshot()?)?;
    views
        .into_values()
        .try_for_each(|view| send_row(sink, view))
}

pub(super) fn get_gateway(
    handler: &AdminHandler,
    name: &GatewayName,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let snapshot = handler.snapshot()?;
    let view = gateway_rows(handler, &snapshot)?
        .remove(name)
        .ok_or_else(|| gateway_not_found(name))?;
    let history = snapshot
        .gateway_history(name, HISTORY_ROWS_MAX)?
        .into_iter()
        .map(|(number, entry)| {
            let view = entry.map(HistoryRow::from);
            QueryRow::from_stored(RowKey::Number(number), view)
        });
    let history = history.collect::<Result<Vec<_>, StoreError>>()?;
    let object = queries::with_details(view, [("history", queries::to_json(history)?)])?;
    drop(snapshot);
    send_row(sink, object)
}

pub(super) fn restart_gateway(
    handler: &AdminHandler,
    name: &GatewayName,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let server = handler
        .server
        .as_ref()
        .ok_or_else(AdminError::server_required)?;
    let result = server
        .gateway_registry
        .request_restart(name)
        .map_err(|why| match why {
            RestartError::Unknown => gateway_not_found(name),
            RestartError::Busy => AdminError::failed(format!(
                "another restart of gateway {name} is in progress: wait a moment"
            )),
            RestartError::Timeout => AdminError::failed(format!(
                "gateway {name} did not respond in time: `flowgate gateways show {name}`"
            )),
        })?;
    let why = result.detail.clone();
    let Some(view) = RestartRow::new(name.clone(), result) else {
        return Err(AdminError::failed(format!(
            "the state of gateway {name} can't be read, so no action was taken: {why}"
        )));
    };
    send_row(sink, view)
}

/// Returns the warnings about gateways, one text each.
pub(super) fn warnings(
    handler: &AdminHandler,
    snapshot: &Snapshot,
) -> Result<Vec<String>, StoreError> {
    let Some(server) = &handler.server else {
        return Ok(Vec::new());
    };
    let monitored = server.gateway_registry.last_probes();
    let gateways = snapshot
        .session_states()?
        .into_iter()
        .filter(|(name, _)| monitored.contains_key(name));
    let warning = |(name, standing): (GatewayName, Result<SessionState, StoreError>)| match standing
    {
        Ok(standing) => standing.alert.is_some().then(|| {
            let suggestion = suggestion_for(&name, &standing);
            format!(
                "gateway {name} is {} since {}: {suggestion}",
                standing.state, standing.since
            )
        }),
        Err(error) => Some(error.to_string()),
    };
    Ok(gateways.filter_map(warning).collect())
}

fn gateway_rows(
    handler: &AdminHandler,
    snapshot: &Snapshot,
) -> Result<BTreeMap<GatewayName, QueryRow<GatewayRow>>, StoreError> {
    let monitored = handler
        .server
        .as_ref()
        .map(|server| server.gateway_registry.last_probes());
    let mut views = BTreeMap::new();
    for (name, standing) in snapshot.session_states()? {
        let probed_at: Option<Timestamp> = match &monitored {
            Some(known) => match known.get(&name) {
                Some(probed_at) => *probed_at,
                None => continue,
            },
            None => None,
        };
        let last_event_at = snapshot.gateway_last_seen(&name)?;
        let view = standing
            .map(|standing| GatewayRow::new(name.clone(), standing, last_event_at, probed_at));
        views.insert(
            name.clone(),
            QueryRow::from_stored(RowKey::Name(name), view)?,
        );
    }
    Ok(views)
}

fn gateway_not_found(name: &GatewayName) -> AdminError {
    AdminError::not_found(format!(
        "there is no gateway {name}, or it was not probed yet: `flowgate gateways` lists them"
    ))
}
