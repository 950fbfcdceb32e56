//! Checks a Flow JSON (the export of Meta's Flow Builder) against the flow of the config that will
//! serve it.
//!
//! Meta's own validation checks the Flow JSON alone. On a phone, the customer sees only a generic
//! error, and flowgate gets only an error notification. This check therefore reports in advance
//! what a phone would refuse, and which data would never reach flowgate. Errors that Meta itself
//! refuses at upload are left to Meta, except errors in routes, which flowgate must follow.
//!
//! The check is pure: it gets a text and a flow, and returns findings. The rules come from *Flow
//! JSON* (Meta's reference), from its published validator and from the web client. A comment at
//! each rule names the source as far as it is known.

mod data;
mod document;
mod findings;
mod on_select_lint;
mod reserved_names_lint;
mod routes;
mod screens;
mod token_lint;
mod versions;

use serde_json::Value;

use crate::domain::flow::Flow;
use findings::Findings;
pub use findings::{LintFinding, LintSeverity};

/// Reason why a text is not a Flow JSON.
#[derive(Debug, thiserror::Error)]
pub enum FlowJsonError {
    /// The text is not JSON.
    #[error("it is not valid JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// The text is JSON, but not an object.
    #[error("it is JSON, but not an object")]
    NotAnObject,
}

/// Returns the findings about a Flow JSON for `flow`, in the order of the Flow JSON. Without
/// findings, the result is empty.
///
/// # Errors
/// [`FlowJsonError`] if the text is not a JSON object.
pub fn check(text: &str, flow: &Flow) -> Result<Vec<LintFinding>, FlowJsonError> {
    let parsed: Value = serde_json::from_str(text)?;
    let root = parsed.as_object().ok_or(FlowJsonError::NotAnObject)?;
    let mut findings = Findings::default();
    versions::check(root, flow, &mut findings);
    let screens = document::parse_screens(root, &mut findings);
    if !screens.is_empty() {
        routes::check(root, &screens, flow, &mut findings);
        screens::check(&screens, flow, &mut findings);
        reserved_names_lint::check(&screens, flow, &mut findings);
        data::check(&screens, flow, &mut findings);
        token_lint::check(&screens, flow, &mut findings);
    }
    Ok(findings.0)
}

#[cfg(test)]
mod tests;
