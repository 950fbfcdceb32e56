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
mod on_select_lint;
mod reserved_names_lint;
mod routes;
mod screens;
mod token_lint;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::flow::{EncryptionMode, Flow};
use document::FlowJsonScreen;

/// Error or warning about the Flow JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// Severity of the finding.
    pub severity: LintSeverity,
    /// Location in the Flow JSON, such as `screens[2].DATE.data.slots`.
    pub location: String,
    /// Problem and suggestion, as a sentence that continues after the location.
    pub message: String,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LintSeverity {
    /// Forms will fail.
    Error,
    /// Forms work, but perhaps not as expected.
    Warning,
}

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
    check_versions(root, flow, &mut findings);
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

/// Findings of the checks so far.
#[derive(Default)]
struct Findings(Vec<LintFinding>);

impl Findings {
    fn add_error(&mut self, location: impl Into<String>, message: impl Into<String>) {
        self.0.push(LintFinding {
            severity: LintSeverity::Error,
            location: location.into(),
            message: message.into(),
        });
    }

    fn add_warning(&mut self, location: impl Into<String>, message: impl Into<String>) {
        self.0.push(LintFinding {
            severity: LintSeverity::Warning,
            location: location.into(),
            message: message.into(),
        });
    }
}

/// Returns `true` if phones send requests to an endpoint. Meta's validator detects this by
/// `data_api_version`.
fn has_endpoint(root: &Map<String, Value>, flow: &Flow) -> bool {
    flow.encryption == EncryptionMode::Required || root.contains_key("data_api_version")
}

/// Returns the screen with this ID.
fn find_screen<'s, 'a>(
    screens: &'s [FlowJsonScreen<'a>],
    id: &str,
) -> Option<&'s FlowJsonScreen<'a>> {
    screens.iter().find(|screen| screen.id == id)
}

/// Checks `version`, `data_api_version` and the location of the endpoint (*Flow JSON*, top-level
/// properties).
fn check_versions(root: &Map<String, Value>, flow: &Flow, report: &mut Findings) {
    let text = |name: &str| root.get(name).and_then(Value::as_str);
    let version = text("version").and_then(parse_version);
    if version.is_none() {
        report.add_error(
            "version",
            "is missing or not a version like \"7.1\": Meta requires it",
        );
    }
    let version_key = "data_api_version";
    match (flow.encryption, root.get(version_key)) {
        (EncryptionMode::Required, None) => report.add_error(
            version_key,
            "is missing, but the flow is encrypted and its screens must send requests: add \"data_api_version\": \"3.0\"",
        ),
        (EncryptionMode::None, Some(_)) => report.add_error(
            version_key,
            format!(
                "is set, so phones send encrypted requests to an endpoint, but flow {} expects plain JSON: set `encryption = \
                 \"required\"` in the config (`flowgate keys new` generates the key)",
                flow.name
            ),
        ),
        _ => {}
    }
    match text(version_key) {
        Some("4.0") if version.is_some_and(|version| version < (7, 3)) => {
            report.add_error(
                version_key,
                "\"4.0\" needs Flow JSON 7.3: write \"3.0\", or raise `version`",
            );
        }
        Some("3.0" | "4.0") => {}
        _ if root.contains_key(version_key) => {
            report.add_error(version_key, "must be \"3.0\" or \"4.0\"");
        }
        _ => {}
    }
    if root.contains_key("data_channel_uri") && version.is_none_or(|version| version >= (3, 0)) {
        report.add_error(
            "data_channel_uri",
            "is not allowed since Flow JSON 3.0: remove it, and set the endpoint in the Flow's settings (`endpoint_uri`)",
        );
    }
}

/// Parses a version: `7.1` is (7, 1).
fn parse_version(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests;
