//! Defines the settings of agents, and the agents and forms of requests that import them.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AgentName, Customer, FlowName, TeamName};

/// Weight and limits of an agent. `None` leaves a setting unchanged; for a new agent it means the
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// Weight, from 1 to 1000. Default for a new agent: 1.
    pub weight: Option<u32>,
    /// Maximum number of open leads. 0: no limit, the default for a new agent.
    pub max_leads: Option<u32>,
    /// Maximum number of leads per day, in the time zone of the business. 0: no limit, the default
    /// for a new agent.
    pub max_leads_per_day: Option<u32>,
}

/// Agent in a file to import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedAgent {
    /// Line number in the file.
    pub line: u64,
    pub name: AgentName,
    pub team: TeamName,
    pub settings: AgentSettings,
}

/// Forms in a file to import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormImport {
    pub flow: FlowName,
    /// `true` if each form must book a slot.
    pub books: bool,
    pub rows: Vec<ImportedForm>,
    /// `true` if the request only checks the forms.
    pub dry_run: bool,
}

/// Form in a file to import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedForm {
    /// Line number in the file.
    pub line: u64,
    /// Customer. May be unknown.
    pub customer: Customer,
    /// Flow token that identifies the row when the file is imported again.
    pub token: String,
    /// Answers as the text of a JSON object.
    pub data: String,
}
