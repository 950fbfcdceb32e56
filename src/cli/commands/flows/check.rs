//! `flowgate flows check FLOW.json`: checks that a Flow JSON and its flow in the config fit
//! together. The command contacts no server.
//!
//! This file reads the Flow JSON and writes the findings. See [`crate::intake::flow_json`] for the
//! rules.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::flow_arg::{FlowArgError, resolve_flow};
use crate::config::{Config, ConfigError};
use crate::domain::flow::Flow;
use crate::domain::ids::FlowName;
use crate::intake::flow_json::{self, FlowJsonError, LintSeverity};

/// Maximum size of a Flow JSON in bytes. Meta accepts no larger one (*Flow JSON*, limitations).
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Check a Flow JSON, as exported by Meta's Flow Builder, against its flow in the config
#[derive(Debug, clap::Args)]
pub struct FlowJsonCheck {
    /// File with the Flow JSON
    #[arg(value_name = "FLOW.json")]
    file: PathBuf,
    /// Name of the flow. Required if the config has several flows
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    flow: Option<FlowName>,
}

/// Errors of a check.
#[derive(Debug, thiserror::Error)]
pub enum FlowJsonCheckError {
    /// The flow is unknown, or the command must name one.
    #[error(transparent)]
    FlowArg(#[from] FlowArgError),
    /// The file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// The file is larger than Meta accepts. The path names it.
    #[error("{} is larger than 10 MB, the maximum of Meta: check that it is the right file", .0.display())]
    TooLarge(PathBuf),
    /// The file contains no Flow JSON.
    #[error("{} is not valid Flow JSON: {source}", path.display())]
    NotFlowJson {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the error.
        #[source]
        source: FlowJsonError,
    },
    /// The Flow JSON does not fit the flow. The findings are already written.
    #[error("{} does not fit flow {flow}: {}", path.display(), pluralize(*errors, "error"))]
    HasErrors {
        /// Path of the file.
        path: PathBuf,
        /// Flow name.
        flow: FlowName,
        /// Number of errors.
        errors: usize,
    },
    /// The config can't be loaded.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Standard output can't be written.
    #[error("can't write the output: {0}")]
    Print(#[from] io::Error),
}

impl FlowJsonCheck {
    /// Checks the Flow JSON and writes the findings to `output`. `load` loads the config.
    ///
    /// # Errors
    /// Returns [`FlowJsonCheckError`] if the check can't run or finds an error.
    pub fn run(
        &self,
        load: impl FnOnce() -> Result<Config, ConfigError>,
        json: bool,
        output: &mut impl Write,
    ) -> Result<(), FlowJsonCheckError> {
        let Self { file, flow } = self;
        check_flow_json(file, &*resolve_flow(&load()?, flow.as_ref())?, json, output)
    }
}

fn check_flow_json(
    file: &Path,
    flow: &Flow,
    json: bool,
    output: &mut impl Write,
) -> Result<(), FlowJsonCheckError> {
    let not_flow_json = |source| FlowJsonCheckError::NotFlowJson {
        path: file.to_owned(),
        source,
    };
    let findings = flow_json::check(&read_file(file)?, flow).map_err(not_flow_json)?;
    for finding in &findings {
        if json {
            writeln!(output, "{}", json!(finding))?;
        } else {
            let label = if finding.severity == LintSeverity::Error {
                "error"
            } else {
                "warning"
            };
            writeln!(output, "{label}  {}: {}", finding.location, finding.message)?;
        }
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == LintSeverity::Error)
        .count();
    if errors > 0 {
        return Err(FlowJsonCheckError::HasErrors {
            path: file.to_owned(),
            flow: flow.name.clone(),
            errors,
        });
    }
    if !json {
        let warnings = match findings.len() {
            0 => String::new(),
            count => format!(", {}", pluralize(count, "warning")),
        };
        let (file, flow) = (file.display(), &flow.name);
        writeln!(output, "{file} fits flow {flow}: no errors{warnings}")?;
    }
    Ok(())
}

fn read_file(file: &Path) -> Result<String, FlowJsonCheckError> {
    let failed = |source| FlowJsonCheckError::Read {
        path: file.to_owned(),
        source,
    };
    let mut text = String::new();
    let read =
        File::open(file).and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match u64::try_from(read.map_err(failed)?) {
        Ok(bytes) if bytes <= FILE_BYTES_MAX => Ok(text),
        _ => Err(FlowJsonCheckError::TooLarge(file.to_owned())),
    }
}

fn pluralize(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
