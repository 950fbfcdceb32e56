//! The question before a command that can't be undone: what it would do, and whether it may.
//!
//! Only a person at a terminal is asked. A script says `--yes`.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::Value;

use super::show::short;
use crate::admin::Question;

/// What must be agreed to before a command runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Consent {
    /// The same command as a dry run: one row, with `would_change` and `samples`.
    pub dry_run: Question,
    /// The verb and its objects, `discard` and `dead letters`.
    pub words: [&'static str; 2],
    /// Cause for the question: the field of the dry run that must not be 0, and what follows from it.
    pub cause: (&'static str, &'static str),
    /// Whether a script needs `--yes`. Else the command goes on where there is no terminal, and tells the cause.
    pub strict: bool,
}

/// No consent.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is nobody to ask.
    #[error("{0}: look first with --dry-run, then say --yes")]
    NoTerminal(String),
    /// The person said no.
    #[error("nothing was changed")]
    No,
    /// The terminal is gone.
    #[error("can't ask: {0}")]
    Io(#[from] io::Error),
}

impl Consent {
    /// Shows `preview`, the row of the dry run, and asks on the terminal.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn obtain(&self, preview: &Value) -> Result<(), Refused> {
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        self.obtain_from(preview, is_terminal, &mut io::stdin().lock(), &mut io::stderr())
    }

    fn obtain_from(
        &self,
        preview: &Value,
        is_terminal: bool,
        input: &mut impl BufRead,
        out: &mut impl Write,
    ) -> Result<(), Refused> {
        let number = |field: &str| preview.get(field).and_then(Value::as_u64).unwrap_or_default();
        let (field, follows) = self.cause;
        let ([verb, objects], all) = (self.words, number("would_change"));
        if number(field) == 0 {
            return Ok(());
        }
        let warning = format!("{verb} {all} {objects}: {} {follows}", number(field));
        if !is_terminal {
            if self.strict {
                return Err(Refused::NoTerminal(warning));
            }
            // A script whose standard error nobody reads goes on.
            let _ = writeln!(out, "{warning}");
            return Ok(());
        }
        for sample in preview.get("samples").and_then(Value::as_array).into_iter().flatten() {
            let fields = ["id", "died_at", "destination", "event", "reason"].map(|field| sample.get(field));
            let fields: Vec<String> =
                fields.into_iter().flatten().filter(|field| !field.is_null()).map(short).collect();
            writeln!(out, "  {}", fields.join("  "))?;
        }
        write!(out, "{warning}. Go on? [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        input.read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Refused::No) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::output::tests::Leaves;
    use super::*;
    use crate::admin::{Filter, Selection};

    fn consent(strict: bool) -> Consent {
        let dry_run = Question::Discard(Selection::All { filter: Filter::default(), dry_run: true, rate: None });
        let cause = ("would_change", "can't be run again afterwards");
        Consent { dry_run, words: ["discard", "dead letters"], cause, strict }
    }

    fn obtained(strict: bool, would_change: u64, typed: Option<&str>) -> (Result<(), String>, String) {
        let mut out = Vec::new();
        let samples =
            json!([{"id": 7, "died_at": "2026-11-24T08:00:00.000Z", "reason": "no\u{1b}such", "event": null}]);
        let preview = json!({"would_change": would_change, "samples": samples});
        let mut input = typed.unwrap_or_default().as_bytes();
        let said = consent(strict).obtain_from(&preview, typed.is_some(), &mut input, &mut out);
        (said.map_err(|refused| refused.to_string()), String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_person_is_shown_what_would_be_done_and_has_to_say_yes() {
        let asked = "  7  2026-11-24 08:00:00Z  no\u{fffd}such\n\
                     discard 12 dead letters: 12 can't be run again afterwards. Go on? [y/N] ";
        assert_eq!(obtained(true, 12, Some("y\n")), (Ok(()), asked.to_owned()));
        for no in ["\n", "n\n", "", "discard\n"] {
            assert_eq!(obtained(true, 12, Some(no)).0, Err("nothing was changed".to_owned()), "{no:?}");
        }
        assert_eq!(obtained(true, 0, Some("")), (Ok(()), String::new()), "nothing to ask about");
    }

    #[test]
    fn a_script_has_to_say_yes_where_nothing_can_be_undone() {
        let warning = "discard 12 dead letters: 12 can't be run again afterwards";
        let refused = format!("{warning}: look first with --dry-run, then say --yes");
        assert_eq!(obtained(true, 12, None), (Err(refused), String::new()));
        assert_eq!(obtained(false, 12, None), (Ok(()), format!("{warning}\n")));
    }

    #[test]
    fn where_nobody_reads_a_script_goes_on_and_a_person_has_agreed_to_nothing() {
        let preview = json!({"would_change": 12});
        let unread =
            |is_terminal| consent(false).obtain_from(&preview, is_terminal, &mut "y\n".as_bytes(), &mut Leaves(0));
        assert!(unread(false).is_ok());
        assert!(matches!(unread(true), Err(Refused::Io(_))));
    }
}
