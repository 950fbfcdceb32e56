//! Resolves `--flow`: the named flow, or the only flow of the config.

use std::sync::Arc;

use crate::config::Config;
use crate::domain::flow::Flow;
use crate::domain::ids::FlowName;

/// Errors of `--flow`.
#[derive(Debug, thiserror::Error)]
pub enum FlowArgError {
    /// The config has no flow of this name.
    #[error("there is no flow {name}: the config has {known}")]
    Unknown {
        /// Flow name of the command line.
        name: FlowName,
        /// Names of all flows of the config.
        known: String,
    },
    /// The config has several flows and the command names none. The text lists their names.
    #[error("the config has several flows: choose one with --flow: {0}")]
    Ambiguous(String),
    /// The config has no flow.
    #[error("the config has no flow: add [flows.NAME]")]
    NoFlows,
}

/// Returns the flow named `name`. If `name` is `None`, returns the only flow of the config.
///
/// # Errors
/// Returns [`FlowArgError`] if the flow is unknown, or if none is named and the config does not
/// have exactly one.
pub fn resolve_flow(config: &Config, name: Option<&FlowName>) -> Result<Arc<Flow>, FlowArgError> {
    let names = || {
        let names: Vec<&str> = config.flows.keys().map(FlowName::as_str).collect();
        names.join(", ")
    };
    match (name, config.flows.values().next()) {
        (_, None) => Err(FlowArgError::NoFlows),
        (Some(name), _) => {
            let unknown = || FlowArgError::Unknown {
                name: name.clone(),
                known: names(),
            };
            config.flows.get(name).cloned().ok_or_else(unknown)
        }
        (None, Some(only)) if config.flows.len() == 1 => Ok(Arc::clone(only)),
        (None, Some(_)) => Err(FlowArgError::Ambiguous(names())),
    }
}
