//! `flowgate init`: writes a config, the secrets, the units of systemd and the snippets of proxies
//! for a new machine, and prints the next steps.
//!
//! | module | content |
//! |---|---|
//! | `args` | options |
//! | `answers` | choices for the config |
//! | `questions` | the answers of options, of a person and of defaults |
//! | `config_text` | the config |
//! | `executable` | the program that the service runs |
//! | `plan` | all files with their modes, from the folder `packaging` |
//! | `files` | writing, owners, and the check that nothing is overwritten |
//! | `next_steps` | the steps for a person |

mod answers;
pub(crate) mod args;
mod config_text;
mod executable;
mod files;
mod next_steps;
mod paths;
mod plan;
mod questions;

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use crate::config::{Config, ConfigError};
use crate::intake::InvalidKey;
use args::InitArgs;
use executable::Executable;
pub use files::InitFileError;
use files::{FileRow, OnExisting, TargetRoot};
use next_steps::next_steps;
use paths::{CONFIG_FILE, SYSUSERS_FILE};
use plan::{FOLDERS, plan_files, plan_secrets};
pub use questions::AnswerError;

/// Errors of `init`.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// An answer is missing or wrong.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The rendered config is invalid.
    #[error("the config would be invalid, and nothing was written:\n{0}")]
    Config(#[from] ConfigError),
    /// The key of the flow can't be made.
    #[error("can't create the key of the flow: {0}")]
    Key(#[from] InvalidKey),
    /// A file can't be written.
    #[error(transparent)]
    File(#[from] InitFileError),
    /// Standard output can't be written.
    #[error("can't write the output: {0}")]
    Print(#[from] io::Error),
}

impl InitArgs {
    /// Collects the answers, writes all files and prints the next steps to `output`.
    ///
    /// # Errors
    /// Returns [`InitError`]. If a file would be overwritten or the config would be invalid,
    /// nothing was written.
    pub fn run(&self, json: bool, output: &mut impl Write) -> Result<(), InitError> {
        let mut target = TargetRoot::new(self.root.clone());
        if !self.force {
            // Nobody should answer questions in vain.
            target.refuse_existing([CONFIG_FILE])?;
        }
        let answers = questions::collect(self)?;
        let config = config_text::render(&answers).map_err(AnswerError::Invalid)?;
        Config::parse(Path::new(CONFIG_FILE), &config)?;
        let executable = Executable::find();
        let mut files = plan_files(&answers, config, &executable);
        files.extend(plan_secrets(&answers)?);
        if !self.force {
            let new = files
                .iter()
                .filter(|file| file.on_existing == OnExisting::Refuse);
            target.refuse_existing(new.map(|file| file.path.as_str()))?;
        }
        let mut rows = Vec::new();
        let (declarations, files): (Vec<_>, Vec<_>) = files
            .iter()
            .partition(|file| file.path.ends_with(SYSUSERS_FILE));
        for file in declarations {
            rows.push(target.write(file)?);
        }
        target.create_user(SYSUSERS_FILE)?;
        for folder in FOLDERS {
            target.create_folder(&folder)?;
        }
        for file in files {
            rows.push(target.write(file)?);
        }
        let steps = next_steps(&answers, &executable, &target);
        if json {
            writeln!(output, "{}", json!({ "files": rows, "next": steps }))?;
        } else {
            print_result(output, &rows, &steps, &target)?;
        }
        Ok(())
    }
}

fn print_result(
    output: &mut impl Write,
    rows: &[FileRow],
    steps: &[String; 3],
    target: &TargetRoot,
) -> io::Result<()> {
    for row in rows {
        let what = if row.written { "written " } else { "retained" };
        writeln!(output, "{what}  {}  {}", row.mode, row.path.display())?;
    }
    if !target.has_owners() {
        writeln!(
            output,
            "! owners were not set and no user was created, because this command does not run as root"
        )?;
    }
    writeln!(output, "\nNext steps:")?;
    for (number, step) in (1..).zip(steps) {
        writeln!(output, "{number}. {step}")?;
    }
    Ok(())
}
