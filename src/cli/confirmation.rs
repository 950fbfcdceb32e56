//! Asks for confirmation before a command that can't be undone, and shows what the command would
//! change.
//!
//! Only a person at a terminal is asked. A script passes `--yes`.

use std::io::{self, BufRead, IsTerminal, Write};

use jiff::tz::TimeZone;
use serde_json::Value;

use super::cell::format_cell;
use crate::admin::{AdminRequest, DryRunRow};

/// Confirmation that a command needs before it runs.
#[derive(Debug)]
pub(crate) struct Confirmation {
    /// The same command as a dry run. Its response is one [`DryRunRow`].
    pub(crate) dry_run: AdminRequest,
    /// Question about the dry run.
    pub(crate) question: Question,
}

/// Question before many rows are changed.
#[derive(Debug)]
pub(crate) struct Question {
    /// Action and its objects, for example `discard` and `dead letters`.
    pub(crate) action_and_objects: [&'static str; 2],
    /// Counts the objects of the dry run that need the confirmation. 0: the command runs at once.
    pub(crate) count: fn(&DryRunRow<Value>) -> usize,
    /// Consequence for these objects.
    pub(crate) consequence: &'static str,
    /// `true` if a script must pass `--yes`. If `false`, the command prints the consequence and
    /// runs if there is no terminal.
    pub(crate) requires_yes_flag: bool,
}

/// Errors of a confirmation.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmationError {
    /// The command needs `--yes`, because standard input or standard error is no terminal.
    #[error("{0}: check with --dry-run first, then pass --yes")]
    NoTerminal(String),
    /// The person did not answer yes.
    #[error("nothing was changed")]
    Declined,
    /// The terminal can't be read or written.
    #[error("can't ask for confirmation: {0}")]
    Io(#[from] io::Error),
}

impl Question {
    /// Shows `preview`, the row of the dry run, and asks for confirmation on the terminal.
    ///
    /// # Errors
    /// Returns [`ConfirmationError`] if the command must not run.
    pub(crate) fn ask(
        &self,
        preview: &DryRunRow<Value>,
        zone: &TimeZone,
    ) -> Result<(), ConfirmationError> {
        let (input, mut output) = (io::stdin(), io::stderr());
        let is_terminal = input.is_terminal() && output.is_terminal();
        self.ask_from(preview, zone, is_terminal, &mut input.lock(), &mut output)
    }

    fn ask_from(
        &self,
        preview: &DryRunRow<Value>,
        zone: &TimeZone,
        is_terminal: bool,
        input: &mut impl BufRead,
        output: &mut impl Write,
    ) -> Result<(), ConfirmationError> {
        let count = (self.count)(preview);
        if count == 0 {
            return Ok(());
        }
        let ([action, objects], all) = (self.action_and_objects, preview.would_change);
        let warning = format!("{action} {all} {objects}: {count} {}", self.consequence);
        if !is_terminal {
            if self.requires_yes_flag {
                return Err(ConfirmationError::NoTerminal(warning));
            }
            // The command also runs if no program reads its standard error.
            let _ = writeln!(output, "{warning}");
            return Ok(());
        }
        for sample in &preview.samples {
            let fields: Vec<String> = ["id", "died_at", "destination", "agent", "event", "reason"]
                .into_iter()
                .filter_map(|name| sample.get(name).filter(|field| !field.is_null()))
                .map(|field| format_cell(field, zone))
                .collect();
            writeln!(output, "  {}", fields.join("  "))?;
        }
        write!(output, "{warning}. Continue? [y/N] ")?;
        output.flush()?;
        let mut reply = String::new();
        input.read_line(&mut reply)?;
        if matches!(reply.trim(), "y" | "Y" | "yes") {
            Ok(())
        } else {
            Err(ConfirmationError::Declined)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::deferred_error_writer::ClosingPipe;

    const fn discard_question(requires_yes_flag: bool) -> Question {
        Question {
            action_and_objects: ["discard", "dead letters"],
            count: |preview| preview.would_change,
            consequence: "can't be retried afterwards",
            requires_yes_flag,
        }
    }

    fn preview(would_change: usize) -> DryRunRow<Value> {
        let sample = json!({"id": 7, "died_at": "2026-11-24T08:00:00.000Z", "reason": "no\u{1b}such", "event": null});
        DryRunRow {
            would_change,
            expired_messages: None,
            samples: vec![sample],
        }
    }

    fn confirm_with(
        strict: bool,
        would_change: usize,
        typed: Option<&str>,
    ) -> (Result<(), String>, String) {
        let mut output = Vec::new();
        let mut input = typed.unwrap_or_default().as_bytes();
        let (question, preview) = (discard_question(strict), preview(would_change));
        let result = question.ask_from(
            &preview,
            &TimeZone::UTC,
            typed.is_some(),
            &mut input,
            &mut output,
        );
        let result = result.map_err(|refused| refused.to_string());
        (result, String::from_utf8(output).unwrap())
    }

    #[test]
    fn terminal_confirmation_shows_samples_and_requires_yes() {
        let prompt = "  7  2026-11-24 08:00:00Z  no\u{fffd}such\n\
                     discard 12 dead letters: 12 can't be retried afterwards. Continue? [y/N] ";
        let confirmed = confirm_with(true, 12, Some("y\n"));
        assert_eq!(confirmed, (Ok(()), prompt.to_owned()));
        for no in ["\n", "n\n", "", "discard\n"] {
            let (refused, _) = confirm_with(true, 12, Some(no));
            assert_eq!(refused, Err("nothing was changed".to_owned()), "{no:?}");
        }
        let unasked = confirm_with(true, 0, Some(""));
        assert_eq!(unasked, (Ok(()), String::new()));
    }

    #[test]
    fn script_requires_yes_flag_for_irreversible_command() {
        let warning = "discard 12 dead letters: 12 can't be retried afterwards";
        let refused = format!("{warning}: check with --dry-run first, then pass --yes");
        assert_eq!(confirm_with(true, 12, None), (Err(refused), String::new()));
        let warned = (Ok(()), format!("{warning}\n"));
        assert_eq!(confirm_with(false, 12, None), warned);
    }

    #[test]
    fn closed_stderr_blocks_only_interactive_confirmation() {
        let unread = |is_terminal| {
            let (question, mut input) = (discard_question(false), "y\n".as_bytes());
            question.ask_from(
                &preview(12),
                &TimeZone::UTC,
                is_terminal,
                &mut input,
                &mut ClosingPipe(0),
            )
        };
        assert!(unread(false).is_ok());
        assert!(matches!(unread(true), Err(ConfirmationError::Io(_))));
    }
}
