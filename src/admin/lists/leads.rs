//! `leads` and `agents`.

use serde_json::json;

use crate::domain::ids::LeadId;
use crate::domain::lead::{Lead, LeadState};
use crate::store::Snapshot;

use super::super::desk::{Desk, Names, Out, row};
use super::super::protocol::{AdminError, Filter};
use super::super::views::{AgentView, ConsideredView, LeadView};
use super::{Counted, PAGE, Pick, fits, is_before, known_state, value, walk, whole};

pub(in crate::admin) fn leads(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &[LeadState::Open.as_str(), LeadState::Closed.as_str()])?;
    let mut out = Counted::new(filter.most(), out);
    let page = |read: &Snapshot, before| read.leads(before, PAGE);
    let pick = |_: &_, names: &Names, id, lead: Lead| {
        if is_before(filter, lead.created_at) {
            return Ok(Pick::Stop);
        }
        let agent = names.of(lead.agent);
        let wanted = fits(filter.state.as_deref(), lead.state.as_str())
            && filter.flow.as_ref().is_none_or(|flow| *flow == lead.flow)
            && filter.agent.as_ref().is_none_or(|wanted| agent.as_deref() == Some(wanted.as_str()));
        Ok(Pick::when(wanted, || LeadView::new(id, &lead, agent)))
    };
    walk(desk, page, pick, |view| out.send(view))
}

pub(in crate::admin) fn lead(desk: &Desk, id: LeadId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let Some(lead) = read.lead(id)? else { return Err(no_lead(id)) };
    let names = Names::read(&read)?;
    drop(read);
    let considered = lead.why.considered.iter().map(|one| ConsideredView {
        agent: names.of(Some(one.agent)).unwrap_or_else(|| one.agent.to_string()),
        current_leads: one.current,
        weight: one.weight,
        verdict: one.verdict.as_str(),
    });
    let more = [("considered", value(considered.collect::<Vec<_>>())?), ("more_agents", json!(lead.why.more))];
    row(out, whole(LeadView::new(id, &lead, names.of(lead.agent)), more)?)
}

pub(in crate::admin) fn no_lead(id: LeadId) -> AdminError {
    AdminError::not_found(format!("there is no lead {id}: `flowgate leads` lists them"))
}

pub(in crate::admin) fn agents(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    let mut out = Counted::new(filter.most(), out);
    let agents = desk.read()?.agents()?;
    for (id, agent) in agents {
        let named = filter.agent.as_ref().is_none_or(|wanted| agent.name == *wanted);
        if named && !agent.removed && !out.send(AgentView::new(id, &agent, desk.now()))? {
            break;
        }
    }
    Ok(())
}
