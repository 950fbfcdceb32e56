//! Encodes and decodes rows: a version, the fields, a checksum.
//!
//! ```text
//! [version: 1 byte][fields: postcard][CRC-32 of all before it: 4 bytes, little-endian]
//! ```
//! The engine checks no page on ordinary reads. The checksum in each row detects damage that occurs
//! while the program runs. Decoding returns errors and never panics.
//!
//! A change of the fields of a row type needs a new version number, and a decoder of the old
//! version in this file.

use serde::{Serialize, de::DeserializeOwned};

use crate::domain::access::account::{Account, SignIn};
use crate::domain::access::audit::AuditEntry;
use crate::domain::booking::Booking;
use crate::domain::calendar_feed::Feed;
use crate::domain::delivery::receipt::Receipt;
use crate::domain::delivery::{Delivery, Event, ResponseRecord, Suspension};
use crate::domain::gateway::{HistoryEntry, SessionState};
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::health::number_traffic::NumberTraffic;
use crate::domain::ids::Customer;
use crate::domain::job::{Attempt, DeadLetter, Job};
use crate::domain::lead::{Agent, Lead};
use crate::domain::submission::flow_error::FlowError;

use super::counters::Counters;
use super::drafts::StoredDraft;
use super::forgets::PendingForget;
use super::keys::{EvictedKey, KeyLogRow};
use super::responses::{CachedResponse, Completion};
use super::submissions::{LateArrival, StoredSubmission};
use crate::store::RowProblem;
use crate::store::engine::TableValue;

const CHECKSUM_BYTES: usize = 4;

/// A type that is stored as a row.
pub trait Row: Serialize + DeserializeOwned {
    /// Version of the fields that this program writes.
    const VERSION: u8 = 1;
}

macro_rules! rows {
    ($($row:ty,)*) => {$(impl Row for $row {})*};
}

rows! {
    Account, Agent, Attempt, AuditEntry, Booking, CachedResponse, Completion, Counters, Customer,
    DeadLetter, Delivery,
    Event, EvictedKey, Feed, FlowError, HealthEvent, HistoryEntry, Job, KeyLogRow, LateArrival,
    Lead, NumberTraffic, PendingForget, Receipt, ResponseRecord, SessionState, SignIn, StoredDraft,
    StoredSubmission, Suspension,
}

impl<R: Row> TableValue for R {
    fn with_bytes<T>(&self, write: impl FnOnce(&[u8]) -> T) -> Result<T, RowProblem> {
        encode(self).map(|bytes| write(&bytes))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, RowProblem> {
        decode(bytes)
    }
}

/// Encodes a row.
///
/// # Errors
/// [`RowProblem::InvalidFields`] if the row can't be encoded. None of the types here can cause this
/// error.
pub fn encode<R: Row>(row: &R) -> Result<Vec<u8>, RowProblem> {
    let start = vec![R::VERSION];
    let mut bytes = postcard::to_extend(row, start).map_err(|_| RowProblem::InvalidFields)?;
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Decodes a row.
///
/// # Errors
/// [`RowProblem`] for a row that is truncated, altered, or of an unknown version.
pub fn decode<R: Row>(bytes: &[u8]) -> Result<R, RowProblem> {
    let (body, checksum) = bytes
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .and_then(|at| bytes.split_at_checked(at))
        .ok_or(RowProblem::Truncated)?;
    if crc32fast::hash(body).to_le_bytes() != *checksum {
        return Err(RowProblem::Checksum);
    }
    match body.split_first() {
        Some((&version, fields)) if version == R::VERSION => {
            postcard::from_bytes(fields).map_err(|_| RowProblem::InvalidFields)
        }
        Some((&version, _)) => Err(RowProblem::UnknownVersion(version)),
        None => Err(RowProblem::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SubmissionId;
    use crate::domain::job::{JobKind, JobState};
    use crate::domain::time::{Millis, Timestamp};

    fn job() -> Job {
        Job {
            kind: JobKind::Message,
            state: JobState::Done,
            submission_id: Some(SubmissionId::new(300)),
            created_at: Timestamp::from_millis(1_795_507_200_000),
            due_at: Timestamp::from_millis(1_795_507_200_001),
            attempts: 2,
            attempts_since_manual_retry: 1,
            crashes: 0,
            last_error: Some("é".to_owned()),
            success: Some(Attempt {
                number: 2,
                started_at: Timestamp::ZERO,
                duration: Millis::new(7),
                error: None,
            }),
            lead_id: None,
        }
    }

    #[test]
    fn flipped_bit_or_truncation_is_detected() {
        let whole = encode(&job()).unwrap();
        assert_eq!(decode::<Job>(&whole).unwrap(), job());
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Job>(&bytes).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(decode::<Job>(&whole[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn unknown_row_version_is_reported() {
        let mut bytes = encode(&job()).unwrap();
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        bytes[0] = 9;
        let checksum = crc32fast::hash(&bytes).to_le_bytes();
        bytes.extend(checksum);
        assert_eq!(
            decode::<Job>(&bytes).unwrap_err(),
            RowProblem::UnknownVersion(9)
        );
    }
}
