//! Collects and writes the findings of `flowgate doctor`.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Right,
    Warning,
    Wrong,
}

/// Line of the report.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    result: Verdict,
    message: String,
    /// Action for the admin. `None`: nothing to do.
    advice: Option<String>,
}

/// A line on a terminal, and a second one with the advice.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = match self.result {
            Verdict::Right => "right  ",
            Verdict::Warning => "warning",
            Verdict::Wrong => "WRONG  ",
        };
        write!(f, "{result}  {:<12}  {}", self.check, self.message)?;
        match &self.advice {
            Some(advice) => write!(f, "\n         {:<12}  -> {advice}", ""),
            None => Ok(()),
        }
    }
}

/// Findings, written as soon as each is known.
pub(super) struct Report<'a> {
    pub(super) output: &'a mut dyn Write,
    pub(super) json: bool,
    pub(super) wrong: usize,
    pub(super) result: io::Result<()>,
}

impl Report<'_> {
    fn add(&mut self, finding: &Finding) {
        self.wrong += usize::from(finding.result == Verdict::Wrong);
        let line = if self.json {
            serde_json::to_string(finding).unwrap_or_default()
        } else {
            finding.to_string()
        };
        if self.result.is_ok() {
            self.result = writeln!(self.output, "{line}");
        }
    }

    pub(super) fn right(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(&Finding {
            check,
            result: Verdict::Right,
            message: message.into(),
            advice: None,
        });
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add_with_advice(check, Verdict::Warning, message.into(), advice.into());
    }

    pub(super) fn wrong(
        &mut self,
        check: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add_with_advice(check, Verdict::Wrong, message.into(), advice.into());
    }

    fn add_with_advice(
        &mut self,
        check: &'static str,
        result: Verdict,
        message: String,
        advice: String,
    ) {
        self.add(&Finding {
            check,
            result,
            message,
            advice: Some(advice).filter(|advice| !advice.is_empty()),
        });
    }
}
