//! The outbox: what became true, and a delivery for each destination that is told of it, written in the transaction that
//! makes it true. Either both are on disk or neither.
//!
//! Who is told is decided in `crate::domain::routes`, what the body says in `crate::domain::event`; what becomes of a
//! delivery is [`super::deliveries`]'.

use crate::domain::delivery::{Delivery, Event, message_id};
use crate::domain::event::facts::Facts;
use crate::domain::event::{EventKind, body};
use crate::domain::ids::{FlowName, SubmissionId};
use crate::domain::job::{Job, JobKind};
use crate::domain::routes::Listener;

use super::batch::Batch;
use super::{StoreError, codec, schedule};

/// Those who are told of one event; never nobody.
pub(super) struct Told {
    kind: EventKind,
    flow: Option<FlowName>,
    listeners: Vec<Listener>,
}

/// Who is told of `kind`. `None`: nobody, and nothing needs to be looked up for it.
pub(super) fn told(batch: &Batch<'_, '_>, kind: EventKind, flow: Option<&FlowName>) -> Option<Told> {
    let listeners: Vec<_> = batch.routes.of(kind, flow).collect();
    (!listeners.is_empty()).then(|| Told { kind, flow: flow.cloned(), listeners })
}

impl Told {
    /// Writes the event and its deliveries, which are due at once.
    pub(super) fn write(
        self,
        batch: &mut Batch<'_, '_>,
        submission: Option<SubmissionId>,
        facts: &Facts<'_>,
    ) -> Result<(), StoreError> {
        let Self { kind, flow, listeners } = self;
        let body = body(kind, batch.now, facts);
        let mut event = None;
        for Listener { to, ordered } in &listeners {
            let id = batch.memory.counters.next_job();
            let delivery = Delivery {
                message_id: message_id(id, batch.now, to, &body),
                destination: to.clone(),
                queue: facts.queue().filter(|_| *ordered),
                event: *event.get_or_insert(id),
            };
            let job = Job::new(JobKind::Deliver, submission, batch.now);
            batch.tables.deliveries.insert(id.get(), codec::encode(&delivery)?.as_slice())?;
            schedule::write(batch, id, &job)?;
            schedule::enqueue(batch, &delivery, job.due_at, id)?;
        }
        let Some(event) = event else { return Ok(()) };
        let deliveries = u32::try_from(listeners.len()).unwrap_or(u32::MAX);
        let row = Event { kind, at: batch.now, flow, body, deliveries };
        batch.tables.events.insert(event.get(), codec::encode(&row)?.as_slice())?;
        Ok(())
    }
}
