//! Answers the requests about leads and agents.

use std::ops::ControlFlow::{Break, Continue};

use super::list::{LimitedSink, send_list};
use crate::admin::context::{AdminContext, AgentNames, RowSink};
use crate::admin::error::AdminError;
use crate::admin::protocol::ListFilter;
use crate::admin::responses::{AgentRow, CandidateRow, LeadDetails, LeadRow, QueryRow, RowKey};
use crate::domain::ids::{AgentId, LeadId};
use crate::domain::lead::{Agent, Lead};
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
                QueryRow::Row(AgentRow::new(AgentId::new(number), agent, context.now()))
            }
            QueryRow::Unreadable(row) => QueryRow::Unreadable(row),
        };
        if !sink.send(row)? {
            break;
        }
    }
    Ok(())
}
