//! `flowgate flows check FLOW.json`: whether what customers see and what answers for it go together. It asks no server.
//!
//! What fits and what does not is `crate::intake::flow_json`'s; this finds the file and prints.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::which_flow::{WhichFlow, choose};
use crate::config::{Config, ConfigError};
use crate::domain::flow::Flow;
use crate::domain::ids::FlowName;
use crate::intake::flow_json::{self, NotFlowJson, Severity};

/// Meta takes no larger Flow JSON (*Flow JSON*, limitations).
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Holds a Flow JSON, as Meta's Flow Builder exports it, against the flow that answers for it
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The Flow JSON
    #[arg(value_name = "FLOW.json")]
    file: PathBuf,
    /// The flow; needed where the config has several
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    flow: Option<FlowName>,
}

/// Why a Flow JSON was not found to fit.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Which flow?
    #[error(transparent)]
    Which(#[from] WhichFlow),
    /// The Flow JSON can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Too large for Meta.
    #[error("{} is larger than the 10 MB that Meta takes: is it the right file?", .0.display())]
    TooLarge(PathBuf),
    /// It is none.
    #[error("{} is no Flow JSON: {source}", path.display())]
    NotFlowJson {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: NotFlowJson,
    },
    /// It has errors. They have been printed.
    #[error("{} does not fit flow {flow}: {}", path.display(), counted(*errors, "error"))]
    DoesNotFit {
        /// The file.
        path: PathBuf,
        /// The flow.
        flow: FlowName,
        /// How many.
        errors: usize,
    },
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The terminal is gone.
    #[error("can't print the answer: {0}")]
    Print(#[from] io::Error),
}

impl Check {
    /// Does it.
    ///
    /// # Errors
    /// [`CheckError`].
    pub fn run(
        &self,
        load: impl FnOnce() -> Result<Config, ConfigError>,
        json: bool,
        out: &mut impl Write,
    ) -> Result<(), CheckError> {
        let Self { file, flow } = self;
        check(file, &*choose(&load()?, flow.as_ref())?, json, out)
    }
}

fn check(file: &Path, flow: &Flow, json: bool, out: &mut impl Write) -> Result<(), CheckError> {
    let not_flow_json = |source| CheckError::NotFlowJson { path: file.to_owned(), source };
    let findings = flow_json::check(&read(file)?, flow).map_err(not_flow_json)?;
    for finding in &findings {
        if json {
            writeln!(out, "{}", json!(finding))?;
        } else {
            let word = if finding.severity == Severity::Error { "error" } else { "note " };
            writeln!(out, "{word}  {}: {}", finding.place, finding.what)?;
        }
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors > 0 {
        return Err(CheckError::DoesNotFit { path: file.to_owned(), flow: flow.name.clone(), errors });
    }
    if !json {
        let notes = if findings.is_empty() { String::new() } else { format!(", {}", counted(findings.len(), "note")) };
        writeln!(out, "{} fits flow {}: no errors{notes}", file.display(), flow.name)?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, CheckError> {
    let failed = |source| CheckError::Read { path: file.to_owned(), source };
    let mut text = String::new();
    let read = File::open(file).and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match u64::try_from(read.map_err(failed)?) {
        Ok(bytes) if bytes <= FILE_BYTES_MAX => Ok(text),
        _ => Err(CheckError::TooLarge(file.to_owned())),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
