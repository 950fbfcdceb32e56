//! Executes the requests that change rows, and sends the row with the result.
//!
//! Each request is one named transaction of the store or, for many dead letters or deliveries, a
//! series of them.

mod bookings;
mod dead_letters;
mod deliveries;
mod leads;

use crate::store::AgentChange;

use super::context::{AdminContext, RowSink, send_row};
use super::destinations::set_paused;
use super::error::AdminError;
use super::protocol::AdminCommand;
use bookings::{cancel_booking, move_booking};
use dead_letters::{DeadLetterAction, change_dead_letters};
use deliveries::discard_deliveries;
use leads::update_lead;

/// Executes one change and sends the new state.
pub(super) fn execute(
    context: &AdminContext,
    command: AdminCommand,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let mut change_agent =
        |name: &_, change| send_row(sink, leads::change_agent(context, name, change)?);
    match command {
        AdminCommand::RetryDeadLetters(selector) => {
            let action = DeadLetterAction::Retry;
            send_row(sink, change_dead_letters(context, selector, action)?)
        }
        AdminCommand::DiscardDeadLetters(selector) => {
            let action = DeadLetterAction::Discard;
            send_row(sink, change_dead_letters(context, selector, action)?)
        }
        AdminCommand::DiscardDeliveries(selector) => {
            send_row(sink, discard_deliveries(context, selector)?)
        }
        AdminCommand::PauseDestination { name } => {
            send_row(sink, set_paused(context, &name, true)?)
        }
        AdminCommand::ResumeDestination { name } => {
            send_row(sink, set_paused(context, &name, false)?)
        }
        AdminCommand::CloseLead { id } => send_row(sink, update_lead(context, id, None)?),
        AdminCommand::AssignLead { id, agent } => {
            send_row(sink, update_lead(context, id, Some(agent))?)
        }
        AdminCommand::AddAgent {
            name,
            team,
            settings,
        } => send_row(sink, leads::add_agent(context, &name, team, settings)?),
        AdminCommand::SetAgent {
            name,
            team,
            settings,
        } => {
            let change = leads::settings_change(team, settings)?;
            change_agent(&name, change)
        }
        AdminCommand::PauseAgent { name } => change_agent(&name, AgentChange::Pause),
        AdminCommand::ResumeAgent { name } => change_agent(&name, AgentChange::Resume),
        AdminCommand::RemoveAgent { name } => change_agent(&name, AgentChange::Remove),
        AdminCommand::SetAgentAbsence { name, from, to } => {
            change_agent(&name, leads::absence_change(from, to)?)
        }
        AdminCommand::CancelBooking { id } => send_row(sink, cancel_booking(context, id)?),
        AdminCommand::MoveBooking { id, date, time } => {
            send_row(sink, move_booking(context, id, date, time)?)
        }
    }
}
