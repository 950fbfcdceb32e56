//! Closes and assigns leads, and adds and changes agents.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::admin::protocol::AgentSettings;
use crate::admin::queries::get_lead;
use crate::admin::responses::{AgentRow, LeadDetails};
use crate::domain::ids::{AgentName, LeadId, TeamName};
use crate::domain::lead::{Absence, CloseReason};
use crate::domain::time::Timestamp;
use crate::store::{
    AddAgent, AgentChange, AgentOutcome, AssignLead, ChangeAgent, CloseLead, LeadOutcome,
};

/// Assigns a lead to an agent. `None` closes the lead.
pub(super) fn update_lead(
    context: &AdminContext,
    id: LeadId,
    assign_to: Option<AgentName>,
) -> Result<LeadDetails, AdminError> {
    let outcome = match assign_to.clone() {
        Some(agent) => context
            .store
            .execute_blocking(AssignLead { lead_id: id, agent })?,
        None => context.store.execute_blocking(CloseLead {
            lead_id: id,
            reason: CloseReason::Command,
        })?,
    };
    match (outcome, assign_to) {
        (LeadOutcome::Updated(_), _) => get_lead(context, id),
        (LeadOutcome::AlreadyClosed(_), _) => {
            Err(AdminError::failed(format!("lead {id} is closed already")))
        }
        (LeadOutcome::AgentNotFound, Some(agent)) => Err(AdminError::missing("agent", agent)),
        (LeadOutcome::AgentNotFound | LeadOutcome::NotFound, _) => {
            Err(AdminError::missing("lead", id))
        }
    }
}

pub(super) fn add_agent(
    context: &AdminContext,
    name: &AgentName,
    team: TeamName,
    settings: AgentSettings,
) -> Result<AgentRow, AdminError> {
    check_weight(settings.weight)?;
    let added = context.store.execute_blocking(AddAgent {
        name: name.clone(),
        team,
        weight: settings.weight.unwrap_or(1),
        max_leads: settings.max_leads.and_then(limit),
        max_leads_per_day: settings.max_leads_per_day.and_then(limit),
    })?;
    agent_row(context, name, added)
}

pub(super) fn change_agent(
    context: &AdminContext,
    name: &AgentName,
    change: AgentChange,
) -> Result<AgentRow, AdminError> {
    let changed = context.store.execute_blocking(ChangeAgent {
        name: name.clone(),
        change,
    })?;
    agent_row(context, name, changed)
}

/// Creates a change of the settings that are not `None`.
pub(super) fn settings_change(
    team: Option<TeamName>,
    settings: AgentSettings,
) -> Result<AgentChange, AdminError> {
    check_weight(settings.weight)?;
    Ok(AgentChange::Set {
        team,
        weight: settings.weight,
        max_leads: settings.max_leads.map(limit),
        max_leads_per_day: settings.max_leads_per_day.map(limit),
    })
}

/// Converts the limit of a request: 0 is no limit.
pub(super) fn limit(limit: u32) -> Option<u32> {
    Some(limit).filter(|limit| *limit > 0)
}

pub(super) fn check_weight(weight: Option<u32>) -> Result<(), AdminError> {
    match weight {
        Some(weight) if !(1..=1000).contains(&weight) => Err(AdminError::invalid(format!(
            "the weight must be from 1 to 1000, not {weight}"
        ))),
        _ => Ok(()),
    }
}

/// Creates an absence of whole days in the time zone of the business. Both days are included.
pub(super) fn absence_change(
    first: Date,
    last: Date,
    zone: &TimeZone,
) -> Result<AgentChange, AdminError> {
    if last < first {
        return Err(AdminError::invalid(format!(
            "the absence ends on {last}, before it begins on {first}"
        )));
    }
    let midnight = |day: Date| {
        day.to_zoned_datetime(zone.clone())
            .map(|zoned| Timestamp::from_jiff(zoned.timestamp()))
    };
    let day_after = last.saturating_add(jiff::Span::new().days(1));
    match (midnight(first), midnight(day_after)) {
        (Ok(from), Ok(to)) => Ok(AgentChange::AddAbsence(Absence { from, to })),
        _ => Err(AdminError::invalid(format!(
            "{first} or {last} is out of the supported range of dates"
        ))),
    }
}

fn agent_row(
    context: &AdminContext,
    name: &AgentName,
    outcome: AgentOutcome,
) -> Result<AgentRow, AdminError> {
    match outcome {
        AgentOutcome::Updated(id, agent) => Ok(AgentRow::new(
            id,
            agent,
            context.now(),
            &context.catalog().time_zone,
        )),
        AgentOutcome::NameTaken => Err(AdminError::failed(format!(
            "agent {name} exists: choose another name, or `flowgate agents set {name} …` to change this one"
        ))),
        AgentOutcome::NotFound => Err(AdminError::missing("agent", name)),
    }
}
