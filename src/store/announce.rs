//! What becomes true in a transaction, put into words for the outside: which parts of a submission, its booking and its lead
//! (or of a draft, a flow's health, a destination) an event tells. Called by the transactions that make it so; where nobody is
//! told, nothing is looked up.

use redb::ReadableTable;

use crate::domain::booking::{Booking, BookingState};
use crate::domain::draft::Draft;
use crate::domain::event::EventKind;
use crate::domain::event::facts::{
    BookingFacts, DestinationFacts, DraftFacts, Facts, HealthFacts, LeadFacts, MovedFrom, NumberFacts, SubmissionFacts,
};
use crate::domain::ids::{BookingId, DestinationName, FlowName, LeadId, SubmissionId};
use crate::domain::lead::Lead;
use crate::domain::submission::Submission;
use crate::domain::traffic::Traffic;

use super::accept::{self, StoredSubmission};
use super::batch::Batch;
use super::{StoreError, codec, joins, outbox};

/// A form was taken, with or without the slot that it asked for.
pub(super) fn accepted(
    batch: &mut Batch<'_, '_>,
    id: SubmissionId,
    submission: &StoredSubmission,
) -> Result<(), StoreError> {
    let booked = submission.booking.map(|_| EventKind::BookingConfirmed);
    let conflict = submission.conflict.as_ref().map(|_| EventKind::BookingConflict);
    let kinds = [Some(EventKind::SubmissionAccepted), booked, conflict];
    tell_of(batch, kinds.into_iter().flatten(), id, submission)
}

/// The same form arrived once more, and now it is known who filled it in.
pub(super) fn updated(
    batch: &mut Batch<'_, '_>,
    id: SubmissionId,
    submission: &StoredSubmission,
) -> Result<(), StoreError> {
    tell_of(batch, [EventKind::SubmissionUpdated], id, submission)
}

/// A lead has an agent now, or waits for one.
pub(super) fn lead(batch: &mut Batch<'_, '_>, id: LeadId, lead: &Lead) -> Result<(), StoreError> {
    let kind = if lead.agent.is_some() { EventKind::LeadAssigned } else { EventKind::LeadWaiting };
    let Some(told) = outbox::told(batch, kind, Some(&lead.flow)) else { return Ok(()) };
    let known = Known::of(batch, lead.submission, accept::submission(batch, lead.submission)?)?;
    let agent = lead.agent.and_then(|agent| batch.memory.roster.get(agent)).map(|agent| agent.name.clone());
    let part = LeadFacts { id, team: &lead.team, agent: agent.as_ref(), reason: lead.why.reason.as_str() };
    told.write(batch, Some(lead.submission), &Facts { lead: Some(part), ..known.facts() })
}

/// A booking was cancelled, or moved away from the time that it had `before`.
pub(super) fn booking(
    batch: &mut Batch<'_, '_>,
    id: BookingId,
    booking: &Booking,
    before: &Booking,
) -> Result<(), StoreError> {
    let (kind, moved_from) = match booking.state {
        BookingState::Cancelled => (EventKind::BookingCancelled, None),
        BookingState::Confirmed => {
            (EventKind::BookingConfirmed, Some(MovedFrom { date: &before.date, time: &before.time }))
        }
    };
    let submission = accept::submission(batch, booking.submission)?;
    let Some(told) = outbox::told(batch, kind, Some(&submission.submission.flow)) else { return Ok(()) };
    let known = Known::of(batch, booking.submission, submission)?;
    let part = BookingFacts { moved_from, ..BookingFacts::of(id, booking) };
    told.write(batch, Some(booking.submission), &Facts { booking: Some(part), ..known.facts() })
}

/// The user of a form in the making has left it.
pub(super) fn abandoned(batch: &mut Batch<'_, '_>, draft: &Draft) -> Result<(), StoreError> {
    let Some(told) = outbox::told(batch, EventKind::DraftAbandoned, Some(&draft.flow)) else { return Ok(()) };
    let facts = Facts { flow: Some(&draft.flow), draft: Some(DraftFacts::of(draft)), ..Facts::default() };
    told.write(batch, None, &facts)
}

/// The endpoint of a flow is in trouble, as Meta says (which names no flow of the config) or our own figures.
pub(super) fn unhealthy(
    batch: &mut Batch<'_, '_>,
    flow: Option<&FlowName>,
    health: HealthFacts<'_>,
) -> Result<(), StoreError> {
    let Some(told) = outbox::told(batch, EventKind::FlowUnhealthy, flow) else { return Ok(()) };
    told.write(batch, None, &Facts { flow, health: Some(health), ..Facts::default() })
}

/// A number of ours has been silent for unusually long.
pub(super) fn silent(batch: &mut Batch<'_, '_>, id: &str, traffic: &Traffic) -> Result<(), StoreError> {
    let Some(told) = outbox::told(batch, EventKind::NumberSilent, None) else { return Ok(()) };
    told.write(batch, None, &Facts { number: Some(NumberFacts::of(id, traffic)), ..Facts::default() })
}

/// A destination is told nothing any more. Should it be the one that alerts go to, that waits in its lane with the rest.
pub(super) fn stopped(
    batch: &mut Batch<'_, '_>,
    destination: &DestinationName,
    reason: &str,
) -> Result<(), StoreError> {
    let Some(told) = outbox::told(batch, EventKind::DestinationStopped, None) else { return Ok(()) };
    let part = DestinationFacts { name: destination, reason };
    told.write(batch, None, &Facts { destination: Some(part), ..Facts::default() })
}

/// Tells of each of `kinds` with all that is known of the submission.
fn tell_of(
    batch: &mut Batch<'_, '_>,
    kinds: impl IntoIterator<Item = EventKind>,
    id: SubmissionId,
    submission: &StoredSubmission,
) -> Result<(), StoreError> {
    let flow = &submission.submission.flow;
    let told: Vec<_> = kinds.into_iter().filter_map(|kind| outbox::told(batch, kind, Some(flow))).collect();
    if told.is_empty() {
        return Ok(());
    }
    let known = Known::of(batch, id, submission.clone())?;
    told.into_iter().try_for_each(|told| told.write(batch, Some(id), &known.facts()))
}

/// A submission as it was taken, with its user as far as they are known by now, and its booking.
struct Known {
    id: SubmissionId,
    row: StoredSubmission,
    booking: Option<(BookingId, Booking)>,
}

impl Known {
    fn of(batch: &Batch<'_, '_>, id: SubmissionId, mut row: StoredSubmission) -> Result<Self, StoreError> {
        learn_user(batch, id, &mut row.submission)?;
        let booking = match row.booking {
            Some(id) => {
                let found = batch.tables.bookings.get(id.get())?;
                found.map(|found| Ok::<_, StoreError>((id, codec::decode(id, found.value())?))).transpose()?
            }
            None => None,
        };
        Ok(Self { id, row, booking })
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            flow: Some(&self.row.submission.flow),
            submission: Some(SubmissionFacts::of(self.id, self.row.received_at, &self.row.submission)),
            booking: self.booking.as_ref().map(|(id, booking)| BookingFacts::of(*id, booking)),
            conflict: self.row.conflict.as_deref(),
            ..Facts::default()
        }
    }
}

/// Completes the user, and the message that carried the form, from what arrived later for it.
fn learn_user(batch: &Batch<'_, '_>, id: SubmissionId, submission: &mut Submission) -> Result<(), StoreError> {
    submission.customer = joins::customer(batch, id, &submission.customer)?;
    if submission.message_id.is_none() {
        submission.message_id = joins::of(batch, id)?.into_iter().find_map(|join| join.message_id);
    }
    Ok(())
}
