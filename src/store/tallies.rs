//! Sums of rows by name, kept beside the rows, so that figures cost no walk over what they count.
//!
//! Transactions note each change in their batch, and the batch writes the sums with its commit: an aborted batch takes its
//! notes along, and a snapshot shows sums and rows of the same commit. `check` counts again.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::StoreError;
use super::tables::Tables;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tally {
    /// Deliveries that wait, by destination: for a time, or for their turn.
    Deliveries,
    /// Leads that wait, by team.
    Leads,
    /// Agents who are not removed, by team.
    Agents,
    /// Places taken by bookings that stand, by calendar.
    Places,
}

impl Tally {
    /// The name in the file.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Leads => "leads",
            Self::Agents => "agents",
            Self::Places => "places",
        }
    }
}

/// Changes of sums in one batch.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<Tally, BTreeMap<String, i64>>);

impl Changes {
    /// Counts one more.
    pub(super) fn add(&mut self, tally: Tally, name: &str) {
        self.change(tally, name, 1);
    }

    /// Counts one less.
    pub(super) fn subtract(&mut self, tally: Tally, name: &str) {
        self.change(tally, name, -1);
    }

    fn change(&mut self, tally: Tally, name: &str, by: i64) {
        let sums = self.0.entry(tally).or_default();
        match sums.get_mut(name) {
            Some(sum) => *sum = sum.saturating_add(by),
            None => {
                sums.insert(name.to_owned(), by);
            }
        }
    }

    /// Writes the sums that changed. One that comes to 0 has no row.
    pub(super) fn write(self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        for (tally, sums) in self.0 {
            for (name, by) in sums.into_iter().filter(|(_, by)| *by != 0) {
                let key = (tally.as_str(), name.as_str());
                let before = tables.tallies.get(key)?.map_or(0, |sum| sum.value());
                match before.saturating_add_signed(by) {
                    0 => drop(tables.tallies.remove(key)?),
                    sum => drop(tables.tallies.insert(key, sum)?),
                }
            }
        }
        Ok(())
    }
}

/// All sums of `tally`, by name.
pub(super) fn read(
    table: &impl ReadableTable<(&'static str, &'static str), u64>,
    tally: Tally,
) -> Result<Vec<(String, u64)>, StoreError> {
    let mut sums = Vec::new();
    for row in table.range((tally.as_str(), "")..)? {
        let (key, sum) = row?;
        let (counted, name) = key.value();
        if counted != tally.as_str() {
            break;
        }
        sums.push((name.to_owned(), sum.value()));
    }
    Ok(sums)
}
