//! Checks flow errors, health events and gateway sessions.

use crate::domain::ids::{FlowName, GatewayName};

use super::slices::{IntegrityReport, check_rows_readable, for_each_row};
use crate::store::engine::Rows;
use crate::store::rows::schema::{
    FLOW_ERRORS, GATEWAY_HISTORY, GATEWAY_LAST_SEEN, GATEWAY_SESSIONS, HEALTH_EVENTS,
    UNHEALTHY_FLOWS,
};
use crate::store::tx::flow_events::EVENT_ROWS_MAX;
use crate::store::tx::gateways::HISTORY_ROWS_MAX;
use crate::store::{Store, StoreResult};

pub(super) fn check_flow_events(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    check_rows_readable(store, report, FLOW_ERRORS)?;
    check_rows_readable(store, report, HEALTH_EVENTS)?;
    for (name, rows) in store.read_last()?.with_read_txn(|txn| {
        Ok([
            (FLOW_ERRORS.name(), txn.open(FLOW_ERRORS)?.len()?),
            (HEALTH_EVENTS.name(), txn.open(HEALTH_EVENTS)?.len()?),
        ])
    })? {
        report.require(
            rows <= EVENT_ROWS_MAX,
            "flow errors and health events are bounded",
            || format!("{name}: {rows} rows"),
        );
    }
    for_each_row(store, report, UNHEALTHY_FLOWS, |slice, row| {
        let name = row.key();
        slice.require(
            FlowName::new(name).is_ok(),
            "an unhealthy flow has a valid name",
            || format!("{name:?}"),
        );
        Ok(())
    })
}

pub(super) fn check_gateways(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    check_rows_readable(store, report, GATEWAY_SESSIONS)?;
    let mut last_name = String::new();
    for_each_row(store, report, GATEWAY_HISTORY, |slice, row| {
        let (name, _) = row.key();
        slice.decode(&row);
        if name != last_name {
            name.clone_into(&mut last_name);
            let row_count = slice
                .txn
                .open(GATEWAY_HISTORY)?
                .range((name, 0)..=(name, u64::MAX))?
                .count();
            let row_count = u64::try_from(row_count).unwrap_or(u64::MAX);
            slice.require(
                row_count <= HISTORY_ROWS_MAX,
                "the history of a gateway is bounded",
                || format!("{name}: {row_count} rows"),
            );
        }
        Ok(())
    })?;
    for_each_row(store, report, GATEWAY_LAST_SEEN, |slice, row| {
        let name = row.key();
        slice.require(
            GatewayName::new(name).is_ok(),
            "a last-seen row has a valid gateway name",
            || format!("{name:?}"),
        );
        Ok(())
    })
}
