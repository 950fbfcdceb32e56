//! Reads the states and histories of gateway sessions.

use crate::domain::gateway::{HistoryEntry, SessionState};
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;

use super::{DecodedRows, Snapshot};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::schema::{GATEWAY_HISTORY, GATEWAY_LAST_SEEN, GATEWAY_SESSIONS};

/// Session states by gateway name. A state is an error if its row is unreadable.
pub type FoundGateways = Vec<(GatewayName, StoreResult<SessionState>)>;

impl Snapshot {
    /// Returns the session states of all gateways that were ever probed, by name. For an unreadable
    /// row, the list contains an error.
    ///
    /// # Errors
    /// [`crate::store::StoreError`] if the table can't be read.
    pub fn session_states(&self) -> StoreResult<FoundGateways> {
        self.with_read_txn(|txn| {
            let table = txn.open(GATEWAY_SESSIONS)?;
            let mut states = Vec::new();
            for row in table.all_rows()? {
                let row = row?;
                // The names come from configs, so each name is valid.
                let name = GatewayName::new(row.key()).ok();
                states.extend(name.map(|name| (name, row.value())));
            }
            Ok(states)
        })
    }

    /// Returns the session state of `gateway`. Returns `None` if the gateway was never probed.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn session_state(&self, gateway: &GatewayName) -> StoreResult<Option<SessionState>> {
        self.get_row(GATEWAY_SESSIONS, gateway.as_str())
    }

    /// Returns the history of `gateway`, newest first, at most `limit` rows. For an unreadable row,
    /// the list contains an error.
    ///
    /// # Errors
    /// [`crate::store::StoreError`] if the table can't be read.
    pub fn gateway_history(
        &self,
        gateway: &GatewayName,
        limit: usize,
    ) -> StoreResult<DecodedRows<HistoryEntry>> {
        self.with_read_txn(|txn| {
            let table = txn.open(GATEWAY_HISTORY)?;
            let name = gateway.as_str();
            let rows = table.range((name, 0)..=(name, u64::MAX))?.rev().take(limit);
            rows.map(|row| {
                let row = row?;
                Ok((row.key().1, row.value()))
            })
            .collect()
        })
    }

    /// Returns the time of the last request from `gateway`, in UTC. Returns `None` if no request
    /// was ever received.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn gateway_last_seen(&self, gateway: &GatewayName) -> StoreResult<Option<Timestamp>> {
        self.get_row(GATEWAY_LAST_SEEN, gateway.as_str())
    }
}
