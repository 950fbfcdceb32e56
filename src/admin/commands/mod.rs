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
use super::destinations;
use super::error::AdminError;
use super::protocol::AdminCommand;
use bookings::{cancel_booking, move_booking};
use dead_letters::{DeadLetterAction, change_dead_letters};

/// Executes one change and sends the new state.
pub(super) fn execute(
    context: &AdminContext,
    command: AdminCommand,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let change_agent = |name: &_, change| leads::change_agent(context, name, change);
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
            send_row(sink, deliveries::discard_deliveries(context, selector)?)
        }
        AdminCommand::PauseDestination { name } => {
            send_row(sink, destinations::set_paused(context, &name, true)?)
        }
        AdminCommand::ResumeDestination { name } => {
            send_row(sink, destinations::set_paused(context, &name, false)?)
        }
        AdminCommand::CloseLead { id } => send_row(sink, leads::update_lead(context, id, None)?),
        AdminCommand::AssignLead { id, agent } => {
            send_row(sink, leads::update_lead(context, id, Some(agent))?)
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
            send_row(sink, change_agent(&name, change)?)
        }
        AdminCommand::PauseAgent { name } => {
            send_row(sink, change_agent(&name, AgentChange::Pause)?)
        }
        AdminCommand::ResumeAgent { name } => {
            send_row(sink, change_agent(&name, AgentChange::Resume)?)
        }
        AdminCommand::RemoveAgent { name } => {
            send_row(sink, change_agent(&name, AgentChange::Remove)?)
        }
        AdminCommand::SetAgentAbsence { name, from, to } => {
            send_row(sink, change_agent(&name, leads::absence_change(from, to)?)?)
        }
        AdminCommand::CancelBooking { id } => send_row(sink, cancel_booking(context, id)?),
        AdminCommand::MoveBooking { id, date, time } => {
            send_row(sink, move_booking(context, id, date, time)?)
        }
    }
}
