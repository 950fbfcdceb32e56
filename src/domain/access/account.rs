//! Accounts of the dashboard, their invites and their sign-ins.

use serde::{Deserialize, Serialize};

use super::secret::AccessSecret;
use super::{AccountPrincipal, Role};
use crate::domain::ids::{AccountName, AgentName};
use crate::domain::time::{Millis, Timestamp};

/// Interval at which the last request of a sign-in is stored. A shorter one would write at each
/// request.
const SEEN_INTERVAL: Millis = Millis::from_secs(60);

/// Account as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Name of the account.
    pub name: AccountName,
    /// Role of the account.
    pub role: Role,
    /// Agent whose rows an account with the role `agent` sees.
    pub agent: Option<AgentName>,
    /// Hash of the password as PHC text (argon2id). `None`: the invite has not been used.
    pub password_hash: Option<String>,
    /// Invite that has not been used.
    pub invite: Option<Invite>,
    /// Time when the account was made.
    pub created_at: Timestamp,
}

/// Invite: a one-time link to set the password of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Hash of the secret in the link.
    pub secret_hash: [u8; 32],
    /// Time when the link ends.
    pub expires_at: Timestamp,
}

impl Invite {
    /// Returns `true` if the link can be used.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// Returns `true` if the link has this secret and can be used.
    #[must_use]
    pub fn opens_with(&self, secret: &AccessSecret, now: Timestamp) -> bool {
        self.is_valid(now) && secret.has_hash(&self.secret_hash)
    }
}

/// Reason why a role and an agent do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRole {
    /// An account with the role `agent` has no agent.
    #[error("the role agent needs the agent whose leads the account sees: add --agent AGENT")]
    AgentRequired,
    /// Another role has an agent.
    #[error("only the role agent has an agent: remove --agent, or use --role agent")]
    AgentUnexpected,
}

/// Checks that exactly the role `agent` has an agent.
///
/// # Errors
/// [`InvalidRole`] if the role and the agent do not fit.
pub fn check_role(role: Role, agent: Option<&AgentName>) -> Result<(), InvalidRole> {
    match (role, agent) {
        (Role::Agent, None) => Err(InvalidRole::AgentRequired),
        (Role::Owner | Role::Viewer, Some(_)) => Err(InvalidRole::AgentUnexpected),
        (Role::Agent, Some(_)) | (Role::Owner | Role::Viewer, None) => Ok(()),
    }
}

impl Account {
    /// Returns the principal of a browser that has signed in to this account.
    #[must_use]
    pub fn principal(&self) -> AccountPrincipal {
        AccountPrincipal {
            name: self.name.clone(),
            role: self.role,
            agent: self.agent.clone(),
        }
    }

    /// Returns `true` if the account is an owner who can sign in.
    #[must_use]
    pub fn is_usable_owner(&self) -> bool {
        self.role == Role::Owner && self.password_hash.is_some()
    }
}

/// Browser that has signed in, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// Account of the sign-in.
    pub account: AccountName,
    /// Hash of the secret in the cookie.
    pub secret_hash: [u8; 32],
    /// Time of the sign-in.
    pub created_at: Timestamp,
    /// Time of the last request, exact to a minute.
    pub last_seen_at: Timestamp,
    /// Name of the browser, as the browser sends it, at most 200 characters.
    pub browser: String,
}

/// Times after which a sign-in ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignInLimits {
    /// Time after the sign-in.
    pub ttl: Millis,
    /// Time after the last request.
    pub idle_timeout: Millis,
}

impl SignIn {
    /// Returns `true` if requests with the cookie are accepted.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp, limits: SignInLimits) -> bool {
        now < self.created_at.plus(limits.ttl) && now < self.last_seen_at.plus(limits.idle_timeout)
    }

    /// Returns `true` if the time of the last request must be stored anew.
    #[must_use]
    pub fn is_refresh_due(&self, now: Timestamp, limits: SignInLimits) -> bool {
        // With a short idle timeout, a minute could be the whole timeout.
        let quarter = Millis::new(limits.idle_timeout.get() / 4);
        now.since(self.last_seen_at) >= SEEN_INTERVAL.min(quarter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SignInLimits = SignInLimits {
        ttl: Millis::from_secs(10_000),
        idle_timeout: Millis::from_secs(1000),
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn sign_in_ends_by_age_and_by_idle_time() {
        let mut sign_in = SignIn {
            account: AccountName::new("ann").unwrap(),
            secret_hash: [0; 32],
            created_at: at(0),
            last_seen_at: at(0),
            browser: String::new(),
        };
        assert!(sign_in.is_valid(at(999), LIMITS));
        assert!(!sign_in.is_valid(at(1000), LIMITS), "idle");
        sign_in.last_seen_at = at(9900);
        assert!(sign_in.is_valid(at(9999), LIMITS));
        assert!(!sign_in.is_valid(at(10_000), LIMITS), "too old");
        assert!(!sign_in.is_refresh_due(at(9959), LIMITS));
        assert!(sign_in.is_refresh_due(at(9960), LIMITS));
        let short = SignInLimits {
            idle_timeout: Millis::from_secs(8),
            ..LIMITS
        };
        assert!(sign_in.is_refresh_due(at(9902), short));
    }

    #[test]
    fn invite_ends_at_its_time() {
        let invite = Invite {
            secret_hash: [0; 32],
            expires_at: at(5),
        };
        assert!(invite.is_valid(at(4)) && !invite.is_valid(at(5)));
    }

    #[test]
    fn only_the_role_agent_has_an_agent() {
        let zoe = AgentName::new("Zoe").unwrap();
        for (role, agent, is_valid) in [
            (Role::Owner, None, true),
            (Role::Viewer, None, true),
            (Role::Agent, Some(&zoe), true),
            (Role::Agent, None, false),
            (Role::Owner, Some(&zoe), false),
            (Role::Viewer, Some(&zoe), false),
        ] {
            assert_eq!(check_role(role, agent).is_ok(), is_valid, "{role:?}");
        }
    }
}
