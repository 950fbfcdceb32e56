//! Executes the requests that change rows, and sends the row with the result.
//!
//! Each request is one named transaction of the store or, for many dead letters, deliveries or
//! leads, a series of them.

mod accounts;
mod bookings;
mod close_leads;
mod dead_letters;
mod deliveries;
mod feeds;
mod forget;
mod imports;
mod leads;

use crate::domain::access::Principal;
use crate::store::AgentChange;

use super::context::{AdminContext, RowSink, send_row};
use super::destinations::set_paused;
use super::error::AdminError;
use super::protocol::AdminCommand;
use bookings::{cancel_booking, move_booking};
use close_leads::close_leads;
use dead_letters::{DeadLetterAction, change_dead_letters};
use deliveries::discard_deliveries;
use leads::update_lead;

/// Executes one change and sends the new state.
pub(super) fn execute(
    context: &AdminContext,
    principal: &Principal,
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
        AdminCommand::CloseLeads(selection) => send_row(sink, close_leads(context, &selection)?),
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
        } => change_agent(&name, leads::settings_change(team, settings)?),
        AdminCommand::PauseAgent { name } => change_agent(&name, AgentChange::Pause),
        AdminCommand::ResumeAgent { name } => change_agent(&name, AgentChange::Resume),
        AdminCommand::RemoveAgent { name } => change_agent(&name, AgentChange::Remove),
        AdminCommand::SetAgentAbsence { name, from, to } => {
            let zone = &context.catalog().time_zone;
            change_agent(&name, leads::absence_change(from, to, zone)?)
        }
        AdminCommand::ImportAgents { agents, dry_run } => {
            send_row(sink, imports::import_agents(context, agents, dry_run)?)
        }
        AdminCommand::ImportForms(import) => {
            send_row(sink, imports::import_forms(context, import)?)
        }
        AdminCommand::CreateFeed { target } => send_row(sink, feeds::create_feed(context, target)?),
        AdminCommand::RevokeFeed { target } => send_row(sink, feeds::revoke_feed(context, target)?),
        AdminCommand::ForgetCustomer { customer, dry_run } => {
            send_row(sink, forget::forget(context, customer, dry_run)?)
        }
        AdminCommand::InviteAccount(invite) => accounts::invite_account(context, invite, sink),
        AdminCommand::ResetAccount { name, expires_in } => {
            accounts::reset_account(context, principal, &name, expires_in, sink)
        }
        AdminCommand::SetAccountRole { name, role, agent } => {
            accounts::set_role(context, principal, &name, role, agent, sink)
        }
        AdminCommand::RemoveAccount { name } => {
            accounts::remove_account(context, principal, &name, sink)
        }
        AdminCommand::SignOutAccounts { name } => accounts::sign_out(context, name, sink),
        AdminCommand::CancelBooking { id } => send_row(sink, cancel_booking(context, id)?),
        AdminCommand::MoveBooking { id, date, time } => {
            send_row(sink, move_booking(context, id, date, time)?)
        }
    }
}
