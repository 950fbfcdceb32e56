//! Emits events: builds the data of each event from a submission with its booking and lead, a
//! draft, the health of a flow, or a destination.
//!
//! The transaction that makes an event true calls these functions. If no destination subscribes to
//! an event, the function reads no rows.
//!
//! See [`super::outbox`] for the deliveries of an event.

use crate::domain::booking::{Booking, BookingState};
use crate::domain::event::EventKind;
use crate::domain::event::data::{
    BookingData, DestinationData, DraftData, EventData, HealthData, LeadData, MovedFrom,
    NumberData, SubmissionData,
};
use crate::domain::health::number_traffic::NumberTraffic;
use crate::domain::ids::{BookingId, DestinationName, FlowName, LeadId, SubmissionId};
use crate::domain::lead::Lead;
use crate::domain::submission::Submission;
use crate::domain::submission::draft::Draft;

use super::{customers, outbox};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::submissions::{StoredSubmission, list_late_arrivals};
use crate::store::writer::write_context::WriteContext;

/// Emits the events of an accepted form: accepted, and booked or in conflict.
pub fn emit_submission_accepted(
    ctx: &mut WriteContext<'_>,
    id: SubmissionId,
    submission: &StoredSubmission,
) -> StoreResult<()> {
    let booked = submission.booking_id.map(|_| EventKind::BookingConfirmed);
    let conflict = submission
        .conflict
        .as_ref()
        .map(|_| EventKind::BookingConflict);
    let kinds = [Some(EventKind::SubmissionAccepted), booked, conflict];
    emit_submission_events(ctx, kinds.into_iter().flatten(), id, submission)
}

/// Emits the update of a submission whose customer became known by a late arrival.
pub fn emit_submission_updated(
    ctx: &mut WriteContext<'_>,
    id: SubmissionId,
    submission: &StoredSubmission,
) -> StoreResult<()> {
    emit_submission_events(ctx, [EventKind::SubmissionUpdated], id, submission)
}

/// Emits the assignment of a lead, or the wait of a lead without an agent.
pub fn emit_lead_event(ctx: &mut WriteContext<'_>, id: LeadId, lead: &Lead) -> StoreResult<()> {
    let kind = if lead.agent.is_some() {
        EventKind::LeadAssigned
    } else {
        EventKind::LeadWaiting
    };
    let Some(pending) = outbox::prepare_event(ctx, kind, Some(&lead.flow)) else {
        return Ok(());
    };
    let submission = ctx.tables.submissions.require(lead.submission_id)?;
    let context = SubmissionContext::load(ctx, lead.submission_id, submission)?;
    let agent = lead
        .agent
        .and_then(|agent| ctx.state.agent_pool.agent(agent))
        .map(|agent| agent.name.clone());
    let data = LeadData {
        id,
        team: &lead.team,
        agent: agent.as_ref(),
        reason: lead.assignment.reason.as_str(),
    };
    let data = EventData {
        lead: Some(data),
        ..context.event_data()
    };
    pending.write_deliveries(ctx, Some(lead.submission_id), &data)
}

/// Emits the cancellation of a booking, or the move of a booking from its previous time.
pub fn emit_booking_event(
    ctx: &mut WriteContext<'_>,
    id: BookingId,
    booking: &Booking,
    before: &Booking,
) -> StoreResult<()> {
    let (kind, moved_from) = match booking.state {
        BookingState::Cancelled => (EventKind::BookingCancelled, None),
        BookingState::Confirmed => (
            EventKind::BookingConfirmed,
            Some(MovedFrom {
                date: &before.date,
                time: &before.time,
            }),
        ),
    };
    let submission = ctx.tables.submissions.require(booking.submission_id)?;
    let Some(pending) = outbox::prepare_event(ctx, kind, Some(&submission.submission.flow)) else {
        return Ok(());
    };
    let context = SubmissionContext::load(ctx, booking.submission_id, submission)?;
    let data = EventData {
        booking: Some(BookingData {
            moved_from,
            ..BookingData::new(id, booking)
        }),
        ..context.event_data()
    };
    pending.write_deliveries(ctx, Some(booking.submission_id), &data)
}

/// Emits the abandonment of a draft.
pub fn emit_draft_abandoned(ctx: &mut WriteContext<'_>, draft: &Draft) -> StoreResult<()> {
    let data = EventData {
        flow: Some(&draft.flow),
        draft: Some(DraftData::from_draft(draft)),
        ..EventData::default()
    };
    outbox::emit_event(ctx, EventKind::DraftAbandoned, &data)
}

/// Emits the event of an unhealthy flow, as reported by Meta or measured by flowgate. Meta's
/// reports name no flow of the config.
pub fn emit_flow_unhealthy(
    ctx: &mut WriteContext<'_>,
    flow: Option<&FlowName>,
    health: HealthData<'_>,
) -> StoreResult<()> {
    let data = EventData {
        flow,
        health: Some(health),
        ..EventData::default()
    };
    outbox::emit_event(ctx, EventKind::FlowUnhealthy, &data)
}

/// Emits the event of a phone number of the business that is silent for an unusually long time.
pub fn emit_number_silent(
    ctx: &mut WriteContext<'_>,
    id: &str,
    traffic: &NumberTraffic,
) -> StoreResult<()> {
    let data = EventData {
        number: Some(NumberData::new(id, traffic)),
        ..EventData::default()
    };
    outbox::emit_event(ctx, EventKind::NumberSilent, &data)
}

/// Emits the suspension of a destination. If alerts go to the same destination, the delivery waits
/// in its queue like all others.
pub fn emit_destination_stopped(
    ctx: &mut WriteContext<'_>,
    destination: &DestinationName,
    reason: &str,
) -> StoreResult<()> {
    let data = EventData {
        destination: Some(DestinationData {
            name: destination,
            reason,
        }),
        ..EventData::default()
    };
    outbox::emit_event(ctx, EventKind::DestinationStopped, &data)
}

/// Emits an event of each kind with all known data of the submission.
fn emit_submission_events(
    ctx: &mut WriteContext<'_>,
    kinds: impl IntoIterator<Item = EventKind>,
    id: SubmissionId,
    submission: &StoredSubmission,
) -> StoreResult<()> {
    let flow = &submission.submission.flow;
    let pending: Vec<_> = kinds
        .into_iter()
        .filter_map(|kind| outbox::prepare_event(ctx, kind, Some(flow)))
        .collect();
    if pending.is_empty() {
        return Ok(());
    }
    let context = SubmissionContext::load(ctx, id, submission.clone())?;
    pending
        .into_iter()
        .try_for_each(|pending| pending.write_deliveries(ctx, Some(id), &context.event_data()))
}

/// A submission with its booking, and with its customer as far as known now.
struct SubmissionContext {
    id: SubmissionId,
    row: StoredSubmission,
    booking: Option<(BookingId, Booking)>,
}

impl SubmissionContext {
    fn load(
        ctx: &WriteContext<'_>,
        id: SubmissionId,
        mut row: StoredSubmission,
    ) -> StoreResult<Self> {
        fill_in_customer(ctx, id, &mut row.submission)?;
        let booking = match row.booking_id {
            Some(id) => ctx.tables.bookings.get(id)?.map(|booking| (id, booking)),
            None => None,
        };
        Ok(Self { id, row, booking })
    }

    fn event_data(&self) -> EventData<'_> {
        EventData {
            flow: Some(&self.row.submission.flow),
            submission: Some(SubmissionData::new(
                self.id,
                self.row.received_at,
                &self.row.submission,
            )),
            booking: self
                .booking
                .as_ref()
                .map(|(id, booking)| BookingData::new(*id, booking)),
            conflict: self.row.conflict.as_deref(),
            ..EventData::default()
        }
    }
}

/// Fills in the customer, and the ID of the message that contained the form, from late arrivals.
fn fill_in_customer(
    ctx: &WriteContext<'_>,
    id: SubmissionId,
    submission: &mut Submission,
) -> StoreResult<()> {
    submission.customer = customers::customer_of_submission(ctx, id, &submission.customer)?;
    if submission.message_id.is_none() {
        submission.message_id = list_late_arrivals(&ctx.tables.late_arrivals, id)?
            .into_iter()
            .find_map(|(_, late_arrival)| late_arrival.message_id);
    }
    Ok(())
}
