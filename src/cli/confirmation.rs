//! Asks for confirmation before a command that can't be undone, and shows what the command would
//! change.
//!
//! Only a person at a terminal is asked. A script passes `--yes`.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::Value;

use super::output::format_cell;
use crate::admin::AdminRequest;

/// Confirmation that a command needs before it runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The same command as a dry run. Its response is one row with `would_change` and `samples`.
    pub dry_run: AdminRequest,
    /// Action and its objects, for example `discard` and `dead letters`.
    pub action_and_objects: [&'static str; 2],
    /// Trigger of the question: a field of the dry run, and the consequence for the objects that it
    /// counts. A count of 0 needs no confirmation.
    pub trigger: (&'static str, &'static str),
    /// `true` if a script must pass `--yes`. If `false`, the command prints the consequence and
    /// runs if there is no terminal.
    pub requires_yes_flag: bool,
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

impl Confirmation {
    /// Shows `preview`, the row of the dry run, and asks for confirmation on the terminal.
    ///
    /// # Errors
    /// Returns [`ConfirmationError`] if the command must not run.
    pub fn confirm(&self, preview: &Value) -> Result<(), ConfirmationError> {
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        self.confirm_from(
            preview,
            is_terminal,
            &mut io::stdin().lock(),
            &mut io::stderr(),
        )
    }

    fn confirm_from(
        &self,
        preview: &Value,
        is_terminal: bool,
        input: &mut impl BufRead,
        output: &mut impl Write,
    ) -> Result<(), ConfirmationError> {
        let number = |field: &str| {
            preview
                .get(field)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        let (field, follows) = self.trigger;
        let ([action, objects], all) = (self.action_and_objects, number("would_change"));
        if number(field) == 0 {
            return Ok(());
        }
        let warning = format!("{action} {all} {objects}: {} {follows}", number(field));
        if !is_terminal {
            if self.requires_yes_flag {
                return Err(ConfirmationError::NoTerminal(warning));
            }
            // The command also runs if no program reads its standard error.
            let _ = writeln!(output, "{warning}");
            return Ok(());
        }
        for sample in preview
            .get("samples")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let fields =
                ["id", "died_at", "destination", "event", "reason"].map(|field| sample.get(field));
            let fields: Vec<String> = fields
                .into_iter()
                .flatten()
                .filter(|field| !field.is_null())
                .map(format_cell)
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
    use crate::admin::{JobSelector, ListFilter};
    use crate::cli::deferred_error_writer::tests::ClosingPipe;

    fn discard_confirmation(strict: bool) -> Confirmation {
        let dry_run = AdminRequest::DiscardDeadLetters(JobSelector::All {
            filter: ListFilter::default(),
            dry_run: true,
            rate: None,
        });
        let cause = ("would_change", "can't be retried afterwards");
        Confirmation {
            dry_run,
            action_and_objects: ["discard", "dead letters"],
            trigger: cause,
            requires_yes_flag: strict,
        }
    }

    fn confirm_with(
        strict: bool,
        would_change: u64,
        typed: Option<&str>,
    ) -> (Result<(), String>, String) {
        let mut output = Vec::new();
        let samples = json!([{"id": 7, "died_at": "2026-11-24T08:00:00.000Z", "reason": "no\u{1b}such", "event": null}]);
        let preview = json!({"would_change": would_change, "samples": samples});
        let mut input = typed.unwrap_or_default().as_bytes();
        let result = discard_confirmation(strict).confirm_from(
            &preview,
            typed.is_some(),
            &mut input,
            &mut output,
        );
        (
            result.map_err(|refused| refused.to_string()),
            String::from_utf8(output).unwrap(),
        )
    }

    #[test]
    fn terminal_confirmation_shows_samples_and_requires_yes() {
        let prompt = "  7  2026-11-24 08:00:00Z  no\u{fffd}such\n\
                     discard 12 dead letters: 12 can't be retried afterwards. Continue? [y/N] ";
        assert_eq!(
            confirm_with(true, 12, Some("y\n")),
            (Ok(()), prompt.to_owned())
        );
        for no in ["\n", "n\n", "", "discard\n"] {
            assert_eq!(
                confirm_with(true, 12, Some(no)).0,
                Err("nothing was changed".to_owned()),
                "{no:?}"
            );
        }
        assert_eq!(
            confirm_with(true, 0, Some("")),
            (Ok(()), String::new()),
            "nothing to ask about"
        );
    }

    #[test]
    fn script_requires_yes_flag_for_irreversible_command() {
        let warning = "discard 12 dead letters: 12 can't be retried afterwards";
        let refused = format!("{warning}: check with --dry-run first, then pass --yes");
        assert_eq!(confirm_with(true, 12, None), (Err(refused), String::new()));
        assert_eq!(
            confirm_with(false, 12, None),
            (Ok(()), format!("{warning}\n"))
        );
    }

    #[test]
    fn closed_stderr_blocks_only_interactive_confirmation() {
        let preview = json!({"would_change": 12});
        let unread = |is_terminal| {
            discard_confirmation(false).confirm_from(
                &preview,
                is_terminal,
                &mut "y\n".as_bytes(),
                &mut ClosingPipe(0),
            )
        };
        assert!(unread(false).is_ok());
        assert!(matches!(unread(true), Err(ConfirmationError::Io(_))));
    }
}
