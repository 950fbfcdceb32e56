//! `flowgate upgrade --check`: compares this program with the config and the data file of the
//! installed one. It changes nothing and needs no network.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::admin::{AdminError, AdminQuery, StatusRow};
use crate::bootstrap::store_options::store_options;
use crate::cli::connect;
use crate::config::Config;
use crate::store::{FORMAT_VERSION, StoreError, check_format};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const CHANGELOG: &str = include_str!("../../../CHANGELOG.md");

/// Arguments of `upgrade`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct UpgradeArgs {
    /// Only check. A package or a copy of the program replaces it
    #[arg(long, required = true)]
    check: bool,
}

/// State of the data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
enum DataFile {
    /// A server has the file open.
    Served { version: String, format: u32 },
    /// No server runs, and this program reads the format of the file.
    Readable { format: u32 },
    /// The file does not exist yet.
    Missing,
}

/// Result of a check that found no error.
#[derive(Debug, Serialize)]
struct UpgradeCheck {
    version: &'static str,
    config: PathBuf,
    data: PathBuf,
    data_file: DataFile,
    warnings: Vec<String>,
    changes: &'static str,
}

/// Inspects the data file, and writes the changes of this version and the result. The caller has
/// checked that the server can start with the config.
///
/// # Errors
/// Returns [`AdminError`] if this program can't open the data file. The inner result has the error
/// of writing to `output`.
pub(crate) fn run(
    config: &Config,
    json: bool,
    output: &mut impl Write,
) -> Result<io::Result<()>, AdminError> {
    let check = UpgradeCheck {
        version: VERSION,
        config: config.file.clone(),
        data: config.data.clone(),
        data_file: inspect_data_file(config)?,
        warnings: config.warnings(),
        changes: changes_of(CHANGELOG, VERSION),
    };
    if !json {
        return Ok(writeln!(output, "{check}"));
    }
    let row = serde_json::to_string(&check).map_err(io::Error::from);
    Ok(row.and_then(|row| writeln!(output, "{row}")))
}

/// Returns the state of the data file. A running server tells the format, because no other process
/// may open the file.
fn inspect_data_file(config: &Config) -> Result<DataFile, AdminError> {
    let mut status = None;
    let request = AdminQuery::Status.into();
    let answered = connect::send_to_server(&config.data, &request, &mut |row| {
        status = serde_json::from_value::<StatusRow>(row).ok();
        true
    })?;
    if answered.is_some() {
        let fields = status.and_then(|status| Some((status.version?, status.data_format?)));
        return match fields {
            Some((version, FORMAT_VERSION)) => Ok(DataFile::Served {
                version,
                format: FORMAT_VERSION,
            }),
            Some((_, found)) => Err(AdminError::from(StoreError::UnknownFormat {
                path: config.data.clone(),
                found,
                supported: FORMAT_VERSION,
            })),
            None => Err(AdminError::failed(
                "the running server does not report the format of its data file: stop it, and check again",
            )),
        };
    }
    match check_format(&store_options(config, false)?) {
        Ok(()) => Ok(DataFile::Readable {
            format: FORMAT_VERSION,
        }),
        Err(StoreError::FileMissing(_)) => Ok(DataFile::Missing),
        Err(error) => Err(error.into()),
    }
}

/// Returns the section of this version in the changelog, or the section of what is unreleased.
fn changes_of(changelog: &'static str, version: &str) -> &'static str {
    let mut sections = changelog.split("\n## ").skip(1);
    let first = sections.clone().next().unwrap_or_default();
    let own = sections.find(|section| section.split_whitespace().next() == Some(version));
    own.unwrap_or(first).trim_end()
}

impl fmt::Display for UpgradeCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (config, data) = (self.config.display(), self.data.display());
        writeln!(
            f,
            "Changes of flowgate {}: {}\n",
            self.version, self.changes
        )?;
        writeln!(f, "config      {config} is valid")?;
        match &self.data_file {
            DataFile::Missing => writeln!(f, "data file   {data} does not exist yet"),
            DataFile::Readable { format } => writeln!(f, "data file   {data} has format {format}"),
            DataFile::Served { version, format } => writeln!(
                f,
                "data file   {data} has format {format}; flowgate {version} serves it"
            ),
        }?;
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        write!(f, "flowgate {} can start with them", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_those_of_the_version() {
        let changelog =
            "# Changelog\n\n## 0.3.0\nThree.\n\n## 0.2.0 (2027)\nTwo.\n\n## 0.1.0\nOne.\n";
        assert_eq!(changes_of(changelog, "0.2.0"), "0.2.0 (2027)\nTwo.");
        assert_eq!(changes_of(changelog, "9.9.9"), "0.3.0\nThree.");
        assert!(changes_of(CHANGELOG, VERSION).contains("### "));
    }
}
