//! Copies of the data: reads all rows beside a running writer, and builds a new file from them.
//!
//! A [`DataCopy`] reads the tables in slices, each in its own short snapshot, because a long
//! snapshot stops the reuse of pages. The change log records the commits meanwhile. The rows,
//! followed by the changes since the beginning, are the content of the file at the commit of
//! [`DataCopy::end`]: each change is absolute, and the last one of a row wins.
//!
//! See [`super::rows::change_log`] for the log, and [`NewFile`] for the other side.

mod new_file;

use std::collections::BTreeMap;

use super::data_file;
use super::engine::{Bytes, Position, RawChange, ReadTxn, Rows, list_changes};
use super::rows::change_log::{
    ChangeLogEntry, ChangeLogHeader, ChangeLogState, HEADER, Lineage, read_entry_from, read_header,
    read_last_entry,
};
use super::rows::codec;
use super::rows::counters::Counters;
use super::rows::schema::{
    CHANGE_LOG, COPIED_TABLES, META, META_BYTES, append_raw_rows, count_rows,
};
use super::state::LogHold;
use super::tx::change_log::{BeginChangeLog, EndCopyLog, TrimChangeLog};
use super::{Store, StoreError, StoreResult};
use crate::domain::time::Timestamp;

pub use new_file::{FileSummary, NewFile, Replaces};

/// Size of a slice of rows, in bytes, after which the snapshot is released.
const SLICE_BYTES: usize = 1 << 20;

/// State of the file at the end of a copy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CopyEnd {
    /// Number of the last entry of the change log that belongs to the copy.
    pub last_entry: u64,
    /// Time of the last commit that belongs to the copy.
    pub committed_at: Timestamp,
    /// Number of rows by table. Tables without rows are left out.
    pub row_counts: BTreeMap<String, u64>,
    /// Lineage of the data.
    pub lineage: Option<Lineage>,
}

/// Copy of all tables in progress.
pub struct DataCopy {
    store: Store,
    /// Keeps the entries of the change log. `None` for a file that nothing changes.
    hold: Option<LogHold>,
    begins_after: u64,
    /// Index of the table that is read.
    table: usize,
    position: Option<Position>,
}

impl DataCopy {
    /// Begins a copy. From now on, the change log records every commit.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't begin the log.
    pub fn begin(store: &Store) -> StoreResult<Self> {
        let mut copy = Self {
            store: store.clone(),
            hold: None,
            begins_after: 0,
            table: 0,
            position: None,
        };
        if !store.is_read_only() {
            // The hold comes first, so that the end of another copy does not end the log.
            let hold = LogHold::new(store.log_holds());
            copy.begins_after = store.execute_blocking(BeginChangeLog {
                state: ChangeLogState::Copying,
                lineage: None,
            })?;
            hold.release_up_to(copy.begins_after);
            copy.hold = Some(hold);
        }
        Ok(copy)
    }

    /// Returns the number of the last entry before the copy.
    #[must_use]
    pub const fn begins_after(&self) -> u64 {
        self.begins_after
    }

    /// Returns the next rows as changes. Returns `None` after the last row.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read.
    pub fn next_rows(&mut self) -> StoreResult<Option<Vec<u8>>> {
        let mut rows = Vec::new();
        while let Some(table) = COPIED_TABLES.get(self.table) {
            let after = self.position.take();
            self.position = self.store.read_last()?.with_read_txn(|txn| {
                append_raw_rows(txn, table, after.as_ref(), SLICE_BYTES, &mut rows)
            })?;
            if self.position.is_none() {
                self.table = self.table.saturating_add(1);
            }
            if rows.len() >= SLICE_BYTES {
                break;
            }
        }
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
    }

    /// Returns the commit at which the copy ends. Call this after the last row. The rest of the
    /// copy is in the change log: see [`DataCopy::changes_until`].
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read, or the log was given up meanwhile.
    pub fn end(&self) -> StoreResult<CopyEnd> {
        let snapshot = self.store.read_last()?;
        snapshot.with_read_txn(|txn| {
            let log = self.read_log(txn)?;
            let counters = data_file::read_counters(self.store.path(), txn)?;
            Ok(CopyEnd {
                last_entry: log.last.as_ref().map_or(0, |last| last.number),
                committed_at: log
                    .last
                    .map_or(counters.clock.wall(), |last| last.committed_at),
                row_counts: count_rows(txn)?,
                lineage: log.header.lineage,
            })
        })
    }

    /// Returns the next changes after entry `after`, up to those of `end`, with the number of their
    /// last entry. Returns `None` if there are no more.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read, or the log was given up meanwhile.
    pub fn changes_until(&self, after: u64, end: &CopyEnd) -> StoreResult<Option<(u64, Vec<u8>)>> {
        if self.hold.is_none() || after >= end.last_entry {
            return Ok(None);
        }
        let entries = self
            .store
            .read_change_log(after, end.last_entry, SLICE_BYTES)?;
        let Some(last) = entries.last().map(|entry| entry.number) else {
            return Ok(None);
        };
        let mut changes = Vec::new();
        for entry in entries {
            changes.extend_from_slice(&entry.changes);
        }
        Ok(Some((last, changes)))
    }

    /// Reads the log as far as this copy needs it.
    fn read_log(&self, txn: &ReadTxn) -> StoreResult<LogEnd> {
        let has_log = txn.has_table(CHANGE_LOG)?;
        if self.hold.is_none() {
            let header = if has_log {
                read_header(&txn.open(CHANGE_LOG)?)?
            } else {
                None
            };
            let header = header.unwrap_or_default();
            return Ok(LogEnd { header, last: None });
        }
        let log = txn.open(CHANGE_LOG)?;
        let header = read_header(&log)?.unwrap_or_default();
        require_recording(&header, self.begins_after)?;
        Ok(LogEnd {
            header,
            last: read_last_entry(&log)?,
        })
    }
}

struct LogEnd {
    header: ChangeLogHeader,
    last: Option<ChangeLogEntry>,
}

fn require_recording(header: &ChangeLogHeader, after: u64) -> StoreResult<()> {
    if header.state.is_recording() && header.begins_after <= after {
        Ok(())
    } else {
        Err(StoreError::ChangeLogLost)
    }
}

impl Store {
    /// Returns the entries after number `after`, up to number `up_to`, as many as `bytes_max`
    /// allows and at least one.
    ///
    /// # Errors
    /// [`StoreError::ChangeLogLost`] if the log does not have all of them.
    pub fn read_change_log(
        &self,
        after: u64,
        up_to: u64,
        bytes_max: usize,
    ) -> StoreResult<Vec<ChangeLogEntry>> {
        self.read_last()?.with_read_txn(|txn| {
            let log = txn.open(CHANGE_LOG)?;
            require_recording(&read_header(&log)?.unwrap_or_default(), after)?;
            let (mut entries, mut bytes) = (Vec::new(), 0_usize);
            let mut next = after.saturating_add(1);
            for row in log.range(next..=up_to)? {
                let row = row?;
                if row.key() != next || bytes >= bytes_max {
                    break;
                }
                let entry = super::rows::change_log::decode_row(next, &row.value()?.0)?;
                bytes = bytes.saturating_add(entry.changes.len());
                entries.push(entry);
                next = next.saturating_add(1);
            }
            let last = log.last()?.map_or(HEADER, |row| row.key());
            if entries.is_empty() && after < last.min(up_to) {
                return Err(StoreError::ChangeLogLost);
            }
            Ok(entries)
        })
    }

    /// Returns the header of the change log, and its last entry.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read.
    pub fn change_log_state(&self) -> StoreResult<(ChangeLogHeader, Option<ChangeLogEntry>)> {
        self.read_last()?.with_read_txn(|txn| {
            if !txn.has_table(CHANGE_LOG)? {
                return Ok((ChangeLogHeader::default(), None));
            }
            let log = txn.open(CHANGE_LOG)?;
            Ok((
                read_header(&log)?.unwrap_or_default(),
                read_last_entry(&log)?,
            ))
        })
    }

    /// Returns `false` if IDs were assigned in commits that the log lacks. An older flowgate, which
    /// does not know the log, makes such commits.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read.
    pub fn has_logged_all_commits(&self) -> StoreResult<bool> {
        self.read_last()?.with_read_txn(|txn| {
            let log = txn.open(CHANGE_LOG)?;
            let header = read_header(&log)?.unwrap_or_default();
            let last = read_last_entry(&log)?.filter(|last| last.number > header.begins_after);
            let Some(last) = last else { return Ok(true) };
            let is_counters = |change: &RawChange<'_>| {
                change.table == META.name() && change.key == data_file::COUNTERS.as_bytes()
            };
            let logged = list_changes(&last.changes).flatten().filter(is_counters);
            let Some(logged) = logged.last().and_then(|change| change.value) else {
                return Ok(true);
            };
            let logged = codec::decode::<Counters>(logged);
            let logged = logged.map_err(|problem| CHANGE_LOG.row_error(last.number, problem))?;
            Ok(data_file::read_counters(self.path(), txn)?.has_same_ids(&logged))
        })
    }

    /// Returns the kinds of problems of the backups that have caused an alert, as they were
    /// recorded. Returns `None` if there are none.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read.
    pub fn backup_alerts(&self) -> StoreResult<Option<Vec<u8>>> {
        self.read_last()?.with_read_txn(|txn| {
            let row = txn.open(META_BYTES)?.get(data_file::BACKUP_ALERTS)?;
            Ok(row.map(|Bytes(bytes)| bytes.to_vec()))
        })
    }

    /// Returns the time of the oldest commit after number `after` that waits for its upload. The
    /// inner `None`: no commit waits. Returns `None` if the log does not record for a backup.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read.
    pub fn oldest_waiting_commit(&self, after: u64) -> StoreResult<Option<Option<Timestamp>>> {
        self.read_last()?.with_read_txn(|txn| {
            if !txn.has_table(CHANGE_LOG)? {
                return Ok(None);
            }
            let log = txn.open(CHANGE_LOG)?;
            let header = read_header(&log)?.unwrap_or_default();
            if !matches!(header.state, ChangeLogState::Generation { .. }) {
                return Ok(None);
            }
            let next = after.max(header.begins_after).saturating_add(1);
            let oldest = read_entry_from(&log, next)?;
            Ok(Some(oldest.map(|entry| entry.committed_at)))
        })
    }

    /// Returns the number of the first entry that is stored.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't be read.
    pub fn first_change_log_entry(&self) -> StoreResult<Option<u64>> {
        self.read_last()?.with_read_txn(|txn| {
            if !txn.has_table(CHANGE_LOG)? {
                return Ok(None);
            }
            let log = txn.open(CHANGE_LOG)?;
            let first = log.range(HEADER + 1..)?.next().transpose()?;
            Ok(first.map(|row| row.key()))
        })
    }

    /// Removes the entries up to number `up_to`, in slices. Entries that a copy needs stay.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't commit.
    pub fn trim_change_log(&self, up_to: u64) -> StoreResult<()> {
        let holds = self.log_holds();
        let slice = TrimChangeLog { up_to, holds };
        while self.execute_blocking(slice.clone())? {}
        Ok(())
    }

    /// Ends the change log if it recorded only for copies that have ended, and removes entries that
    /// nothing needs.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't commit.
    pub fn tidy_change_log(&self) -> StoreResult<()> {
        if self.is_read_only() {
            return Ok(());
        }
        let holds = self.log_holds();
        self.execute_blocking(EndCopyLog { holds })?;
        let (header, last) = self.change_log_state()?;
        match last {
            Some(last) if !header.state.is_recording() => self.trim_change_log(last.number),
            _ => self.trim_change_log(header.begins_after),
        }
    }
}

/// Returns the sum of the counts of all tables.
fn total_rows(counts: &BTreeMap<String, u64>) -> u64 {
    counts
        .values()
        .fold(0, |sum, rows| sum.saturating_add(*rows))
}

/// Returns the error for bytes that are no changes.
fn invalid_changes() -> StoreError {
    StoreError::InvalidCopy("its content is no sequence of changes".to_owned())
}
