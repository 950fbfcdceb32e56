//! Transactions that close leads: one lead, many leads, and leads that reached the age of
//! `close_after`.
//!
//! A closed lead makes room: its agent can get another one. The slices of
//! [`super::retention`] close leads by age.

use crate::domain::ids::LeadId;
use crate::domain::lead::{CloseReason, Lead, LeadState};
use crate::domain::time::{Millis, Timestamp};

use super::lead_queue;
use super::leads::{LeadOutcome, unassign_lead};
use crate::store::engine::Rows;
use crate::store::expiry_clock::downtime::minus;
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{StoreError, StoreResult};

/// Maximum number of waiting leads that move when one of many leads is closed. The lead leaves one
/// free place.
const MOVED_PER_CLOSE: usize = 1;

/// Closes a lead: its agent can get another one.
#[derive(Debug)]
pub struct CloseLead {
    /// Lead ID.
    pub lead_id: LeadId,
    /// Reason of the close.
    pub reason: CloseReason,
}

/// Closes many leads. Leads that are closed or removed stay unchanged.
#[derive(Debug)]
pub struct CloseLeads {
    /// Lead IDs.
    pub lead_ids: Vec<LeadId>,
    /// Reason of the close.
    pub reason: CloseReason,
}

/// Result of closing many leads.
#[derive(Debug, Default)]
pub struct ClosedLeads {
    /// Number of leads closed.
    pub closed: usize,
    /// Leads that stay open because their row is unreadable.
    pub unreadable: Vec<(LeadId, StoreError)>,
}

impl Transaction for CloseLead {
    type Outcome = LeadOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<LeadOutcome> {
        Ok(match ctx.tables.leads.get(self.lead_id)? {
            None => LeadOutcome::NotFound,
            Some(lead) if lead.state == LeadState::Closed => LeadOutcome::AlreadyClosed(lead),
            Some(lead) => {
                let moved_max = lead_queue::MOVED_LEADS_MAX;
                let lead = close_lead(ctx, self.lead_id, lead, self.reason, moved_max)?;
                LeadOutcome::Updated(lead)
            }
        })
    }
}

impl Transaction for CloseLeads {
    type Outcome = ClosedLeads;

    fn weight(&self) -> usize {
        self.lead_ids.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<ClosedLeads> {
        let mut result = ClosedLeads::default();
        for id in &self.lead_ids {
            match ctx.tables.leads.get(*id) {
                Ok(Some(lead)) if lead.state == LeadState::Open => {
                    close_lead(ctx, *id, lead, self.reason, MOVED_PER_CLOSE)?;
                    result.closed += 1;
                }
                Ok(_) => {}
                Err(error) if error.affects_one_row() => result.unreadable.push((*id, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(result)
    }
}

/// Closes an open lead because of its age.
pub fn close_by_age(ctx: &mut WriteContext<'_>, id: LeadId, lead: Lead) -> StoreResult<()> {
    close_lead(ctx, id, lead, CloseReason::Age, MOVED_PER_CLOSE).map(|_| ())
}

/// Closes an open lead, and assigns at most `moved_max` waiting leads of its team.
fn close_lead(
    ctx: &mut WriteContext<'_>,
    id: LeadId,
    mut lead: Lead,
    reason: CloseReason,
    moved_max: usize,
) -> StoreResult<Lead> {
    unassign_lead(ctx, id, &lead)?;
    lead.state = LeadState::Closed;
    lead.closed_at = Some(ctx.now);
    lead.close_reason = Some(reason);
    ctx.tables.leads.put(id, &lead)?;
    lead_queue::emit_event(ctx, id, &lead)?;
    lead_queue::assign_waiting(ctx, &lead.team, moved_max)?;
    Ok(lead)
}

/// Decision about an open lead in the retention queue.
pub enum AgeDecision {
    /// The lead is closed already, or removed.
    NotOpen,
    /// The lead has reached its age.
    Close(Lead),
    /// The lead reaches its age after this time.
    Wait(Millis),
}

/// Decides whether the lead has reached its age. `timeout` returns the age, or `None` if the flow
/// of the lead has none; the lead is then checked again after `recheck_interval`.
///
/// The age counts from the acceptance of the form by the expiry clock, so a wrong wall clock closes
/// no lead. Adds the bytes that the function reads to `bytes`.
pub fn decide_by_age(
    ctx: &WriteContext<'_>,
    id: LeadId,
    timeout: impl FnOnce(&Lead) -> Option<Millis>,
    recheck_interval: Millis,
    bytes: &mut u64,
) -> StoreResult<AgeDecision> {
    let lead = ctx.tables.leads.get_sized(id, bytes)?;
    let Some(lead) = lead.filter(|lead| lead.state == LeadState::Open) else {
        return Ok(AgeDecision::NotOpen);
    };
    let Some(timeout) = timeout(&lead) else {
        return Ok(AgeDecision::Wait(recheck_interval));
    };
    let submission = ctx
        .tables
        .submissions
        .get_sized(lead.submission_id, bytes)?;
    let accepted_at = submission.map_or(Timestamp::ZERO, |submission| submission.stamp);
    let left = minus(timeout, ctx.age(accepted_at));
    Ok(if left == Millis::ZERO {
        AgeDecision::Close(lead)
    } else {
        AgeDecision::Wait(left)
    })
}
