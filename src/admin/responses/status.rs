//! Defines the rows of `flowgate status` and `flowgate check`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::backup::BackupStatus;
use crate::store::WriterStats;

/// Status of the server or file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusRow {
    /// Health of the store: `ready`, `low_space`, `no_space`, `failed` or `closed`. `stopped` if no
    /// server runs on the file.
    pub health: String,
    /// Version of the program that reads the data file: the server, or the command itself.
    #[serde(default)]
    pub version: Option<String>,
    /// Format version of the data file.
    #[serde(default)]
    pub data_format: Option<u32>,
    /// Address on which the server accepts submissions. `None` if no server runs on the file.
    pub listen: Option<SocketAddr>,
    pub submissions: u64,
    pub drafts: u64,
    /// Number of jobs by state.
    pub jobs: JobCounts,
    /// Time since the earliest due job became due, in seconds. `None` if no job is due.
    pub oldest_due_seconds: Option<u64>,
    /// Number of open leads.
    pub leads: LeadCounts,
    /// Number of places that active bookings take.
    pub bookings: u64,
    /// Write queue, and statistics of the writer since the start.
    pub writer: WriterStatus,
    /// Disk space of the file, in bytes.
    pub file_bytes: u64,
    /// Free disk space in bytes. `None` if the system does not report it.
    pub free_bytes: Option<u64>,
    /// Number of refused requests since the start of the server, by error code of the response.
    /// Empty if no server runs.
    pub refused: BTreeMap<String, u64>,
    /// Backups. `None` if none are configured, or no server runs on the file.
    #[serde(default)]
    pub backup: Option<BackupStatus>,
    /// Problems, each with a command to type.
    pub warnings: Vec<String>,
}

/// Number of jobs by state.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct JobCounts {
    /// Number of waiting jobs.
    pub scheduled: u64,
    /// Number of jobs in flight.
    pub running: u64,
    /// Number of finished jobs, including discarded and expired ones.
    pub done: u64,
    /// Number of dead letters.
    pub dead: u64,
}

/// Number of open leads.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LeadCounts {
    /// Number of open leads, with or without an agent.
    pub open: u64,
    /// Number of open leads without an agent.
    pub unassigned: u64,
}

/// Writer and its queue.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WriterStatus {
    /// Number of queued submissions.
    pub queued: usize,
    /// Capacity of the queue, in submissions.
    pub capacity: usize,
    /// Statistics of the writer.
    #[serde(flatten)]
    pub stats: WriterStats,
}

/// Row of an integrity check.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum CheckRow {
    /// Violated invariant.
    Violation {
        invariant: String,
        /// Table and key of the rows.
        location: String,
    },
    /// Summary after the violations.
    Summary { rows: u64, violations: u64 },
}
