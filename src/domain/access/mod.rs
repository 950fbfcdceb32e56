//! Defines who uses the dashboard and what each role may do.
//!
//! See [`crate::admin`] for the requests that a role allows.

pub mod account;
pub mod audit;
pub mod password;
pub mod secret;
pub mod throttle;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AccountName, AgentName};

named_enum! {
    /// Role of an account.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Role {
        /// May see and change everything.
        Owner = "owner",
        /// Sees only the leads and bookings of one agent, and may close these leads.
        /// Pauses and resumes this agent.
        Agent = "agent",
        /// May see everything, and changes nothing.
        Viewer = "viewer",
    }
}

/// Person or program that sends admin requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Anyone who may use the admin socket or the data file. The file modes decide this.
    Shell,
    /// An account of the dashboard that has signed in.
    Account(AccountPrincipal),
}

/// Account that has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPrincipal {
    /// Name of the account.
    pub name: AccountName,
    /// Role of the account.
    pub role: Role,
    /// Agent whose leads and bookings an account with the role `agent` sees. `None` for the other
    /// roles.
    pub agent: Option<AgentName>,
}
