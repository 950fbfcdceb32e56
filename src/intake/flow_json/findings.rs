//! Defines the findings of the checks, and the list that collects them.

use serde::Serialize;

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

/// Findings of the checks so far.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<LintFinding>);

impl Findings {
    pub(super) fn add_error(&mut self, location: impl Into<String>, message: impl Into<String>) {
        self.0.push(LintFinding {
            severity: LintSeverity::Error,
            location: location.into(),
            message: message.into(),
        });
    }

    pub(super) fn add_warning(&mut self, location: impl Into<String>, message: impl Into<String>) {
        self.0.push(LintFinding {
            severity: LintSeverity::Warning,
            location: location.into(),
            message: message.into(),
        });
    }
}
