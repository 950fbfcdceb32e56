//! Defines the lead that a form creates, and finds the agent that its answers name.

use serde_json::{Map, Value};

use super::value::scalar_text;
use crate::domain::ids::{AgentName, TeamName};

/// Settings for the lead that a form creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeadSettings {
    /// Team of the lead.
    pub team: TeamName,
    /// `true` if a known customer returns to the same agent. Encrypted requests do not identify the
    /// customer. The message that follows by webhook does.
    pub is_sticky: bool,
    /// Field with the name of the agent whom the customer chose or who was shown last.
    pub agent_field: Option<String>,
}

impl LeadSettings {
    /// Returns the agent that the answers name. Returns `None` if the answers contain no valid
    /// agent name.
    #[must_use]
    pub fn chosen_agent(&self, answers: &Map<String, Value>) -> Option<AgentName> {
        let name = answers.get(self.agent_field.as_ref()?)?;
        AgentName::new(&scalar_text(name)?).ok()
    }
}
