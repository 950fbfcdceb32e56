//! Collects the warnings of `flowgate status`, each with a command to type.
//!
//! See [`super::destinations`], [`super::flow_health`] and [`super::gateways`] for the warnings
//! about these topics.

use std::collections::BTreeMap;

use crate::domain::ids::TeamName;
use crate::store::{Snapshot, StoreError, StoreHealth};

use super::context::{AdminContext, ServerHooks};
use super::responses::StatusRow;
use super::text::pluralize;
use super::{destinations, flow_health, gateways};

/// Time for which the oldest due job is overdue without a warning, in seconds.
const OVERDUE_SECONDS_MAX: u64 = 60;

/// Returns all warnings about the server and its rows.
pub(super) fn list_warnings(
    context: &AdminContext,
    snapshot: &Snapshot,
    status: &StatusRow,
) -> Result<Vec<String>, StoreError> {
    let mut warnings = match &context.server {
        Some(server) => server.warnings.load().to_vec(),
        None => vec!["no server runs on this data file: start it with `flowgate serve`".to_owned()],
    };
    warnings.extend(disk_warning(context, status));
    warnings.extend(context.server.as_ref().and_then(log_filter_warning));
    if status.jobs.dead > 0 {
        let dead = pluralize(status.jobs.dead, "dead letter", "dead letters");
        warnings.push(format!(
            "{dead}: `flowgate dead-letters list` shows the reasons, `flowgate dead-letters retry ID` retries one"
        ));
    }
    if let Some(server) = &context.server {
        if status.oldest_due_seconds > Some(OVERDUE_SECONDS_MAX) {
            warnings.push(
                "the oldest job is overdue by more than a minute: `flowgate jobs list --state scheduled`"
                    .to_owned(),
            );
        }
        warnings.extend((server.refusals)().warnings());
    }
    warnings.extend(
        status
            .backup
            .iter()
            .flat_map(|backup| backup.problems.clone()),
    );
    let parts = [
        destinations::list_warnings(context, snapshot),
        flow_health::list_warnings(context, snapshot),
        gateways::list_warnings(context, snapshot),
        silent_number_warnings(context.server.as_ref(), snapshot),
        unassigned_lead_warnings(snapshot),
    ];
    for part in parts {
        match part {
            Ok(part) => warnings.extend(part),
            // One unreadable row must not hide the other warnings.
            Err(error) if error.affects_one_row() => warnings.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    warnings.extend(unreadable_rows_warning(context.store.unreadable_rows()));
    Ok(warnings)
}

/// Returns a warning if an admin changed the log filter: at level debug, the log contains personal
/// data.
fn log_filter_warning(server: &ServerHooks) -> Option<String> {
    let filter = server.log_filter.state();
    (filter.active != filter.configured).then(|| {
        format!(
            "the log filter is {} until the next start: `flowgate log-level {}` restores it",
            filter.active, filter.configured
        )
    })
}

fn disk_warning(context: &AdminContext, status: &StatusRow) -> Option<String> {
    let (_, min_free_bytes) = context.store.free_space();
    if matches!(context.store.health(), StoreHealth::NoSpace) {
        return Some(
            "the disk is full: nothing can be stored, and this status may be out of date; free disk space, then the server continues by \
             itself"
                .to_owned(),
        );
    }
    let is_nearly_full = status.free_bytes.is_some_and(|free| free < min_free_bytes);
    let mebibytes = min_free_bytes.div_ceil(1 << 20);
    is_nearly_full.then(|| {
        format!("the disk is nearly full: with less than {mebibytes} MiB free, new submissions get 503; free disk space")
    })
}

/// Returns one warning for each phone number of the business that has been silent for unusually
/// long. Returns none without a running server, because only a server receives messages.
fn silent_number_warnings(
    server: Option<&ServerHooks>,
    snapshot: &Snapshot,
) -> Result<Vec<String>, StoreError> {
    if server.is_none() {
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    for (id, traffic) in snapshot.phone_numbers()? {
        if traffic.is_silent() {
            let number = traffic.display_number().unwrap_or("(unknown)");
            warnings.push(format!(
                "phone number {number} (phone_number_id {id}) usually receives messages, but has received none since {}: check in Meta's \
                 dashboard that the app is subscribed to `messages` and `standby`, and that the number is connected",
                traffic.last_message_at()
            ));
        }
    }
    Ok(warnings)
}

/// Returns a warning for each team whose leads wait for an agent.
fn unassigned_lead_warnings(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let sizes: BTreeMap<TeamName, u64> = snapshot.agents_by_team()?.into_iter().collect();
    let warning = |(team, waiting)| {
        let waiting = pluralize(waiting, "lead waits", "leads wait");
        match sizes.get(&team) {
            None => format!(
                "{waiting} for an agent, but team {team} has no agent: `flowgate agents add NAME --team {team}`"
            ),
            Some(agents) => format!(
                "{waiting}: none of the {agents} agents of team {team} is available: see `flowgate agents`"
            ),
        }
    };
    let waiting = snapshot.waiting_leads_by_team()?;
    Ok(waiting.into_iter().map(warning).collect())
}

/// Returns a warning if the store skipped unreadable rows.
fn unreadable_rows_warning(rows: u64) -> Option<String> {
    let singular = "row of the data file is unreadable and was skipped";
    let plural = "rows of the data file are unreadable and were skipped";
    let skipped = pluralize(rows, singular, plural);
    (rows > 0).then(|| format!("{skipped}: `flowgate check` lists all such rows"))
}
