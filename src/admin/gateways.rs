//! Lists unofficial gateways with the states of their sessions, shows the history of one, and
//! creates warnings about them.
//!
//! Without a server, the list contains all gateways that were ever probed. With a server, the list
//! contains the gateways of its config.

use std::collections::BTreeMap;

use crate::domain::ids::GatewayName;
use crate::store::{Snapshot, StoreError};

use super::context::AdminContext;
use super::error::AdminError;
use super::responses::{GatewayDetails, GatewayRow, QueryRow, RowKey, suggestion_for};

/// Maximum number of history entries in a response.
const HISTORY_ROWS_MAX: usize = 50;

pub(super) fn get_gateway(
    context: &AdminContext,
    name: &GatewayName,
) -> Result<GatewayDetails, AdminError> {
    let snapshot = context.snapshot()?;
    let gateway = gateway_rows(context, &snapshot)?
        .remove(name)
        .ok_or_else(|| gateway_not_found(name))?;
    let history = snapshot
        .gateway_history(name, HISTORY_ROWS_MAX)?
        .into_iter();
    let history =
        history.map(|(number, entry)| QueryRow::from_stored(RowKey::Number(number), entry));
    let history = history.collect::<Result<_, StoreError>>()?;
    Ok(GatewayDetails { gateway, history })
}

/// Returns the warnings about gateways, one text each.
pub(super) fn list_warnings(
    context: &AdminContext,
    snapshot: &Snapshot,
) -> Result<Vec<String>, StoreError> {
    let Some(server) = &context.server else {
        return Ok(Vec::new());
    };
    let monitored = server.gateway_registry.last_probes();
    let mut warnings = Vec::new();
    for (name, session) in snapshot.session_states()? {
        match session {
            _ if !monitored.contains_key(&name) => {}
            Ok(session) if session.alert.is_none() => {}
            Ok(session) => warnings.push(format!(
                "gateway {name} is {} since {}: {}",
                session.state,
                session.since,
                suggestion_for(&name, &session)
            )),
            Err(error) => warnings.push(error.to_string()),
        }
    }
    Ok(warnings)
}

pub(super) fn gateway_rows(
    context: &AdminContext,
    snapshot: &Snapshot,
) -> Result<BTreeMap<GatewayName, QueryRow<GatewayRow>>, StoreError> {
    let server = context.server.as_ref();
    let monitored = server.map(|server| server.gateway_registry.last_probes());
    let mut rows = BTreeMap::new();
    for (name, session) in snapshot.session_states()? {
        let probed_at = match monitored.as_ref().map(|known| known.get(&name)) {
            Some(None) => continue,
            Some(Some(probed_at)) => *probed_at,
            None => None,
        };
        let last_event_at = snapshot.gateway_last_seen(&name)?;
        let row =
            session.map(|session| GatewayRow::new(name.clone(), session, last_event_at, probed_at));
        let row = QueryRow::from_stored(RowKey::Name(name.clone()), row)?;
        rows.insert(name, row);
    }
    Ok(rows)
}

pub(super) fn gateway_not_found(name: &GatewayName) -> AdminError {
    AdminError::not_found(format!(
        "there is no gateway {name}, or it was not probed yet: `flowgate gateways` lists them"
    ))
}
