//! Defines the fields of the requests about accounts and the audit log.

use serde::{Deserialize, Serialize};

use super::filters::default_rows;
use crate::domain::access::Role;
use crate::domain::ids::{AccountName, AgentName};
use crate::domain::time::Timestamp;

/// Account to invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountInvite {
    /// Name of the account.
    pub name: AccountName,
    /// Role of the account.
    pub role: Role,
    /// Agent of an account with the role `agent`.
    pub agent: Option<AgentName>,
    /// Time after which the link ends, in milliseconds. `None`: 3 days.
    pub expires_in: Option<u64>,
}

/// Filter of the audit log. An entry must match all fields that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditFilter {
    /// Account of the entries, or `shell`. `None`: all.
    pub by: Option<String>,
    /// Time of the oldest entry, in UTC.
    pub since: Option<Timestamp>,
    /// Time of the newest entry, in UTC.
    pub until: Option<Timestamp>,
    /// Only entries before this number, for the next page.
    pub before: Option<u64>,
    /// Maximum number of rows. 0: no limit.
    #[serde(default = "default_rows")]
    pub limit: usize,
}
