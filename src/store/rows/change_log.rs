//! The change log: the changes of each commit in one entry, from which backups are made.
//!
//! Entry 0 is the header. The others have the sequence number of their commit. The log records only
//! while its header says so. The last entry is never removed, because the next number follows it.
//!
//! ```text
//! [version u8][time of the commit u64][bytes of all entries so far u64][changes][CRC-32]
//! ```
//! See [`crate::store::engine::RawChange`] for the changes, and [`crate::store::tx::change_log`]
//! for the beginning and the end of a log.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

use super::codec::{self, Row};
use super::schema::CHANGE_LOG;
use crate::store::engine::{Bytes, Rows, WriteTable};
use crate::store::{RowProblem, StoreResult};

/// Key of the header.
pub const HEADER: u64 = 0;
const VERSION: u8 = 1;
/// Size of an entry without its changes, in bytes.
const FRAME_BYTES: usize = 1 + 8 + 8 + 4;

/// Header of the change log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLogHeader {
    /// State of the log.
    pub state: ChangeLogState,
    /// Last sequence number before the log began: the entries up to this number do not belong to
    /// the log.
    pub begins_after: u64,
    /// Lineage of the data. `None` if the data never had a continuous backup.
    pub lineage: Option<Lineage>,
    /// `true` if the file followed a backup and was promoted.
    pub is_promoted: bool,
}

/// Origin of the data: all files that were restored from one another have the same lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Random ID of the data.
    pub id: String,
    /// Epoch of the last generation of the file, or [`Lineage::RESTORED`].
    pub epoch: u32,
}

impl Lineage {
    /// Epoch of a file that was restored or promoted and has begun no generation since.
    pub const RESTORED: u32 = u32::MAX;
}

/// State of the change log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeLogState {
    /// Commits are not recorded.
    #[default]
    Inactive,
    /// The log became too large and was given up.
    Overflowed,
    /// Commits are recorded while a copy of the file is made.
    Copying,
    /// Commits are recorded for a continuous backup.
    Generation {
        /// Name of the generation in the object store.
        name: String,
    },
    /// The file follows a backup, and has all its entries up to `applied`.
    Following {
        /// Name of the generation in the object store.
        name: String,
        /// Sequence number of the last entry that was applied.
        applied: u64,
        /// Time of that commit.
        committed_at: Timestamp,
    },
}

impl ChangeLogState {
    /// Returns `true` if commits are recorded.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        matches!(self, Self::Copying | Self::Generation { .. })
    }
}

impl Row for ChangeLogHeader {}

/// Entry of the change log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeLogEntry {
    /// Sequence number of the commit.
    pub number: u64,
    /// Wall clock at the commit.
    pub committed_at: Timestamp,
    /// Size of all entries up to this one, in bytes.
    pub bytes_so_far: u64,
    /// Recorded changes.
    pub changes: Vec<u8>,
}

impl ChangeLogEntry {
    /// Returns an entry without changes.
    #[must_use]
    pub const fn empty(number: u64, committed_at: Timestamp) -> Self {
        Self {
            number,
            committed_at,
            bytes_so_far: 0,
            changes: Vec::new(),
        }
    }

    /// Returns the entry in its stored form, without its number.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.changes.len().saturating_add(FRAME_BYTES));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.committed_at.as_millis().to_le_bytes());
        bytes.extend_from_slice(&self.bytes_so_far.to_le_bytes());
        bytes.extend_from_slice(&self.changes);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes an entry.
    ///
    /// # Errors
    /// [`RowProblem`] for an entry that is truncated, altered, or of an unknown version.
    pub fn decode(number: u64, bytes: &[u8]) -> Result<Self, RowProblem> {
        let (body, checksum) = bytes.split_last_chunk().ok_or(RowProblem::Truncated)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(RowProblem::Checksum);
        }
        let (&version, body) = body.split_first().ok_or(RowProblem::Truncated)?;
        if version != VERSION {
            return Err(RowProblem::UnknownVersion(version));
        }
        let (millis, body) = body.split_first_chunk().ok_or(RowProblem::Truncated)?;
        let (so_far, changes) = body.split_first_chunk().ok_or(RowProblem::Truncated)?;
        Ok(Self {
            number,
            committed_at: Timestamp::from_millis(u64::from_le_bytes(*millis)),
            bytes_so_far: u64::from_le_bytes(*so_far),
            changes: changes.to_vec(),
        })
    }
}

/// Returns the header. Returns `None` if the file never had a change log.
pub fn read_header(
    log: &impl Rows<Key = u64, Value = Bytes>,
) -> StoreResult<Option<ChangeLogHeader>> {
    let Some(Bytes(bytes)) = log.get(HEADER)? else {
        return Ok(None);
    };
    let header = codec::decode(&bytes).map_err(|problem| CHANGE_LOG.row_error(HEADER, problem))?;
    Ok(Some(header))
}

pub fn write_header(
    log: &mut WriteTable<'_, u64, Bytes>,
    header: &ChangeLogHeader,
) -> StoreResult<()> {
    let bytes = codec::encode(header).map_err(|problem| CHANGE_LOG.row_error(HEADER, problem))?;
    log.put_bytes(HEADER, &bytes)?;
    Ok(())
}

/// Returns the entry with this number or the next one.
pub fn read_entry_from(
    log: &impl Rows<Key = u64, Value = Bytes>,
    number: u64,
) -> StoreResult<Option<ChangeLogEntry>> {
    let first = log.range(number.max(HEADER + 1)..)?.next().transpose()?;
    first
        .map(|row| decode_row(row.key(), &row.value()?.0))
        .transpose()
}

/// Returns the last entry. Returns `None` if the log never had one.
pub fn read_last_entry(
    log: &impl Rows<Key = u64, Value = Bytes>,
) -> StoreResult<Option<ChangeLogEntry>> {
    let last = log.last()?.filter(|row| row.key() != HEADER);
    last.map(|row| decode_row(row.key(), &row.value()?.0))
        .transpose()
}

pub fn decode_row(number: u64, bytes: &[u8]) -> StoreResult<ChangeLogEntry> {
    ChangeLogEntry::decode(number, bytes).map_err(|problem| CHANGE_LOG.row_error(number, problem))
}

/// Appends the changes of a commit. Gives up the log if it would exceed `bytes_max`.
pub fn append_entry(
    log: &mut WriteTable<'_, u64, Bytes>,
    committed_at: Timestamp,
    changes: Vec<u8>,
    bytes_max: u64,
) -> StoreResult<()> {
    let header = read_header(log)?.unwrap_or_default();
    let give_up = |log: &mut WriteTable<'_, u64, Bytes>| {
        let state = ChangeLogState::Overflowed;
        write_header(
            log,
            &ChangeLogHeader {
                state,
                ..header.clone()
            },
        )
    };
    let ends = read_last_entry(log).and_then(|last| Ok((read_entry_from(log, 1)?, last)));
    let (first, last) = match ends {
        // The entry can't be uploaded any more.
        Err(error) if error.affects_one_row() => return give_up(log),
        ends => ends?,
    };
    let before = first.map_or(0, |first| {
        let bytes = u64::try_from(first.changes.len()).unwrap_or(u64::MAX);
        first.bytes_so_far.saturating_sub(bytes)
    });
    let so_far = last.as_ref().map_or(0, |last| last.bytes_so_far);
    let number = last.map_or(HEADER, |last| last.number).saturating_add(1);
    let size = u64::try_from(changes.len()).unwrap_or(u64::MAX);
    let entry = ChangeLogEntry {
        number,
        committed_at,
        bytes_so_far: so_far.saturating_add(size),
        changes,
    };
    if entry.bytes_so_far.saturating_sub(before) > bytes_max {
        return give_up(log);
    }
    log.put_bytes(number, &entry.encode())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altered_or_truncated_entry_is_detected() {
        let entry = ChangeLogEntry {
            number: 7,
            committed_at: Timestamp::from_millis(1_795_507_200_000),
            bytes_so_far: 300,
            changes: vec![1, 2, 3],
        };
        let whole = entry.encode();
        assert_eq!(ChangeLogEntry::decode(7, &whole), Ok(entry));
        for length in 0..whole.len() {
            assert!(ChangeLogEntry::decode(7, &whole[..length]).is_err());
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ChangeLogEntry::decode(7, &bytes).is_err(), "bit {bit}");
        }
    }
}
