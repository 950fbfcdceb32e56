//! Handles the requests `leads` and `agents`.

use serde_json::json;

use crate::domain::ids::{AgentId, LeadId};
use crate::domain::lead::{Agent, Lead, LeadState};
use crate::store::Snapshot;

use super::{
    LimitedSink, RowFilter, check_state, for_each_page, is_before_since, matches_name, to_json,
    with_details,
};
use crate::admin::handler::{AdminHandler, AgentNames, RowSink, send_row};
use crate::admin::protocol::{AdminError, ListFilter};
use crate::admin::responses::{AgentRow, CandidateRow, LeadRow, RowKey, UnreadableRow};

pub(crate) fn list_leads(
    handler: &AdminHandler,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    check_state(
        filter,
        &[LeadState::Open.as_str(), LeadState::Closed.as_str()],
    )?;
    let mut sink = LimitedSink::new(filter.max_rows(), sink);
    let pick = |snapshot: &Snapshot, names: &AgentNames, id, lead: Lead| {
        if is_before_since(filter, lead.created_at) {
            return Ok(RowFilter::Stop);
        }
        let agent = names.lookup(snapshot, lead.agent);
        let wanted = matches_name(filter.state.as_deref(), lead.state.as_str())
            && filter.flow.as_ref().is_none_or(|flow| *flow == lead.flow)
            && filter
                .agent
                .as_ref()
                .is_none_or(|wanted| agent.as_deref() == Some(wanted.as_str()));
        Ok(RowFilter::include_if(wanted, || {
            LeadRow::new(id, &lead, agent)
        }))
    };
    for_each_page(handler, pick, |view| sink.send(view))
}

pub(crate) fn get_lead(
    handler: &AdminHandler,
    id: LeadId,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let snapshot = handler.snapshot()?;
    let Some(lead) = snapshot.lead(id)? else {
        return Err(lead_not_found(id));
    };
    let names = AgentNames::default();
    let candidates = lead.assignment.candidates.iter().map(|one| CandidateRow {
        agent: names
            .lookup(&snapshot, Some(one.agent))
            .unwrap_or_else(|| one.agent.to_string()),
        current_leads: one.current_leads,
        weight: one.weight,
        outcome: one.outcome.as_str(),
    });
    let more = [
        ("candidates", to_json(candidates.collect::<Vec<_>>())?),
        ("more_candidates", json!(lead.assignment.omitted)),
    ];
    let whole = with_details(
        LeadRow::new(id, &lead, names.lookup(&snapshot, lead.agent)),
        more,
    )?;
    drop(snapshot);
    send_row(sink, whole)
}

pub(crate) fn lead_not_found(id: LeadId) -> AdminError {
    AdminError::not_found(format!(
        "there is no lead {id}: `flowgate leads` lists them"
    ))
}

pub(crate) fn list_agents(
    handler: &AdminHandler,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let mut sink = LimitedSink::new(filter.max_rows(), sink);
    let agents = handler.snapshot()?.list_all_rows::<Agent>()?;
    for (number, agent) in agents.into_iter().rev() {
        let (id, agent) = match agent {
            Ok(agent) => (AgentId::new(number), agent),
            Err(error) if error.affects_one_row() => {
                if sink.send(UnreadableRow::new(RowKey::Id(number), &error))? {
                    continue;
                }
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let named = filter
            .agent
            .as_ref()
            .is_none_or(|wanted| agent.name == *wanted);
        if named && !agent.is_removed && !sink.send(AgentRow::new(id, &agent, handler.now()))? {
            break;
        }
    }
    Ok(())
}
