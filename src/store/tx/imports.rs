//! Imports agents and forms from another program.
//!
//! An imported form gets its lead in the same transaction and causes no event. Without this, the
//! customers and agents of old forms would get messages about them. A form that was imported before
//! stays unchanged.

use crate::domain::ids::SubmissionId;
use crate::domain::job::Attempt;
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::time::Millis;

use super::accept::{self, AcceptOutcome};
use super::agents::{AddAgent, AgentChange, ChangeAgent};
use super::jobs::FinishJob;
use super::leads::NewLead;
use crate::store::StoreResult;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Adds agents, or changes the settings of agents with the same names.
#[derive(Debug)]
pub struct ImportAgents {
    /// Agents, each with all settings. Bounded by the caller.
    pub agents: Vec<AddAgent>,
}

/// Stores forms that another program received.
#[derive(Debug)]
pub struct ImportForms {
    /// Forms, each with its lead. Bounded by the caller.
    pub forms: Vec<(InboundSubmission, Option<NewLead>)>,
}

/// Result of one imported form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// The form is stored.
    Stored(SubmissionId),
    /// The form was imported before.
    Known,
    /// Nothing was stored. The text is the reason.
    Refused(String),
}

impl Transaction for ImportAgents {
    type Outcome = ();

    fn weight(&self) -> usize {
        self.agents.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        for agent in &self.agents {
            if ctx.state.agent_pool.find_by_name(&agent.name).is_none() {
                agent.apply(ctx)?;
                continue;
            }
            let change = ChangeAgent {
                name: agent.name.clone(),
                change: AgentChange::Set {
                    team: Some(agent.team.clone()),
                    weight: Some(agent.weight),
                    max_leads: Some(agent.max_leads),
                    max_leads_per_day: Some(agent.max_leads_per_day),
                },
            };
            change.apply(ctx)?;
        }
        Ok(())
    }
}

impl Transaction for ImportForms {
    /// Results in the order of the forms.
    type Outcome = Vec<ImportOutcome>;

    fn weight(&self) -> usize {
        self.forms.len()
    }

    fn bytes(&self) -> usize {
        let forms = self.forms.iter();
        forms.map(|(form, _)| form.submission.data.len()).sum()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Vec<ImportOutcome>> {
        // No destination gets an event of this transaction.
        let subscriptions = std::mem::take(&mut ctx.subscriptions);
        let forms = self.forms.iter();
        let outcomes = forms.map(|(form, lead)| import_form(ctx, form, lead.as_ref()));
        let outcomes = outcomes.collect();
        ctx.subscriptions = subscriptions;
        outcomes
    }
}

fn import_form(
    ctx: &mut WriteContext<'_>,
    form: &InboundSubmission,
    lead: Option<&NewLead>,
) -> StoreResult<ImportOutcome> {
    let decision = accept::decide(ctx, form, None)?;
    let (submission_id, job_id) = match accept::write_decision(ctx, form, decision)? {
        AcceptOutcome::New {
            submission_id,
            job_id,
            ..
        } => (submission_id, job_id),
        AcceptOutcome::Duplicate { .. } | AcceptOutcome::Replayed => {
            return Ok(ImportOutcome::Known);
        }
        AcceptOutcome::SlotRefused { reason, .. } => {
            return Ok(ImportOutcome::Refused(reason.to_string()));
        }
        AcceptOutcome::InvalidSlotFields { error } => {
            return Ok(ImportOutcome::Refused(error.to_string()));
        }
        AcceptOutcome::DeadLetter { .. } | AcceptOutcome::TokenShared => {
            let reason = "another customer has the same reference";
            return Ok(ImportOutcome::Refused(reason.to_owned()));
        }
    };
    let finish = FinishJob {
        job_id,
        attempt: Attempt {
            number: 0,
            started_at: ctx.now,
            duration: Millis::ZERO,
            error: None,
        },
        lead: lead.cloned(),
    };
    finish.apply(ctx)?;
    Ok(ImportOutcome::Stored(submission_id))
}
