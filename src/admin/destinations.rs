//! Lists destinations with their statistics, creates warnings about them, and pauses and resumes
//! them.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::DestinationName;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{PauseDestination, Snapshot, StoreError};

use super::context::AdminContext;
use super::error::AdminError;
use super::responses::DestinationRow;
use super::text::pluralize;

/// Time after which a due delivery causes a warning.
const OVERDUE_THRESHOLD: Millis = Millis::from_secs(5 * 60);

/// Time for which an expired delivery causes a warning.
const EXPIRED_WARNING_WINDOW: Millis = Millis::from_secs(24 * 3600);

/// Returns all destinations of the config, and other destinations that have waiting deliveries or a
/// suspension, by name.
pub(super) fn destination_rows(
    context: &AdminContext,
    snapshot: &Snapshot,
) -> Result<Vec<DestinationRow>, StoreError> {
    let catalog = context.catalog();
    let waiting: BTreeMap<_, _> = snapshot.delivery_queues()?.into_iter().collect();
    let suspensions: BTreeMap<_, _> = snapshot.suspensions()?.into_iter().collect();
    let stats = context
        .server
        .as_ref()
        .map(|server| (server.destination_stats)());
    let stats = stats.unwrap_or_default();
    let configured = catalog.destination_hosts.keys();
    let others = waiting.keys().chain(suspensions.keys());
    let names: BTreeSet<_> = configured.chain(others).collect();
    let rows = names.into_iter().map(|name| {
        let waiting = waiting.get(name).copied().unwrap_or_default();
        let suspension = suspensions.get(name).cloned().unwrap_or_default();
        let (disabled_at, disabled_reason) = suspension.disabled.unzip();
        let mut row = DestinationRow {
            name: name.clone(),
            state: String::new(),
            host: catalog.destination_hosts.get(name).cloned(),
            waiting: waiting.count,
            next_due: waiting.first_due_at,
            paused_at: suspension.paused_at,
            disabled_at,
            disabled_reason: disabled_reason.map(Into::into),
            stats: stats.get(name).cloned().unwrap_or_default(),
        };
        state_name(&row).clone_into(&mut row.state);
        row
    });
    Ok(rows.collect())
}

/// Returns the state of a destination, as in [`DestinationRow::state`].
const fn state_name(row: &DestinationRow) -> &'static str {
    match row {
        _ if row.host.is_none() => "unknown",
        _ if row.disabled_at.is_some() => "disabled",
        _ if row.paused_at.is_some() => "paused",
        _ if row.stats.open_until.is_some() => "failing",
        _ if row.stats.paused_until.is_some() => "held",
        _ => "ok",
    }
}

/// Returns the warnings about destinations, one text each.
pub(super) fn list_warnings(
    context: &AdminContext,
    snapshot: &Snapshot,
) -> Result<Vec<String>, StoreError> {
    let (rows, now) = (destination_rows(context, snapshot)?, context.now());
    let warnings = rows.iter().filter_map(|row| destination_warning(row, now));
    Ok(warnings.collect())
}

fn destination_warning(row: &DestinationRow, now: Timestamp) -> Option<String> {
    let name = &row.name;
    let waiting = pluralize(row.waiting, "delivery queued", "deliveries queued");
    let overdue = row.next_due.map(|due| now.since(due));
    let overdue = overdue.filter(|overdue| *overdue >= OVERDUE_THRESHOLD);
    Some(match row.state.as_str() {
        "unknown" if row.waiting > 0 => format!(
            "{waiting} for destination {name}, which is not in the config: add it again, or discard them: \
             `flowgate deliveries discard --all --destination {name}`"
        ),
        "disabled" => format!(
            "destination {name} is disabled, {waiting}: {}; fix the cause (if you changed the config or a secret, run \
             `flowgate reload`), then run `flowgate destinations resume {name}`",
            row.disabled_reason.as_deref().unwrap_or_default()
        ),
        "paused" if row.waiting > 0 => format!(
            "destination {name} is paused, {waiting}: `flowgate destinations resume {name}`"
        ),
        "failing" => format!(
            "destination {name} fails, and its circuit breaker is open ({}), {waiting}: `flowgate destinations test {name}` shows its response",
            row.stats.last_failure.as_deref().unwrap_or("no response")
        ),
        "ok" | "held"
            if row.stats.in_flight.is_some()
                && let Some(overdue) = overdue =>
        {
            format!(
                "{waiting} for destination {name}, the oldest overdue by {} min: \
             `flowgate deliveries --destination {name} --state scheduled`",
                overdue.get() / 60_000
            )
        }
        _ => return expired_warning(row, now),
    })
}

/// Returns a warning if deliveries expired recently: these events were not delivered and are not
/// sent unless an admin retries them.
fn expired_warning(row: &DestinationRow, now: Timestamp) -> Option<String> {
    let (name, at) = (&row.name, row.stats.last_expired_at?);
    (now.since(at) < EXPIRED_WARNING_WINDOW).then(|| {
        format!(
            "{} to {name} expired without being sent (counted since the server start): `flowgate deliveries --destination {name} --state expired`; \
             `flowgate dead-letters retry ID` sends one anyway",
            pluralize(row.stats.expired.unwrap_or_default(), "delivery", "deliveries")
        )
    })
}

/// Pauses a destination, or resumes it from any suspension, and returns its new state.
pub(super) fn set_paused(
    context: &AdminContext,
    name: &DestinationName,
    is_paused: bool,
) -> Result<DestinationRow, AdminError> {
    let read_row = || -> Result<Option<DestinationRow>, AdminError> {
        let rows = destination_rows(context, &context.snapshot()?)?;
        Ok(rows.into_iter().find(|row| row.name == *name))
    };
    let Some(before) = read_row()? else {
        return Err(AdminError::missing("destination", name));
    };
    context.store.execute_blocking(PauseDestination {
        destination: name.clone(),
        is_paused,
    })?;
    if let Some(server) = context.server.as_ref().filter(|_| !is_paused) {
        (server.resume_destination)(name);
    }
    // After its suspension ends, a destination is not listed if it is not in the config and has no
    // waiting deliveries. The row then comes from the state before the change.
    Ok(read_row()?.unwrap_or(DestinationRow {
        paused_at: None,
        disabled_at: None,
        disabled_reason: None,
        ..before
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::responses::DestinationStatsRow;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn warning_for(change: impl FnOnce(&mut DestinationRow)) -> Option<String> {
        let mut row = DestinationRow {
            name: DestinationName::new("crm").unwrap(),
            state: String::new(),
            host: Some("crm.example".to_owned()),
            waiting: 0,
            next_due: None,
            paused_at: None,
            disabled_at: None,
            disabled_reason: None,
            stats: DestinationStatsRow {
                in_flight: Some(0),
                ..DestinationStatsRow::default()
            },
        };
        change(&mut row);
        state_name(&row).clone_into(&mut row.state);
        destination_warning(&row, NOW)
    }

    /// Queues deliveries of which the first has been due for this number of seconds.
    fn queue(row: &mut DestinationRow, deliveries: u64, overdue_seconds: u64) {
        row.waiting = deliveries;
        row.next_due = Some(NOW.minus(Millis::from_secs(overdue_seconds)));
    }

    fn expire(row: &mut DestinationRow, ago: Millis) {
        row.stats.expired = Some(2);
        row.stats.last_expired_at = Some(NOW.minus(ago));
    }

    #[test]
    fn healthy_destination_has_no_warning() {
        assert_eq!(warning_for(|_| {}), None);
        let queued_now = warning_for(|row| queue(row, 2, 60));
        assert_eq!(queued_now, None, "not for long");
        let paused = warning_for(|row| row.paused_at = Some(NOW));
        assert_eq!(paused, None, "nothing waits");
        let unknown = warning_for(|row| row.host = None);
        assert_eq!(unknown, None, "nothing waits");
    }

    #[test]
    fn destination_warnings_name_commands() {
        let warnings = [
            warning_for(|row| queue(row, 2, 600)),
            warning_for(|row| {
                queue(row, 2, 0);
                row.host = None;
            }),
            warning_for(|row| {
                queue(row, 2, 0);
                row.paused_at = Some(NOW);
            }),
            warning_for(|row| {
                row.disabled_at = Some(NOW);
                row.disabled_reason = Some("the destination responded with 410 Gone".to_owned());
            }),
            warning_for(|row| {
                queue(row, 1, 0);
                row.stats.open_until = Some(NOW);
                row.stats.last_failure = Some("responded with 500".to_owned());
            }),
            warning_for(|row| expire(row, Millis::from_secs(60))),
            warning_for(|row| expire(row, EXPIRED_WARNING_WINDOW)),
        ];
        let warnings: Vec<String> = warnings.into_iter().flatten().collect();
        insta::assert_snapshot!(warnings.join("\n"), @r"
        2 deliveries queued for destination crm, the oldest overdue by 10 min: `flowgate deliveries --destination crm --state scheduled`
        2 deliveries queued for destination crm, which is not in the config: add it again, or discard them: `flowgate deliveries discard --all --destination crm`
        destination crm is paused, 2 deliveries queued: `flowgate destinations resume crm`
        destination crm is disabled, 0 deliveries queued: the destination responded with 410 Gone; fix the cause (if you changed the config or a secret, run `flowgate reload`), then run `flowgate destinations resume crm`
        destination crm fails, and its circuit breaker is open (responded with 500), 1 delivery queued: `flowgate destinations test crm` shows its response
        2 deliveries to crm expired without being sent (counted since the server start): `flowgate deliveries --destination crm --state expired`; `flowgate dead-letters retry ID` sends one anyway
        ");
    }
}
