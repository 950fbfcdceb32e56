//! Writes the outbox: each event, and one delivery for each subscribed destination.
//!
//! The transaction that makes the event true also writes the deliveries. Either both are on disk or
//! neither is.
//!
//! See [`crate::domain::event::subscriptions`] for the subscribed destinations,
//! [`crate::domain::event`] for the body, and [`super::deliveries`] for the attempts.

use crate::domain::delivery::{Delivery, Event, webhook_id};
use crate::domain::event::data::EventData;
use crate::domain::event::subscriptions::Subscriber;
use crate::domain::event::{EventKind, render_body};
use crate::domain::ids::{FlowName, SubmissionId};
use crate::domain::job::{Job, JobKind};

use super::schedule;
use crate::store::StoreResult;
use crate::store::writer::write_context::WriteContext;

/// Event with at least one subscriber, not yet written.
pub struct PendingEvent {
    kind: EventKind,
    flow: Option<FlowName>,
    subscribers: Vec<Subscriber>,
}

/// Returns the pending event of `kind` with its subscribers. Returns `None` if no destination is
/// subscribed. In this case, the caller does not need to look up any data.
pub fn prepare_event(
    ctx: &WriteContext<'_>,
    kind: EventKind,
    flow: Option<&FlowName>,
) -> Option<PendingEvent> {
    let subscribers: Vec<_> = ctx.subscriptions.subscribers(kind, flow).collect();
    (!subscribers.is_empty()).then(|| PendingEvent {
        kind,
        flow: flow.cloned(),
        subscribers,
    })
}

/// Emits an event that no submission caused. Writes nothing if no destination is subscribed.
pub fn emit_event(
    ctx: &mut WriteContext<'_>,
    kind: EventKind,
    data: &EventData<'_>,
) -> StoreResult<()> {
    match prepare_event(ctx, kind, data.flow) {
        Some(pending) => pending.write_deliveries(ctx, None, data),
        None => Ok(()),
    }
}

impl PendingEvent {
    /// Writes the event and its deliveries. The deliveries are due at once.
    pub fn write_deliveries(
        self,
        ctx: &mut WriteContext<'_>,
        submission: Option<SubmissionId>,
        data: &EventData<'_>,
    ) -> StoreResult<()> {
        let body = render_body(self.kind, ctx.now, data);
        let mut event = None;
        for Subscriber {
            destination,
            is_ordered,
        } in &self.subscribers
        {
            let id = ctx.state.counters.next_job();
            let delivery = Delivery {
                webhook_id: webhook_id(id, ctx.now, destination, &body),
                destination: destination.clone(),
                ordering_key: data.ordering_key().filter(|_| *is_ordered),
                event_id: *event.get_or_insert(id),
            };
            let job = Job::new(JobKind::Deliver, submission, ctx.now);
            ctx.tables.deliveries.put(id, &delivery)?;
            ctx.tables.jobs.put(id, &job)?;
            schedule::enqueue_delivery(ctx, &delivery, job.due_at, id)?;
        }
        let Some(event) = event else { return Ok(()) };
        let row = Event {
            kind: self.kind,
            occurred_at: ctx.now,
            flow: self.flow,
            body,
            delivery_count: u32::try_from(self.subscribers.len()).unwrap_or(u32::MAX),
        };
        ctx.tables.events.put(event, &row)?;
        Ok(())
    }
}
