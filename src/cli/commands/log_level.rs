//! Formats the output of `flowgate log-level`: the filter of the log.

use std::fmt;

use crate::admin::LogLevelRow;
use crate::telemetry::FILTER_VARIABLE;

impl fmt::Display for LogLevelRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.filter)?;
        let source = match self.source.as_str() {
            "environment" => FILTER_VARIABLE,
            _ => "`log` in the config",
        };
        if self.filter == self.configured {
            write!(f, " (from {source})")
        } else {
            let configured = &self.configured;
            write!(
                f,
                " (changed until the next start; {source} sets {configured})"
            )
        }
    }
}
