//! Rows to bytes and back: a version, the fields, a checksum.
//!
//! ```text
//! [version: 1 byte][fields: postcard][CRC-32 of all before it: 4 bytes, little-endian]
//! ```
//! redb checks no page on ordinary reads; the checksum in each row is what finds damage that comes while the program
//! runs. Decoding returns errors and never panics. A row type whose fields change gets the next version, and the old
//! one a reader here; the tests below hold the bytes of a row, so that a change of the encoding does not go unseen.

use serde::{Serialize, de::DeserializeOwned};

use crate::domain::booking::Booking;
use crate::domain::complaint::Complaint;
use crate::domain::delivery::{Delivery, Event, Exchange, Standstill};
use crate::domain::gateway;
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::Customer;
use crate::domain::job::{Attempt, DeadLetter, Job};
use crate::domain::lead::{Agent, Lead};
use crate::domain::receipt::Receipt;
use crate::domain::traffic::Traffic;

use super::accept::StoredSubmission;
use super::answers::KeptAnswer;
use super::counters::Counters;
use super::joins::Join;
use super::keys::KeyRow;
use super::{RowProblem, StoreError};

const CHECKSUM_BYTES: usize = 4;

/// A type that is stored as a row.
pub trait Row: Serialize + DeserializeOwned {
    /// The table it lives in, for errors.
    const TABLE: &'static str;
    /// The version of its fields that is written today.
    const VERSION: u8 = 1;
}

impl Row for StoredSubmission {
    const TABLE: &'static str = "submissions";
}
impl Row for Join {
    const TABLE: &'static str = "joins";
}
impl Row for KeyRow {
    const TABLE: &'static str = "token_log or message_log";
}
impl Row for KeptAnswer {
    const TABLE: &'static str = "answers";
}
impl Row for Job {
    const TABLE: &'static str = "jobs";
}
impl Row for Attempt {
    const TABLE: &'static str = "attempts";
}
impl Row for DeadLetter {
    const TABLE: &'static str = "dead";
}
impl Row for Event {
    const TABLE: &'static str = "events";
}
impl Row for Delivery {
    const TABLE: &'static str = "deliveries";
}
impl Row for Exchange {
    const TABLE: &'static str = "exchanges";
}
impl Row for Standstill {
    const TABLE: &'static str = "standstills";
}
impl Row for Receipt {
    const TABLE: &'static str = "receipts";
}
impl Row for gateway::Standing {
    const TABLE: &'static str = "gateways";
}
impl Row for gateway::Entry {
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
impl Row for Complaint {
    const TABLE: &'static str = "complaints";
}
impl Row for HealthEvent {
    const TABLE: &'static str = "health_events";
}
impl Row for Traffic {
    const TABLE: &'static str = "numbers";
}
impl Row for Counters {
    const TABLE: &'static str = "meta";
}

/// The bytes of `row`.
///
/// # Errors
/// [`StoreError::Row`] where the row can't be put into bytes, which none of the types here can cause.
pub(super) fn encode<R: Row>(row: &R) -> Result<Vec<u8>, StoreError> {
    let start = vec![R::VERSION];
    let mut bytes = postcard::to_extend(row, start).map_err(|_| StoreError::row::<R>("?", RowProblem::Fields))?;
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The row that `bytes` hold; `key` names it in errors.
///
/// # Errors
/// [`StoreError::Row`] for a row that is cut, altered, or of a version this program does not know.
pub(super) fn decode<R: Row>(key: impl std::fmt::Debug, bytes: &[u8]) -> Result<R, StoreError> {
    let problem = |problem| StoreError::row::<R>(&format!("{key:?}"), problem);
    let (body, checksum) = bytes
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .and_then(|at| bytes.split_at_checked(at))
        .ok_or_else(|| problem(RowProblem::Cut))?;
    if crc32fast::hash(body).to_le_bytes() != *checksum {
        return Err(problem(RowProblem::Checksum));
    }
    match body.split_first() {
        Some((&version, fields)) if version == R::VERSION => {
            postcard::from_bytes(fields).map_err(|_| problem(RowProblem::Fields))
        }
        Some((&version, _)) => Err(problem(RowProblem::Version(version))),
        None => Err(problem(RowProblem::Cut)),
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
            submission: Some(SubmissionId::new(300)),
            created_at: Timestamp::from_millis(1_795_507_200_000),
            due_at: Timestamp::from_millis(1_795_507_200_001),
            attempts: 2,
            attempts_since_revival: 1,
            crashes: 0,
            last_error: Some("é".to_owned()),
            success: Some(Attempt { number: 2, started_at: Timestamp::ZERO, took: Millis::new(7), error: None }),
            lead: None,
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let whole = encode(&job()).unwrap();
        assert_eq!(decode::<Job>(1, &whole).unwrap(), job());
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Job>(1, &bytes).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(decode::<Job>(1, &whole[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_row_of_a_later_version_says_so() {
        let mut bytes = encode(&job()).unwrap();
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        bytes[0] = 9;
        let checksum = crc32fast::hash(&bytes).to_le_bytes();
        bytes.extend(checksum);
        let error = decode::<Job>(7, &bytes).unwrap_err().to_string();
        assert!(error.starts_with("row 7 of table jobs has the unknown version 9"), "{error}");
    }
}
