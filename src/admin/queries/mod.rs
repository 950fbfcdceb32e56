//! Answers the requests that only read: lists and single objects.

mod access;
mod bookings;
mod copy;
mod customers;
mod deliveries;
mod integrity;
mod jobs;
mod leads;
mod list;
mod search;
mod submissions;
mod trace;

use super::context::{AdminContext, RowSink, send_row, send_rows};
use super::error::AdminError;
use super::protocol::AdminQuery;
use super::responses::FlowRow;
use super::{destinations, flow_health, gateways, status};

pub(super) use bookings::booking_row;
pub(super) use deliveries::{delivery_not_found, delivery_rows};
pub(super) use jobs::{dead_letter_not_found, for_each_dead_letter};
pub(super) use leads::{get_lead, list_open_leads};
#[cfg(test)]
pub(super) use list::PAGE_ROWS;

/// Answers one query and sends its rows.
pub(super) fn answer(
    context: &AdminContext,
    query: AdminQuery,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match query {
        AdminQuery::Status => send_row(sink, status::read_status(context)?),
        AdminQuery::Submissions(filter) => submissions::list_submissions(context, &filter, sink),
        AdminQuery::Submission { id } => send_row(sink, submissions::get_submission(context, id)?),
        AdminQuery::Drafts(filter) => submissions::list_drafts(context, &filter, sink),
        AdminQuery::Jobs(filter) => jobs::list_jobs(context, &filter, sink),
        AdminQuery::Job { id } => send_row(sink, jobs::get_job(context, id)?),
        AdminQuery::DeadLetters(filter) => jobs::list_dead_letters(context, &filter, sink),
        AdminQuery::DeadLetter { id } => send_row(sink, jobs::get_dead_letter(context, id)?),
        AdminQuery::Deliveries(filter) => deliveries::list_deliveries(context, &filter, sink),
        AdminQuery::Delivery { id } => send_row(sink, deliveries::get_delivery(context, id)?),
        AdminQuery::Destinations => {
            let rows = destinations::destination_rows(context, &context.snapshot()?)?;
            send_rows(sink, rows)
        }
        AdminQuery::Leads(filter) => leads::list_leads(context, &filter, sink),
        AdminQuery::Lead { id } => send_row(sink, leads::get_lead(context, id)?),
        AdminQuery::Agents(filter) => leads::list_agents(context, &filter, sink),
        AdminQuery::Bookings(filter) => bookings::list_bookings(context, &filter, sink),
        AdminQuery::Booking { id } => send_row(sink, bookings::get_booking(context, id)?),
        AdminQuery::Trace { text, limits } => trace::send_timelines(context, &text, limits, sink),
        AdminQuery::Customers(filter) => customers::list_customers(context, &filter, sink),
        AdminQuery::Customer { name, limits } => {
            send_row(sink, customers::get_customer(context, &name, limits)?)
        }
        AdminQuery::Slots(filter) => bookings::list_slots(context, &filter, sink),
        AdminQuery::Calendars => bookings::list_calendars(context, sink),
        AdminQuery::Flows => {
            let catalog = context.catalog();
            let flows = catalog.flows.values();
            send_rows(sink, flows.map(|flow| FlowRow::from(&**flow)))
        }
        AdminQuery::FlowErrors(filter) => submissions::list_flow_errors(context, &filter, sink),
        AdminQuery::FlowHealth { flow } => {
            send_rows(sink, flow_health::flow_health_rows(context, flow.as_ref())?)
        }
        AdminQuery::Gateways => {
            let rows = gateways::gateway_rows(context, &context.snapshot()?)?;
            send_rows(sink, rows.into_values())
        }
        AdminQuery::Gateway { name } => send_row(sink, gateways::get_gateway(context, &name)?),
        AdminQuery::Accounts => access::list_accounts(context, sink),
        AdminQuery::AuditLog(filter) => access::list_audit_log(context, &filter, sink),
        AdminQuery::CopyData => copy::copy_data(context, sink),
        AdminQuery::CheckIntegrity => integrity::check_integrity(context, sink),
    }
}
