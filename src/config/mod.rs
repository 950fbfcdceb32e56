//! What the config says, once it has been found to be valid: every setting with its unit.
//!
//! ```text
//! file → raw (values with their places) → settings, flows, calendars (what is allowed) → Config
//! ```
//!
//! A file is valid as a whole or not at all, and all that is wrong with it is said at once, each with file, line and
//! column. Unknown keys are refused: a typo must not turn a limit off in silence. Defaults and ranges stand where a
//! setting is read (`settings`). Nothing here is looked up on the disk but the file itself and, on demand, secrets.

mod secrets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use secrets::{InvalidSecretRef, Secret, SecretError, SecretRef};

use crate::domain::calendar::Calendar;
use crate::domain::flow::Flow;
use crate::domain::ids::{CalendarName, FlowName};
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Millis;

/// A valid config.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Where Meta's requests come in. Default 127.0.0.1:8080: a proxy stands in front.
    pub listen: SocketAddr,
    /// Where operators look. Default 127.0.0.1:8081.
    pub admin_listen: SocketAddr,
    /// The data file. Default `flowgate.redb` beside the config.
    pub data: PathBuf,
    /// What Meta and we share.
    pub meta: Meta,
    /// Bounds on what comes in.
    pub limits: Limits,
    /// The background.
    pub workers: Workers,
    /// How often a failing job is tried.
    pub retry: RetryPolicy,
    /// How long things are kept.
    pub retention: Retention,
    /// The data file's engine.
    pub store: StoreSettings,
    /// The flows.
    pub flows: BTreeMap<FlowName, Arc<Flow>>,
    /// The calendars.
    pub calendars: BTreeMap<CalendarName, Arc<Calendar>>,
}

/// What Meta and we share.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// The app's secrets, newest first. A signature may be made with any.
    pub app_secrets: Vec<SecretRef>,
    /// What `GET /webhook` must bring.
    pub verify_token: Option<SecretRef>,
}

/// Bounds on what comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one webhook.
    pub body: u64,
    /// Bytes of one request to a flow.
    pub flow_body: u64,
    /// Bytes of all bodies being read together.
    pub bodies: u64,
    /// For the head of a request, from its first byte.
    pub header_timeout: Millis,
    /// For a whole request, from its head to its answer.
    pub request: Millis,
    /// How long a connection may stay open between requests.
    pub idle: Millis,
    /// Connections at once.
    pub connections: usize,
    /// Submissions waiting for the writer.
    pub intake: usize,
    /// Changes in one commit.
    pub batch: usize,
    /// Bytes free on the disk below which no new submission is taken. 0: never mind.
    pub free_space: u64,
    /// Idempotency keys in memory; older ones stay on disk.
    pub idempotency_keys: usize,
}

/// The background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Threads that run jobs.
    pub threads: usize,
    /// Jobs handed out at once.
    pub queue: usize,
}

/// How long things are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A form's key, from the first acceptance.
    pub idempotency: Millis,
    /// A webhook message's key. Meta sends again for seven days.
    pub message_ids: Millis,
    /// Submissions that are done, with their leads and bookings; and drafts.
    pub submissions: Millis,
    /// Attempts of jobs.
    pub attempts: Millis,
}

/// The data file's engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Bytes of memory for pages of the file.
    pub cache: u64,
    /// When the whole file is verified.
    pub verify: Verify,
}

/// When the whole file is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// At every start: about a second for each GB.
    #[default]
    Always,
    /// Only at a start after an unclean end.
    AfterCrash,
}
