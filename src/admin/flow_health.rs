//! Reports the health of flows: the server's own endpoint statistics, the last events of Meta's
//! monitoring, and the warnings that follow from both.
//!
//! Meta's events identify flows by ID, and no config contains these IDs. The response therefore
//! lists both kinds of rows independently.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::health::assessment::{Severity, assess};
use crate::domain::health::meta_event::{ActiveEvent, active_events};
use crate::domain::health::window::WindowStats;
use crate::domain::ids::FlowName;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Snapshot, StoreError};

use super::context::AdminContext;
use super::error::AdminError;
use super::responses::{EndpointHealthRow, FlowHealthRow, QueryRow, RowKey, UnreadableRow};
use super::text::pluralize;

/// Period for which flow errors are counted. Meta uses the same period for its rate of client
/// errors.
const FLOW_ERRORS_WINDOW: Millis = Millis::from_secs(60 * 60);
/// Maximum number of flow errors that a count reads.
const FLOW_ERRORS_MAX: usize = 1000;
/// Time after which an alert that Meta never deactivated no longer causes a warning. The alert is
/// still shown. Meta resends missed events for seven days only.
const ALERT_WARNING_WINDOW: Millis = Millis::from_secs(7 * 24 * 60 * 60);

/// Returns the health of flows. The order of the rows is:
///
/// - one row for each encrypted flow, or only for the flow `only`
/// - one row for each active event of Meta
/// - one row for each unreadable row of the file
pub(super) fn flow_health_rows(
    context: &AdminContext,
    only: Option<&FlowName>,
) -> Result<Vec<QueryRow<FlowHealthRow>>, AdminError> {
    let catalog = context.catalog();
    let is_watched = |flow: &Flow| flow.encryption == EncryptionMode::Required;
    if let Some(name) = only
        && !catalog.flows.get(name).is_some_and(|flow| is_watched(flow))
    {
        return Err(AdminError::not_found(format!(
            "there is no encrypted flow {name} in the config: `flowgate flows list` lists all flows; Meta monitors only \
             encrypted flows"
        )));
    }
    let stored = StoredFlowHealth::read(&context.snapshot()?, context.now())?;
    let stats = endpoint_stats(context);
    let wanted = |flow: &&Arc<Flow>| is_watched(flow) && only.is_none_or(|name| *name == flow.name);
    let no_requests = WindowStats::default();
    let endpoint_row = |flow: &Arc<Flow>| {
        let flow_errors = stored.flow_error_counts.get(&flow.name);
        let stats = stats.as_ref();
        FlowHealthRow::Endpoint(EndpointHealthRow::new(
            flow.name.clone(),
            stats.map(|stats| stats.get(&flow.name).unwrap_or(&no_requests)),
            flow_errors.copied().unwrap_or_default(),
        ))
    };
    let endpoints = catalog.flows.values().filter(wanted).map(endpoint_row);
    let events = stored.active_events.into_iter();
    let events = events.map(|active| FlowHealthRow::Meta(active.into()));
    let readable = endpoints.chain(events).map(QueryRow::Row);
    let unreadable = stored.unreadable_rows.into_iter();
    Ok(readable
        .chain(unreadable.map(QueryRow::Unreadable))
        .collect())
}

/// Returns the endpoint statistics by flow, or `None` if no server runs.
fn endpoint_stats(context: &AdminContext) -> Option<BTreeMap<FlowName, WindowStats>> {
    let server = context.server.as_ref();
    server.map(|server| (server.endpoint_health)())
}

/// Stored rows about the health of flows.
#[derive(Default)]
struct StoredFlowHealth {
    /// Number of flow errors in the last hour, by flow, from at most 1000 flow errors.
    flow_error_counts: BTreeMap<FlowName, u64>,
    /// Meta's events that no later event has ended.
    active_events: Vec<ActiveEvent>,
    /// Unreadable flow errors and events.
    unreadable_rows: Vec<UnreadableRow>,
}

impl StoredFlowHealth {
    fn read(snapshot: &Snapshot, now: Timestamp) -> Result<Self, StoreError> {
        let (mut stored, mut events) = (Self::default(), Vec::new());
        let since = now.minus(FLOW_ERRORS_WINDOW);
        for (number, flow_error) in snapshot.flow_errors_since(since, FLOW_ERRORS_MAX)? {
            match QueryRow::from_stored(RowKey::Id(number), flow_error)? {
                QueryRow::Row(flow_error) => {
                    *stored.flow_error_counts.entry(flow_error.flow).or_default() += 1;
                }
                QueryRow::Unreadable(row) => stored.unreadable_rows.push(row),
            }
        }
        for (number, event) in snapshot.health_events()? {
            match QueryRow::from_stored(RowKey::Id(number), event)? {
                QueryRow::Row(event) => events.push(event),
                QueryRow::Unreadable(row) => stored.unreadable_rows.push(row),
            }
        }
        stored.active_events = active_events(events);
        Ok(stored)
    }
}

/// Returns the warnings about flows, one text each.
pub(super) fn list_warnings(
    context: &AdminContext,
    snapshot: &Snapshot,
) -> Result<Vec<String>, StoreError> {
    let (catalog, now) = (context.catalog(), context.now());
    let stats = endpoint_stats(context).unwrap_or_default();
    let mut warnings: Vec<String> = stats
        .iter()
        .filter(|(flow, _)| catalog.flows.contains_key(*flow))
        .filter_map(|(flow, stats)| endpoint_warning(flow, stats))
        .collect();
    let is_warned_about = |active: &&ActiveEvent| {
        let is_recent = now.since(active.event.occurred_at()) < ALERT_WARNING_WINDOW;
        active.is_restricted() || (active.is_alert() && is_recent)
    };
    let stored = StoredFlowHealth::read(snapshot, now)?;
    let events = stored.active_events.iter().filter(is_warned_about);
    warnings.extend(events.map(meta_event_warning));
    // The error names `flowgate check`, which lists the other unreadable rows.
    let first_unreadable = stored.unreadable_rows.into_iter().next();
    warnings.extend(first_unreadable.map(|row| row.error));
    let flow_errors = stored.flow_error_counts.values().sum();
    if flow_errors > 0 {
        warnings.push(format!(
            "{} in the last hour: `flowgate flows errors`",
            pluralize(flow_errors, "flow error", "flow errors")
        ));
    }
    Ok(warnings)
}

fn endpoint_warning(flow: &FlowName, stats: &WindowStats) -> Option<String> {
    let assessment = assess(stats);
    let findings = assessment.findings.join(", ");
    (assessment.severity == Severity::Alert)
        .then(|| format!("flow {flow}: {findings}; Meta may throttle it: `flowgate flows health` shows what to do"))
}

fn meta_event_warning(active: &ActiveEvent) -> String {
    let (event, at) = (&active.event.name, active.event.occurred_at());
    let flow = &active.event.meta_flow_id;
    if active.is_restricted() {
        let status = active.parsed.new_status.as_deref().unwrap_or_default();
        format!(
            "Meta has {status} flow ID {flow} (since {at}): `flowgate flows health` shows the reason"
        )
    } else {
        format!(
            "Meta's alert {event} for flow ID {flow} has been active since {at}: `flowgate flows health`"
        )
    }
}
