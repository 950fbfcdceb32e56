//! Content of the objects of a continuous backup.
//!
//! ```text
//! part of a base: "FGB1" [CRC-32 of the rest u32][changes]
//! segment:        "FGL1" ([number u64][length u32][entry with its own CRC-32])…
//! ```
//! Numbers are little-endian. See [`crate::store::ChangeLogEntry`] for the entries.

use serde::{Deserialize, Serialize};

use super::error::BackupError;
use crate::store::{ChangeLogEntry, CopyEnd};

const PART_MAGIC: &[u8; 4] = b"FGB1";
const SEGMENT_MAGIC: &[u8; 4] = b"FGL1";
/// Version of the layout and of the manifest.
pub(super) const FORMAT: u32 = 1;

/// Content of the object that completes a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of the layout.
    pub(super) format: u32,
    /// Version of flowgate that made the base.
    pub(super) flowgate: String,
    /// Number of parts.
    pub(super) parts: u32,
    /// Commit at which the base is consistent. The log must have all commits up to it.
    pub(super) end: CopyEnd,
}

pub(super) fn encode_part(changes: &[u8]) -> Vec<u8> {
    let checksum = crc32fast::hash(changes);
    [PART_MAGIC, &checksum.to_le_bytes(), changes].concat()
}

pub(super) fn decode_part<'b>(name: &str, bytes: &'b [u8]) -> Result<&'b [u8], BackupError> {
    let rest = bytes.strip_prefix(PART_MAGIC);
    let parts = rest.and_then(<[u8]>::split_first_chunk);
    parts
        .filter(|(checksum, changes)| crc32fast::hash(changes) == u32::from_le_bytes(**checksum))
        .map(|(_, changes)| changes)
        .ok_or_else(|| BackupError::DamagedObject(name.to_owned()))
}

pub(super) fn encode_segment(entries: &[ChangeLogEntry]) -> Vec<u8> {
    let mut bytes = SEGMENT_MAGIC.to_vec();
    for entry in entries {
        let encoded = entry.encode();
        bytes.extend_from_slice(&entry.number.to_le_bytes());
        // An entry is not much larger than a batch of the writer.
        let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&encoded);
    }
    bytes
}

pub(super) fn decode_segment(name: &str, bytes: &[u8]) -> Result<Vec<ChangeLogEntry>, BackupError> {
    let damaged = || BackupError::DamagedObject(name.to_owned());
    let mut rest = bytes.strip_prefix(SEGMENT_MAGIC).ok_or_else(damaged)?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, behind) = split_entry(rest).ok_or_else(damaged)?;
        entries.push(entry);
        rest = behind;
    }
    Ok(entries)
}

fn split_entry(bytes: &[u8]) -> Option<(ChangeLogEntry, &[u8])> {
    let (number, bytes) = bytes.split_first_chunk()?;
    let (length, bytes) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (encoded, rest) = bytes.split_at_checked(length)?;
    let entry = ChangeLogEntry::decode(u64::from_le_bytes(*number), encoded).ok()?;
    Some((entry, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn altered_or_truncated_object_is_detected() {
        let entry = |number| ChangeLogEntry {
            number,
            committed_at: Timestamp::from_millis(number),
            bytes_so_far: 2 * number,
            changes: vec![7; 3],
        };
        let entries = [entry(1), entry(2)];
        let segment = encode_segment(&entries);
        assert_eq!(decode_segment("s", &segment).unwrap(), entries);
        let part = encode_part(&[1, 2, 3]);
        assert_eq!(decode_part("p", &part).unwrap(), [1, 2, 3]);
        for at in 0..part.len() {
            let mut altered = part.clone();
            altered[at] ^= 1;
            assert!(decode_part("p", &altered).is_err(), "{at}");
        }
        let whole_entries = [4, 4 + (segment.len() - 4) / 2];
        for at in 0..segment.len() {
            let is_whole = whole_entries.contains(&at);
            assert_eq!(
                decode_segment("s", &segment[..at]).is_ok(),
                is_whole,
                "{at}"
            );
        }
    }
}
