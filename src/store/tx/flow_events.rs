//! Stores events about flows: flow errors from clients, health events from Meta's monitoring, and
//! flowgate's own assessment of endpoints.
//!
//! Flow errors and health events are stored for operators, up to a maximum number. If Meta or the
//! assessment reports an unhealthy flow, destinations get an event.
//!
//! See [`crate::domain::submission::flow_error`] and [`crate::domain::health`] for the content. See
//! [`super::retention`] for the removal.

use std::collections::HashSet;

use crate::domain::customer_change::CustomerChange;
use crate::domain::delivery::receipt::StatusUpdate;
use crate::domain::event::EventKind;
use crate::domain::event::data::HealthData;
use crate::domain::health::assessment::{Assessment, Severity};
use crate::domain::health::meta_event::{HealthEvent, active_events};
use crate::domain::ids::FlowName;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::Millis;

use super::accept::{AcceptInbound, AcceptOutcome};
use super::retention_queue::{self, RetentionQueue};
use super::{customer_changes, events, receipts, response_cache};
use crate::store::StoreResult;
use crate::store::engine::{Rows, TableValue, WriteTable};
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Maximum number of rows of each kind. Beyond it, the oldest rows are removed.
pub const EVENT_ROWS_MAX: u64 = 10_000;
/// Number of newest events among which a repeated event is looked up.
const RECENT_EVENTS_MAX: usize = 1000;
/// Time during which an equal event without a time of its own counts as the same event. Meta sends
/// an event again for seven days (*Create a webhook endpoint*).
const RESEND_WINDOW: Millis = Millis::from_secs(8 * 24 * 60 * 60);

/// Stores an error between a customer's WhatsApp client and a flow.
#[derive(Debug)]
pub struct RecordFlowError {
    /// Flow error. The transaction sets the time of the error.
    pub flow_error: FlowError,
    /// Key of the encrypted request that reported the error. If the same bytes come again after
    /// their response was stored, the error is not stored again.
    pub encrypted_request_key: IdempotencyKey,
}

/// Stores all items of one webhook body: messages, health events, statuses and customer changes.
#[derive(Debug, Default)]
pub struct IngestWebhook {
    /// Messages of the body.
    pub messages: AcceptInbound,
    /// Health events from Meta's monitoring. The transaction sets the time of their receipt.
    pub health_events: Vec<HealthEvent>,
    /// Statuses of messages that flowgate may have sent.
    pub statuses: Vec<StatusUpdate>,
    /// Customers with a new phone number or ID.
    pub customer_changes: Vec<CustomerChange>,
    /// Flows of the config under which these customers may be known. Needed only if there are
    /// customer changes.
    pub flows: Vec<FlowName>,
}

/// Records flowgate's own assessment of a flow's endpoint. Emits an event when the endpoint becomes
/// unhealthy. Emits no further event until the endpoint was healthy again.
#[derive(Debug)]
pub struct RecordHealth {
    /// Flow name.
    pub flow: FlowName,
    /// Assessment of the endpoint.
    pub assessment: Assessment,
}

/// Outcome of a webhook body.
#[derive(Debug)]
pub struct IngestedWebhook {
    /// Outcomes of the messages, in order.
    pub messages: Vec<AcceptOutcome>,
    /// Health events that were not stored before.
    pub new_health_events: Vec<HealthEvent>,
}

impl Transaction for RecordFlowError {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.flow_error.message.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        if response_cache::is_replayed_request(ctx, Some(self.encrypted_request_key))? {
            return Ok(());
        }
        let flow_error = FlowError {
            received_at: ctx.now,
            ..self.flow_error.clone()
        };
        let number = append_bounded(&mut ctx.tables.flow_errors, &flow_error)?;
        retention_queue::enqueue_row(ctx, RetentionQueue::FlowErrors, number.into())
    }
}

impl Transaction for RecordHealth {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.assessment.findings.iter().map(String::len).sum()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let flow = self.flow.as_str();
        let was_unhealthy = ctx.tables.unhealthy_flows.contains(flow)?;
        match (self.assessment.severity, was_unhealthy) {
            (Severity::Alert, false) => {
                ctx.tables.unhealthy_flows.put(flow, &ctx.now)?;
                let health = HealthData::from_assessment(&self.assessment, ctx.now);
                events::emit_flow_unhealthy(ctx, Some(&self.flow), health)
            }
            (Severity::Ok, true) => {
                ctx.tables.unhealthy_flows.remove(flow)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl IngestWebhook {
    /// Returns `true` if there is nothing to store.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.messages.inbound.is_empty()
            && self.health_events.is_empty()
            && self.statuses.is_empty()
            && self.customer_changes.is_empty()
    }
}

impl Transaction for IngestWebhook {
    type Outcome = IngestedWebhook;

    fn weight(&self) -> usize {
        self.messages.weight()
            + self.health_events.len()
            + self.statuses.len()
            + self.customer_changes.len()
    }

    fn bytes(&self) -> usize {
        let events = self.health_events.iter().map(|event| event.payload.len());
        self.messages.bytes().saturating_add(events.sum())
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<IngestedWebhook> {
        let new_health_events = store_health_events(ctx, &self.health_events)?;
        for status in &self.statuses {
            receipts::apply_status(ctx, status)?;
        }
        let messages = self.messages.apply(ctx)?;
        for change in &self.customer_changes {
            customer_changes::apply_customer_change(ctx, change, &self.flows)?;
        }
        Ok(IngestedWebhook {
            messages,
            new_health_events,
        })
    }
}

/// Stores the events that are new, and returns them.
fn store_health_events(
    ctx: &mut WriteContext<'_>,
    events: &[HealthEvent],
) -> StoreResult<Vec<HealthEvent>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let recent = list_recent_events(ctx)?;
    let is_known = |event: &&HealthEvent| {
        event.sent_at.is_some() || ctx.now.since(event.received_at) < RESEND_WINDOW
    };
    let mut known: HashSet<[u8; 16]> = recent
        .iter()
        .filter(is_known)
        .map(|event| event.fingerprint)
        .collect();
    let mut new_events = Vec::new();
    for event in events {
        if !known.insert(event.fingerprint) {
            continue;
        }
        let event = HealthEvent {
            received_at: ctx.now,
            ..event.clone()
        };
        let number = append_bounded(&mut ctx.tables.health_events, &event)?;
        retention_queue::enqueue_row(ctx, RetentionQueue::HealthEvents, number.into())?;
        new_events.push(event);
    }
    emit_new_unhealthy(ctx, recent, &new_events)?;
    Ok(new_events)
}

/// Emits the new events that report an unhealthy flow and are still active. A newer event may
/// already have ended the problem of an event that arrives late.
fn emit_new_unhealthy(
    ctx: &mut WriteContext<'_>,
    recent: Vec<HealthEvent>,
    new_events: &[HealthEvent],
) -> StoreResult<()> {
    let mut subscribers = ctx
        .subscriptions
        .subscribers(EventKind::FlowUnhealthy, None);
    if new_events.is_empty() || subscribers.next().is_none() {
        return Ok(());
    }
    drop(subscribers);
    let known_events = recent.into_iter().chain(new_events.iter().cloned());
    for active in active_events(known_events.collect()) {
        if active.severity() != Severity::Ok && new_events.contains(&active.event) {
            events::emit_flow_unhealthy(ctx, None, HealthData::from_meta_event(&active))?;
        }
    }
    Ok(())
}

/// Returns the newest events, oldest first.
fn list_recent_events(ctx: &WriteContext<'_>) -> StoreResult<Vec<HealthEvent>> {
    let mut events = Vec::new();
    let newest = ctx.tables.health_events.all_rows()?.rev();
    for row in newest.take(RECENT_EVENTS_MAX) {
        // The integrity check reports an unreadable row. Without this, such a row would block the
        // forms of a webhook.
        events.extend(row?.value());
    }
    // `active_events` uses the order of events with equal times.
    events.reverse();
    Ok(events)
}

/// Appends a row, and removes the oldest rows beyond the maximum. Returns the number of the row.
fn append_bounded<V: TableValue>(table: &mut WriteTable<'_, u64, V>, row: &V) -> StoreResult<u64> {
    let last = table.last()?.map_or(0, |row| row.key());
    let number = last.saturating_add(1);
    table.put(number, row)?;
    while table.len()? > EVENT_ROWS_MAX {
        table.pop_first()?;
    }
    Ok(number)
}
