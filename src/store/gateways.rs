//! Unofficial gateways: how they stand, what became of them, and the messages that they bring.
//!
//! What follows from a gateway's state is decided in `crate::domain::gateway`; here it is kept, and told in the transaction
//! that keeps it. A message is known by its gateway and its own id, whether it is a form or not.

use redb::ReadableTable;

use crate::domain::arrival::{Arrival, Form};
use crate::domain::event::facts::{Facts, GatewayFacts};
use crate::domain::gateway::{Alert, Entry, Standing};
use crate::domain::ids::GatewayName;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Timestamp;

use super::accept::{self, Accept, Accepted};
use super::batch::{Batch, Transaction};
use super::keys::Log;
use super::read::{Found, Snapshot};
use super::tables::{GATEWAY_HISTORY, GATEWAYS, GATEWAYS_HEARD};
use super::{StoreError, codec, outbox};

/// Lines of one gateway's history at the most: the oldest make room.
pub(super) const HISTORY: u64 = 1000;

/// Gateways as they were found, by name: how some of them stand can't be read.
pub type FoundGateways = Vec<(GatewayName, Result<Standing, StoreError>)>;

/// Keeps how a gateway stands now, and tells of it.
#[derive(Clone, Debug)]
pub struct NoteGateway {
    /// Which one.
    pub gateway: GatewayName,
    /// How it stands.
    pub standing: Standing,
    /// What is new in its history, in order.
    pub entries: Vec<Entry>,
    /// What is to be told, in order.
    pub tell: Vec<Alert>,
}

/// Takes what one request of a gateway brought.
#[derive(Debug)]
pub struct Hear {
    /// Which one.
    pub gateway: GatewayName,
    /// Texts that are forms.
    pub forms: Vec<Form>,
    /// The keys of the other messages.
    pub others: Vec<IdempotencyKey>,
}

/// What became of it.
#[derive(Debug)]
pub struct Heard {
    /// Of each form, in order.
    pub forms: Vec<Accepted>,
    /// Other messages that were not known before.
    pub new: usize,
}

impl Transaction for NoteGateway {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let name = self.gateway.as_str();
        batch.tables.gateways.insert(name, codec::encode(&self.standing)?.as_slice())?;
        let range = (name, 0)..=(name, u64::MAX);
        let first =
            batch.tables.gateway_history.range(range.clone())?.next().transpose()?.map(|(key, _)| key.value().1);
        let last = batch.tables.gateway_history.range(range)?.next_back().transpose()?.map(|(key, _)| key.value().1);
        let mut next = last.unwrap_or_default();
        for entry in &self.entries {
            next = next.saturating_add(1);
            batch.tables.gateway_history.insert((name, next), codec::encode(entry)?.as_slice())?;
        }
        // Numbers have no gaps: what is too old is what lies further back than there may be.
        for old in first.unwrap_or(1)..=next.saturating_sub(HISTORY) {
            batch.tables.gateway_history.remove((name, old))?;
        }
        batch.dirty = true;
        for alert in &self.tell {
            let Some(told) = outbox::told(batch, alert.event(), None) else { continue };
            let gateway = Some(GatewayFacts::of(&self.gateway, &self.standing));
            told.write(batch, None, &Facts { gateway, ..Facts::default() })?;
        }
        Ok(())
    }
}

impl Transaction for Hear {
    type Outcome = Heard;

    fn weight(&self) -> usize {
        self.forms.len().saturating_add(self.others.len()).max(1)
    }

    fn bytes(&self) -> usize {
        self.forms.iter().map(|form| form.submission.data.len()).sum()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Heard, StoreError> {
        let arrivals = self.forms.iter().map(|form| Arrival::Form(Box::new(form.clone()))).collect();
        let forms = Accept { arrivals }.apply(batch)?;
        let mut new = 0;
        for key in &self.others {
            if accept::message_of(batch, Some(*key))?.is_none() {
                accept::learn(batch, Log::Message, *key, None)?;
                new += 1;
            }
        }
        batch.tables.gateways_heard.insert(self.gateway.as_str(), batch.now.as_millis())?;
        batch.dirty = true;
        Ok(Heard { forms, new })
    }
}

impl Snapshot {
    /// How all gateways stand that were ever looked at, by name. A row that can't be read keeps nobody from the others.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be walked.
    pub fn gateways(&self) -> Result<FoundGateways, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(GATEWAYS)?;
            let mut gateways = Vec::new();
            for row in table.iter()? {
                let (name, bytes) = row?;
                let standing = codec::decode(name.value(), bytes.value());
                // Names come from configs: each was one.
                gateways.extend(GatewayName::new(name.value()).ok().map(|name| (name, standing)));
            }
            Ok(gateways)
        })
    }

    /// How `gateway` stands, if it was ever looked at.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn gateway(&self, gateway: &GatewayName) -> Result<Option<Standing>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(GATEWAYS)?;
            table.get(gateway.as_str())?.map(|row| codec::decode(gateway, row.value())).transpose()
        })
    }

    /// What became of `gateway`, newest first, `limit` lines at the most. A row that can't be read keeps nobody from the others.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be walked.
    pub fn gateway_history(&self, gateway: &GatewayName, limit: usize) -> Result<Found<Entry>, StoreError> {
        self.reading(|txn| {
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

    /// When something last came from `gateway`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn gateway_heard(&self, gateway: &GatewayName) -> Result<Option<Timestamp>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(GATEWAYS_HEARD)?;
            Ok(table.get(gateway.as_str())?.map(|at| Timestamp::from_millis(at.value())))
        })
    }
}
