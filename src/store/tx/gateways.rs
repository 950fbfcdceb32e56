//! Stores the session states of unofficial gateways, their history, and their messages.
//!
//! The transaction that stores a session state also emits its events. A message is identified by
//! its gateway and its own ID, whether the message is a form or not.
//!
//! See [`crate::domain::gateway`] for the consequences of a session state.

use crate::domain::event::data::{EventData, GatewayData};
use crate::domain::gateway::{GatewayAlert, HistoryEntry, SessionState};
use crate::domain::ids::GatewayName;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::{Inbound, InboundSubmission};

use super::accept::{AcceptInbound, AcceptOutcome};
use super::outbox;
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::dedup_index::{DedupWindow, KeyLog};
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Maximum number of history rows of one gateway. Beyond it, the oldest rows are removed.
pub const HISTORY_ROWS_MAX: u64 = 1000;

/// Stores the session state of a gateway, and emits its alerts.
#[derive(Clone, Debug)]
pub struct RecordSessionState {
    /// Gateway name.
    pub gateway: GatewayName,
    /// Session state to store.
    pub state: SessionState,
    /// New history entries, in order.
    pub history: Vec<HistoryEntry>,
    /// Alerts to emit, in order.
    pub alerts: Vec<GatewayAlert>,
}

/// Stores the messages in one request of a gateway.
#[derive(Debug)]
pub struct IngestGatewayMessages {
    /// Gateway name.
    pub gateway: GatewayName,
    /// Messages that are submissions.
    pub submissions: Vec<InboundSubmission>,
    /// Idempotency keys of the other messages.
    pub other_keys: Vec<IdempotencyKey>,
}

/// Outcome of the messages in one request.
#[derive(Debug)]
pub struct IngestedMessages {
    /// Outcome of each submission, in order.
    pub outcomes: Vec<AcceptOutcome>,
    /// Number of other messages that were not known before.
    pub new_messages: usize,
}

impl Transaction for RecordSessionState {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let name = self.gateway.as_str();
        ctx.tables.gateway_sessions.put(name, &self.state)?;
        let history = &mut ctx.tables.gateway_history;
        let mut rows = history.range((name, 0)..=(name, u64::MAX))?;
        let first = rows.next().transpose()?.map(|row| row.key().1);
        let last = rows.next_back().transpose()?.map(|row| row.key().1);
        drop(rows);
        let mut next = last.or(first).unwrap_or_default();
        for entry in &self.history {
            next = next.saturating_add(1);
            history.put((name, next), entry)?;
        }
        // Row numbers have no gaps. So all rows that are older than the maximum have numbers in
        // this range.
        for expired in first.unwrap_or(1)..=next.saturating_sub(HISTORY_ROWS_MAX) {
            history.remove((name, expired))?;
        }
        for alert in &self.alerts {
            let data = EventData {
                gateway: Some(GatewayData::new(&self.gateway, &self.state)),
                ..EventData::default()
            };
            outbox::emit_event(ctx, alert.event(), &data)?;
        }
        Ok(())
    }
}

impl Transaction for IngestGatewayMessages {
    type Outcome = IngestedMessages;

    fn weight(&self) -> usize {
        self.submissions
            .len()
            .saturating_add(self.other_keys.len())
            .max(1)
    }

    fn bytes(&self) -> usize {
        self.submissions
            .iter()
            .map(|form| form.submission.data.len())
            .sum()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<IngestedMessages> {
        let inbound = self
            .submissions
            .iter()
            .map(|form| Inbound::Submission(Box::new(form.clone())))
            .collect();
        let outcomes = AcceptInbound { inbound }.apply(ctx)?;
        let mut new_messages = 0;
        for key in &self.other_keys {
            if ctx.find_key(DedupWindow::Message, *key)?.is_none() {
                ctx.insert_key(KeyLog::Message, *key, None)?;
                new_messages += 1;
            }
        }
        ctx.tables
            .gateway_last_seen
            .put(self.gateway.as_str(), &ctx.now)?;
        Ok(IngestedMessages {
            outcomes,
            new_messages,
        })
    }
}
