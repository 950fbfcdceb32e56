//! Encodes and decodes rows: a version, the fields, a checksum.
//!
//! ```text
//! [version: 1 byte][fields: postcard][CRC-32 of all before it: 4 bytes, little-endian]
//! ```
//! redb checks no page on ordinary reads. The checksum in each row detects damage that occurs while
//! the program runs. Decoding returns errors and never panics.
//!
//! A change of the fields of a row type needs a new version number, and a decoder of the old
//! version in this file.

use serde::{Serialize, de::DeserializeOwned};

use crate::domain::booking::Booking;
use crate::domain::delivery::receipt::Receipt;
use crate::domain::delivery::{Delivery, Event, ResponseRecord, Suspension};
use crate::domain::gateway;
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::health::number_traffic::NumberTraffic;
use crate::domain::ids::Customer;
use crate::domain::job::{Attempt, DeadLetter, Job};
use crate::domain::lead::{Agent, Lead};
use crate::domain::submission::flow_error::FlowError;

use crate::store::tx::accept::StoredSubmission;
use crate::store::tx::late_arrivals::LateArrival;
use crate::store::tx::response_cache::CachedResponse;
use crate::store::writer::counters::Counters;
use crate::store::writer::dedup::KeyLogRow;
use crate::store::{RowProblem, StoreError};

const CHECKSUM_BYTES: usize = 4;

/// A type that is stored as a row.
pub trait Row: Serialize + DeserializeOwned {
    /// Name of the row's table, for error messages.
    const TABLE: &'static str;
    /// Version of the fields that this program writes.
    const VERSION: u8 = 1;
}

impl Row for StoredSubmission {
    const TABLE: &'static str = "submissions";
}
impl Row for LateArrival {
    const TABLE: &'static str = "late_arrivals";
}
impl Row for KeyLogRow {
    const TABLE: &'static str = "token_log or message_log";
}
impl Row for CachedResponse {
    const TABLE: &'static str = "cached_responses";
}
impl Row for Job {
    const TABLE: &'static str = "jobs";
}
impl Row for Attempt {
    const TABLE: &'static str = "attempts";
}
impl Row for DeadLetter {
    const TABLE: &'static str = "dead_letters";
}
impl Row for Event {
    const TABLE: &'static str = "events";
}
impl Row for Delivery {
    const TABLE: &'static str = "deliveries";
}
impl Row for ResponseRecord {
    const TABLE: &'static str = "delivery_responses";
}
impl Row for Suspension {
    const TABLE: &'static str = "suspensions";
}
impl Row for Receipt {
    const TABLE: &'static str = "receipts";
}
impl Row for gateway::SessionState {
    const TABLE: &'static str = "gateway_sessions";
}
impl Row for gateway::HistoryEntry {
    const TABLE: &'static str = "gateway_history";
}
impl Row for Agent {
    const TABLE: &'static str = "agents";
}
impl Row for Lead {
    const TABLE: &'static str = "leads";
}
impl Row for Booking {
    const TABLE: &'static str = "bookings";
}
impl Row for Customer {
    const TABLE: &'static str = "renamed_customers";
}
impl Row for FlowError {
    const TABLE: &'static str = "flow_errors";
}
impl Row for HealthEvent {
    const TABLE: &'static str = "health_events";
}
impl Row for NumberTraffic {
    const TABLE: &'static str = "phone_numbers";
}
impl Row for Counters {
    const TABLE: &'static str = "meta";
}

/// Encodes a row.
///
/// # Errors
/// [`StoreError::Row`] if the row can't be encoded. None of the types here can cause this error.
pub(in crate::store) fn encode<R: Row>(row: &R) -> Result<Vec<u8>, StoreError> {
    let start = vec![R::VERSION];
    let mut bytes = postcard::to_extend(row, start)
        .map_err(|_| StoreError::row::<R>("?", RowProblem::InvalidFields))?;
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Decodes a row. Errors name the row by the given key.
///
/// # Errors
/// [`StoreError::Row`] for a row that is truncated, altered, or of an unknown version.
pub(in crate::store) fn decode<R: Row>(
    key: impl std::fmt::Debug,
    bytes: &[u8],
) -> Result<R, StoreError> {
    let problem = |problem| StoreError::row::<R>(&format!("{key:?}"), problem);
    let (body, checksum) = bytes
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .and_then(|at| bytes.split_at_checked(at))
        .ok_or_else(|| problem(RowProblem::Truncated))?;
    if crc32fast::hash(body).to_le_bytes() != *checksum {
        return Err(problem(RowProblem::Checksum));
    }
    match body.split_first() {
        Some((&version, fields)) if version == R::VERSION => {
            postcard::from_bytes(fields).map_err(|_| problem(RowProblem::InvalidFields))
        }
        Some((&version, _)) => Err(problem(RowProblem::UnknownVersion(version))),
        None => Err(problem(RowProblem::Truncated)),
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
        assert_eq!(decode::<Job>(1, &whole).unwrap(), job());
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Job>(1, &bytes).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(
                decode::<Job>(1, &whole[..length]).is_err(),
                "cut to {length}"
            );
        }
    }

    #[test]
    fn unknown_row_version_is_reported() {
        let mut bytes = encode(&job()).unwrap();
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        bytes[0] = 9;
        let checksum = crc32fast::hash(&bytes).to_le_bytes();
        bytes.extend(checksum);
        let error = decode::<Job>(7, &bytes).unwrap_err().to_string();
        assert!(
            error.starts_with("row 7 of table jobs has the unknown version 9"),
            "{error}"
        );
    }
}
