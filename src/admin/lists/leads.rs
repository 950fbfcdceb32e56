//! `leads` and `agents`.

use serde_json::json;

use crate::domain::ids::{AgentId, LeadId};
use crate::domain::lead::{Agent, Lead, LeadState};
use crate::store::Snapshot;

use super::super::desk::{Desk, Names, Out, row};
use super::super::protocol::{AdminError, Filter};
use super::super::views::{AgentView, ConsideredView, LeadView, RowKey, Unreadable};
use super::{Counted, Pick, fits, is_before, known_state, value, walk, whole};

pub(in crate::admin) fn leads(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &[LeadState::Open.as_str(), LeadState::Closed.as_str()])?;
    let mut out = Counted::new(filter.most(), out);
    let pick = |read: &Snapshot, names: &Names, id, lead: Lead| {
        if is_before(filter, lead.created_at) {
            return Ok(Pick::Stop);
        }
        let agent = names.of(read, lead.agent);
        let wanted = fits(filter.state.as_deref(), lead.state.as_str())
            && filter.flow.as_ref().is_none_or(|flow| *flow == lead.flow)
            && filter.agent.as_ref().is_none_or(|wanted| agent.as_deref() == Some(wanted.as_str()));
        Ok(Pick::when(wanted, || LeadView::new(id, &lead, agent)))
    };
    walk(desk, pick, |view| out.send(view))
}

pub(in crate::admin) fn lead(desk: &Desk, id: LeadId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let Some(lead) = read.lead(id)? else { return Err(no_lead(id)) };
    let names = Names::default();
    let considered = lead.why.considered.iter().map(|one| ConsideredView {
        agent: names.of(&read, Some(one.agent)).unwrap_or_else(|| one.agent.to_string()),
        current_leads: one.current,
        weight: one.weight,
        verdict: one.verdict.as_str(),
    });
    let more = [("considered", value(considered.collect::<Vec<_>>())?), ("more_agents", json!(lead.why.more))];
    let whole = whole(LeadView::new(id, &lead, names.of(&read, lead.agent)), more)?;
    drop(read);
    row(out, whole)
}

pub(in crate::admin) fn no_lead(id: LeadId) -> AdminError {
    AdminError::not_found(format!("there is no lead {id}: `flowgate leads` lists them"))
}

pub(in crate::admin) fn agents(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    let mut out = Counted::new(filter.most(), out);
    let agents = desk.read()?.list_all::<Agent>()?;
    for (number, agent) in agents.into_iter().rev() {
        let (id, agent) = match agent {
            Ok(agent) => (AgentId::new(number), agent),
            Err(error) if error.is_of_one_change() => {
                if out.send(Unreadable::new(RowKey::Id(number), &error))? {
                    continue;
                }
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let named = filter.agent.as_ref().is_none_or(|wanted| agent.name == *wanted);
        if named && !agent.removed && !out.send(AgentView::new(id, &agent, desk.now()))? {
            break;
        }
    }
    Ok(())
}
