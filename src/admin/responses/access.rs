//! Defines the rows of accounts, invites and the audit log.

use serde::{Deserialize, Serialize};

use crate::domain::access::Role;
use crate::domain::access::account::Account;
use crate::domain::access::audit::{AuditEntry, AuditOutcome};
use crate::domain::access::secret::AccessSecret;
use crate::domain::ids::{AccountName, AgentName};
use crate::domain::time::Timestamp;

/// Response row of an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    pub(crate) name: AccountName,
    pub(crate) role: Role,
    pub(crate) agent: Option<AgentName>,
    /// State: `active`, `invited`, or `expired` if the link of the invite has ended.
    pub(crate) state: String,
    /// Time when the link of the invite ends.
    pub(crate) invite_expires_at: Option<Timestamp>,
    /// Number of browsers that have signed in.
    pub(crate) sign_ins: u64,
    /// Time of the last request, exact to a minute.
    pub(crate) last_seen_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

impl AccountRow {
    /// Creates the row of an account with the times of the last requests of its sign-ins.
    pub(crate) fn new(account: &Account, seen: &[Timestamp], now: Timestamp) -> Self {
        let state = match &account.invite {
            _ if account.password_hash.is_some() => "active",
            Some(invite) if invite.is_valid(now) => "invited",
            _ => "expired",
        };
        Self {
            name: account.name.clone(),
            role: account.role,
            agent: account.agent.clone(),
            state: state.to_owned(),
            invite_expires_at: account.invite.as_ref().map(|invite| invite.expires_at),
            sign_ins: u64::try_from(seen.len()).unwrap_or(u64::MAX),
            last_seen_at: seen.iter().max().copied(),
            created_at: account.created_at,
        }
    }
}

/// Result of an invite or a reset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InviteRow {
    pub(crate) name: AccountName,
    pub(crate) role: Role,
    pub(crate) agent: Option<AgentName>,
    /// Path of the one-time link under the URL of the dashboard. The path contains the secret and
    /// is shown only once.
    pub(crate) path: String,
    pub(crate) expires_at: Option<Timestamp>,
}

impl InviteRow {
    pub(crate) fn new(account: &Account, secret: &AccessSecret) -> Self {
        Self {
            name: account.name.clone(),
            role: account.role,
            agent: account.agent.clone(),
            path: format!("/invite/{}", secret.to_text()),
            expires_at: account.invite.as_ref().map(|invite| invite.expires_at),
        }
    }
}

/// Result of a sign-out by an operator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SignOutRow {
    pub(crate) ended_sign_ins: u64,
}

/// Response row of an entry of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AuditRow {
    pub(crate) id: u64,
    pub(crate) at: Timestamp,
    /// Account of the action, or `shell`.
    pub(crate) by: String,
    pub(crate) request: String,
    pub(crate) object: String,
    pub(crate) outcome: AuditOutcome,
}

impl AuditRow {
    pub(crate) fn new(id: u64, entry: AuditEntry) -> Self {
        let account = entry.account.as_ref().map(AccountName::as_str);
        Self {
            id,
            at: entry.at,
            by: account.unwrap_or(SHELL).to_owned(),
            request: entry.request,
            object: entry.object,
            outcome: entry.outcome,
        }
    }
}

/// Name of the shell in the audit log. No account may have it.
pub(crate) const SHELL: &str = "shell";
