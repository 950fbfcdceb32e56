//! Answers the requests about leads and agents.

use std::ops::ControlFlow::{Break, Continue};

use super::list::{LimitedSink, for_each_page, send_list};
use crate::admin::context::{AdminContext, AgentNames, RowSink};
use crate::admin::error::AdminError;
use crate::admin::protocol::{LeadSelection, ListFilter};
use crate::admin::responses::{
    AgentRow, CandidateRow, LeadDetails, LeadRow, QueryRow, RowKey, UnreadableRow,
};
use crate::domain::ids::{AgentId, LeadId};
use crate::domain::lead::{Agent, Lead, LeadState};
use crate::store::Snapshot;

pub(super) fn list_leads(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let filter_row = |snapshot: &Snapshot, names: &AgentNames, id, lead: Lead| {
        if filter.starts_after(lead.created_at) {
            return Ok(Break(()));
        }
        let agent = names.lookup(snapshot, lead.agent);
        let wanted = filter.matches_state(lead.state.as_str())
            && filter.matches_flow(Some(&lead.flow))
            && filter.matches_agent(agent.as_deref());
        Ok(Continue(wanted.then(|| LeadRow::new(id, &lead, agent))))
    };
    send_list(context, filter, &["open", "closed"], sink, filter_row)
}

/// Lists the open leads of a selection, newest first. Unreadable leads are skipped.
pub(in crate::admin) fn list_open_leads(
    context: &AdminContext,
    selection: &LeadSelection,
) -> Result<Vec<LeadRow>, AdminError> {
    let filter = ListFilter {
        agent: selection.agent.clone(),
        flow: selection.flow.clone(),
        ..ListFilter::default()
    };
    let filter_row = |snapshot: &Snapshot, names: &AgentNames, id, lead: Lead| {
        let agent = names.lookup(snapshot, lead.agent);
        let is_selected = lead.state == LeadState::Open
            && filter.matches_flow(Some(&lead.flow))
            && filter.matches_agent(agent.as_deref())
            && selection
                .created_before
                .is_none_or(|end| lead.created_at < end);
        Ok(Continue(
            is_selected.then(|| LeadRow::new(id, &lead, agent)),
        ))
    };
    let mut leads = Vec::new();
    for_each_page(context, filter_row, |row| {
        match row {
            QueryRow::Row(lead) => leads.push(lead),
            QueryRow::Unreadable(UnreadableRow { key, error, .. }) => {
                tracing::warn!(lead.id = %key, error, "unreadable lead skipped: run `flowgate check`");
            }
        }
        Ok(true)
    })?;
    Ok(leads)
}

pub(in crate::admin) fn get_lead(
    context: &AdminContext,
    id: LeadId,
) -> Result<LeadDetails, AdminError> {
    let snapshot = context.snapshot()?;
    let Some(lead) = snapshot.lead(id)? else {
        return Err(AdminError::missing("lead", id));
    };
    let names = AgentNames::default();
    let candidates = lead.assignment.candidates.iter().map(|one| CandidateRow {
        agent: names
            .lookup(&snapshot, Some(one.agent))
            .unwrap_or_else(|| one.agent.to_string()),
        current_leads: one.current_leads,
        weight: one.weight,
        outcome: one.outcome,
    });
    Ok(LeadDetails {
        candidates: candidates.collect(),
        more_candidates: lead.assignment.omitted,
        lead: LeadRow::new(id, &lead, names.lookup(&snapshot, lead.agent)),
    })
}

pub(super) fn list_agents(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let mut sink = LimitedSink::new(filter.limit, sink);
    let agents = context.snapshot()?.list_all_rows::<Agent>()?;
    for (number, agent) in agents {
        let row = match QueryRow::from_stored(RowKey::Id(number), agent)? {
            QueryRow::Row(agent) => {
                if agent.is_removed || !filter.matches_agent(Some(agent.name.as_str())) {
                    continue;
                }
                QueryRow::Row(AgentRow::new(
                    AgentId::new(number),
                    agent,
                    context.now(),
                    &context.catalog().time_zone,
                ))
            }
            QueryRow::Unreadable(row) => QueryRow::Unreadable(row),
        };
        if !sink.send(row)? {
            break;
        }
    }
    Ok(())
}
