//! Stores the session states of unofficial gateways, their history, and their messages.
//!
//! The transaction that stores a session state also emits its events. A message is identified by
//! its gateway and its own ID, whether the message is a form or not.
//!
//! See [`crate::domain::gateway`] for the consequences of a session state.

use redb::ReadableTable;

use crate::domain::event::data::{EventData, GatewayData};
use crate::domain::gateway::{GatewayAlert, HistoryEntry, SessionState};
use crate::domain::ids::GatewayName;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::{Inbound, InboundSubmission};
use crate::domain::time::Timestamp;

use super::accept::{self, AcceptInbound, AcceptOutcome};
use super::outbox;
use crate::store::StoreError;
use crate::store::engine::redb::tables::{GATEWAY_HISTORY, GATEWAY_LAST_SEEN, GATEWAY_SESSIONS};
use crate::store::read::{DecodedRows, Snapshot};
use crate::store::rows::codec;
use crate::store::writer::dedup::KeyLog;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Maximum number of history rows of one gateway. Beyond it, the oldest rows are removed.
pub(in crate::store) const HISTORY_ROWS_MAX: u64 = 1000;

/// Session states by gateway name. A state is an error if its row is unreadable.
pub type FoundGateways = Vec<(GatewayName, Result<SessionState, StoreError>)>;

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

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        let name = self.gateway.as_str();
        ctx.tables
            .gateway_sessions
            .insert(name, codec::encode(&self.state)?.as_slice())?;
        let range = (name, 0)..=(name, u64::MAX);
        let first = ctx
            .tables
            .gateway_history
            .range(range.clone())?
            .next()
            .transpose()?
            .map(|(key, _)| key.value().1);
        let last = ctx
            .tables
            .gateway_history
            .range(range)?
            .next_back()
            .transpose()?
            .map(|(key, _)| key.value().1);
        let mut next = last.unwrap_or_default();
        for entry in &self.history {
            next = next.saturating_add(1);
            ctx.tables
                .gateway_history
                .insert((name, next), codec::encode(entry)?.as_slice())?;
        }
        // Row numbers have no gaps. So all rows that are older than the maximum have numbers in
        // this range.
        for expired in first.unwrap_or(1)..=next.saturating_sub(HISTORY_ROWS_MAX) {
            ctx.tables.gateway_history.remove((name, expired))?;
        }
        ctx.is_dirty = true;
        for alert in &self.alerts {
            let Some(pending) = outbox::prepare_event(ctx, alert.event(), None) else {
                continue;
            };
            let gateway = Some(GatewayData::new(&self.gateway, &self.state));
            pending.write_deliveries(
                ctx,
                None,
                &EventData {
                    gateway,
                    ..EventData::default()
                },
            )?;
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

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<IngestedMessages, StoreError> {
        let inbound = self
            .submissions
            .iter()
            .map(|form| Inbound::Submission(Box::new(form.clone())))
            .collect();
        let outcomes = AcceptInbound { inbound }.apply(ctx)?;
        let mut new_messages = 0;
        for key in &self.other_keys {
            if accept::find_message(ctx, Some(*key))?.is_none() {
                accept::insert_key(ctx, KeyLog::Message, *key, None)?;
                new_messages += 1;
            }
        }
        ctx.tables
            .gateway_last_seen
            .insert(self.gateway.as_str(), ctx.now.as_millis())?;
        ctx.is_dirty = true;
        Ok(IngestedMessages {
            outcomes,
            new_messages,
        })
    }
}

impl Snapshot {
    /// Returns the session states of all gateways that were ever probed, by name. For an unreadable
    /// row, the list contains an error.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be read.
    pub fn session_states(&self) -> Result<FoundGateways, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(GATEWAY_SESSIONS)?;
            let mut states = Vec::new();
            for row in table.iter()? {
                let (name, bytes) = row?;
                let state = codec::decode(name.value(), bytes.value());
                // The names come from configs, so each name is valid.
                states.extend(
                    GatewayName::new(name.value())
                        .ok()
                        .map(|name| (name, state)),
                );
            }
            Ok(states)
        })
    }

    /// Returns the session state of `gateway`. Returns `None` if the gateway was never probed.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn session_state(&self, gateway: &GatewayName) -> Result<Option<SessionState>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(GATEWAY_SESSIONS)?;
            table
                .get(gateway.as_str())?
                .map(|row| codec::decode(gateway, row.value()))
                .transpose()
        })
    }

    /// Returns the history of `gateway`, newest first, at most `limit` rows. For an unreadable row,
    /// the list contains an error.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be read.
    pub fn gateway_history(
        &self,
        gateway: &GatewayName,
        limit: usize,
    ) -> Result<DecodedRows<HistoryEntry>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(GATEWAY_HISTORY)?;
            let name = gateway.as_str();
            let rows = table.range((name, 0)..=(name, u64::MAX))?.rev().take(limit);
            rows.map(|row| {
                let (key, bytes) = row?;
                Ok((key.value().1, codec::decode(key.value(), bytes.value())))
            })
            .collect()
        })
    }

    /// Returns the time of the last request from `gateway`, in UTC. Returns `None` if no request
    /// was ever received.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn gateway_last_seen(
        &self,
        gateway: &GatewayName,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open_table(GATEWAY_LAST_SEEN)?;
            Ok(table
                .get(gateway.as_str())?
                .map(|at| Timestamp::from_millis(at.value())))
        })
    }
}
