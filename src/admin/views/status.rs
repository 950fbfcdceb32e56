//! How things stand, for `flowgate status`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::store::WriterFigures;

/// How things stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// `ready`, `low_space`, `no_space`, `opening`, `failed`, `closed`; `stopped`: no server runs on the file.
    pub health: String,
    /// Where it takes submissions; null: no server runs on the file.
    pub listen: Option<SocketAddr>,
    /// Submissions kept.
    pub submissions: u64,
    /// Forms in the making.
    pub drafts: u64,
    /// Jobs by state.
    pub jobs: JobCounts,
    /// How long the job that is due longest has been due, in seconds; null: none is.
    pub oldest_due_seconds: Option<u64>,
    /// Leads.
    pub leads: LeadCounts,
    /// Places taken by bookings that stand.
    pub bookings: u64,
    /// What the writer has done since the start.
    pub writer: WriterView,
    /// Bytes that the file takes on disk.
    pub file_bytes: u64,
    /// Bytes free on that disk; null where the system can't tell.
    pub free_bytes: Option<u64>,
    /// Requests that the server has refused since its start, by the code that they were answered with; empty where none runs.
    pub refused: BTreeMap<String, u64>,
    /// What is wrong, and what to type: one text each.
    pub hints: Vec<String>,
}

/// Jobs by state.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct JobCounts {
    /// Waiting.
    pub scheduled: u64,
    /// Handed to a worker.
    pub running: u64,
    /// Over, discarded ones included.
    pub done: u64,
    /// Dead letters.
    pub dead: u64,
}

/// Leads by what they wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LeadCounts {
    /// Open, with or without an agent.
    pub open: u64,
    /// Open, without an agent.
    pub unassigned: u64,
}

/// The writer and its queue.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WriterView {
    /// Submissions waiting for it.
    pub waiting: usize,
    /// How many may wait.
    pub room: usize,
    /// Its figures.
    #[serde(flatten)]
    pub figures: WriterFigures,
}
