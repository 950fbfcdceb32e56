//! Maintains the tallies: stored numbers of rows by name, so that a metric or a count needs no
//! scan.
//!
//! Each transaction records its changes in the write context. The writer stores the changed tallies
//! in the commit of the batch. So an aborted batch discards its changes, and a snapshot shows
//! tallies and rows of the same commit. The command `flowgate check` counts the rows again.

use std::collections::BTreeMap;

use super::schema::Tables;
use crate::store::StoreResult;
use crate::store::engine::{Rows, Text};

/// Kind of rows that a tally counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tally {
    /// Number of waiting deliveries by destination, both scheduled and in ordered queues.
    Deliveries,
    /// Number of waiting leads by team.
    Leads,
    /// Number of agents by team, without removed agents.
    Agents,
    /// Number of confirmed bookings by calendar.
    Bookings,
}

impl Tally {
    /// Name of the tally in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Leads => "leads",
            Self::Agents => "agents",
            Self::Bookings => "bookings",
        }
    }
}

/// Changes of tallies in one batch.
#[derive(Debug, Default)]
pub struct TallyChanges(BTreeMap<Tally, BTreeMap<String, i64>>);

impl TallyChanges {
    /// Adds 1 to a tally.
    pub fn increment(&mut self, tally: Tally, name: &str) {
        self.adjust(tally, name, 1);
    }

    /// Subtracts 1 from a tally.
    pub fn decrement(&mut self, tally: Tally, name: &str) {
        self.adjust(tally, name, -1);
    }

    fn adjust(&mut self, tally: Tally, name: &str, by: i64) {
        let sums = self.0.entry(tally).or_default();
        if let Some(sum) = sums.get_mut(name) {
            *sum = sum.saturating_add(by);
        } else {
            sums.insert(name.to_owned(), by);
        }
    }

    /// Writes the changed tallies. A tally of 0 has no row.
    pub fn write_sums(self, tables: &mut Tables<'_>) -> StoreResult<()> {
        for (tally, sums) in self.0 {
            for (name, by) in sums.into_iter().filter(|(_, by)| *by != 0) {
                let key = (tally.as_str(), name.as_str());
                let before = tables.tallies.get(key)?.unwrap_or(0);
                match before.saturating_add_signed(by) {
                    0 => tables.tallies.remove(key)?,
                    sum => tables.tallies.put(key, &sum)?,
                };
            }
        }
        Ok(())
    }
}

/// Lists all counts of `tally`, by name.
pub fn read_sums(
    table: &impl Rows<Key = (Text, Text), Value = u64>,
    tally: Tally,
) -> StoreResult<Vec<(String, u64)>> {
    let mut sums = Vec::new();
    for row in table.range((tally.as_str(), "")..)? {
        let row = row?;
        let (counted, name) = row.key();
        if counted != tally.as_str() {
            break;
        }
        sums.push((name.to_owned(), row.value()?));
    }
    Ok(sums)
}
