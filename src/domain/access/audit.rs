//! Entries of the audit log: who did what to which object, and how it ended.
//!
//! An entry contains no personal data of customers. So the log may outlive a forgotten customer.

use serde::{Deserialize, Serialize};

use crate::domain::ids::AccountName;
use crate::domain::time::Timestamp;

named_enum! {
    /// Outcome of an audited action.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum AuditOutcome {
        /// The action has begun. The entry stays like this if the process ends meanwhile.
        Started = "started",
        /// The action is done.
        Done = "done",
        /// The action failed.
        Failed = "failed",
        /// The role of the account does not allow the action.
        Forbidden = "forbidden",
    }
}

/// Entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Time when the action began.
    pub at: Timestamp,
    /// Account of the action. `None`: the shell.
    pub account: Option<AccountName>,
    /// Name of the request.
    pub request: String,
    /// Object of the request, without personal data. Empty if there is none.
    pub object: String,
    /// Outcome of the action.
    pub outcome: AuditOutcome,
}
