//! The flow that a command is about: the one that was named, or the only one there is.

use std::sync::Arc;

use crate::config::Config;
use crate::domain::flow::Flow;
use crate::domain::ids::FlowName;

/// Why it is not clear which flow is meant.
#[derive(Debug, thiserror::Error)]
pub enum WhichFlow {
    /// None of this name.
    #[error("there is no flow {name}: the config has {known}")]
    Unknown {
        /// The name.
        name: FlowName,
        /// Those that there are.
        known: String,
    },
    /// Several, and none was named.
    #[error("which flow? --flow takes one of {0}")]
    Several(String),
    /// None at all.
    #[error("the config has no flow: add [flows.NAME]")]
    None,
}

/// The flow of this name, or the only one there is.
///
/// # Errors
/// [`WhichFlow`] where that is none, or several.
pub fn choose(config: &Config, name: Option<&FlowName>) -> Result<Arc<Flow>, WhichFlow> {
    let names = || config.flows.keys().map(FlowName::as_str).collect::<Vec<_>>().join(", ");
    match (name, config.flows.values().next()) {
        (_, None) => Err(WhichFlow::None),
        (Some(name), _) => {
            let unknown = || WhichFlow::Unknown { name: name.clone(), known: names() };
            config.flows.get(name).cloned().ok_or_else(unknown)
        }
        (None, Some(only)) if config.flows.len() == 1 => Ok(Arc::clone(only)),
        (None, Some(_)) => Err(WhichFlow::Several(names())),
    }
}
