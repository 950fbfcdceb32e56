//! Collects the answers of `flowgate init`: from options, from questions on a terminal, and from
//! defaults. Each answer is checked by the parser of the config.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use jiff::tz::TimeZone;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::answers::{Answers, CalendarAnswers};
use super::args::{InitArgs, parse_domain};
use super::config_text;
use super::paths::CONFIG_FILE;
use crate::bootstrap::resolve::app_secrets::random_hex;
use crate::clock::SystemEntropy;
use crate::config::{Config, ConfigError, InvalidSecretRef, Secret, SecretError, SecretRef};

/// Errors of the answers.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Standard input is no terminal, and an answer has no default.
    #[error(
        "standard input is no terminal, so nothing can be asked: pass --yes, and --domain with the public name of the server"
    )]
    NoTerminal,
    /// The domain is missing.
    #[error(
        "the domain has no default: pass --domain with the public name of the server, like forms.example.com"
    )]
    NoDomain,
    /// The answers make no valid config.
    #[error("these answers make no valid config, and nothing was written:\n{0}")]
    Invalid(String),
    /// A secret can't be read from its location.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An option is no location of a secret.
    #[error("{option}: {why}")]
    Location {
        /// Option of the command line.
        option: &'static str,
        /// Reason. Never contains the typed text.
        why: InvalidSecretRef,
    },
    /// The location of a secret contains none.
    #[error("{option}: there is no secret in {location}")]
    SecretNotSet {
        /// Option of the command line.
        option: &'static str,
        /// Location of the secret.
        location: String,
    },
    /// The terminal can't be read or written.
    #[error("can't ask: {0}")]
    Io(#[from] io::Error),
}

/// Returns the answers of the options, and defaults for the rest.
fn answers_of_args(args: &InitArgs, domain: String) -> Result<Answers, AnswerError> {
    let verify_token = resolve("--verify-token", args.verify_token.as_ref())?;
    let is_new_verify_token = verify_token.is_none();
    let calendar = (!args.no_calendar).then(|| CalendarAnswers {
        name: args.calendar.clone(),
        time_zone: args.timezone.clone().unwrap_or_else(local_time_zone),
        hours: args.hours.clone(),
        slot_length: args.slot_length.clone(),
    });
    Ok(Answers {
        domain,
        listen: args.listen.to_string(),
        admin_listen: args.admin_listen.to_string(),
        flow: args.flow.clone(),
        is_encrypted: args.encrypted,
        language: args.language.clone(),
        team: args.team.clone(),
        calendar,
        app_secret: resolve("--app-secret", args.app_secret.as_ref())?,
        verify_token: verify_token.unwrap_or_else(|| Secret::new(random_hex(&SystemEntropy))),
        is_new_verify_token,
        access_token: resolve("--access-token", args.access_token.as_ref())?,
    })
}

/// Collects the answers. Without `--yes`, asks on the terminal for everything that is usual to
/// change.
///
/// # Errors
/// [`AnswerError`] if an answer is missing, or if the answers make no valid config.
pub(super) fn collect(args: &InitArgs) -> Result<Answers, AnswerError> {
    let answers = if args.yes {
        let domain = args.domain.clone().ok_or(AnswerError::NoDomain)?;
        answers_of_args(args, domain)?
    } else if io::stdin().is_terminal() && io::stderr().is_terminal() {
        let mut terminal = Terminal {
            input: io::stdin().lock(),
            output: io::stderr(),
            hide: hide_input,
        };
        ask(args, &mut terminal)?
    } else {
        return Err(AnswerError::NoTerminal);
    };
    check(&answers).map_err(AnswerError::Invalid)?;
    Ok(answers)
}

fn ask<R: BufRead, W: Write>(
    args: &InitArgs,
    terminal: &mut Terminal<R, W>,
) -> Result<Answers, AnswerError> {
    writeln!(
        terminal.output,
        "Press Enter to accept the value in brackets. All answers can be changed later in the config."
    )?;
    let domain = match &args.domain {
        Some(domain) => domain.clone(),
        None => terminal.ask_parsed("Public domain name of this server", parse_domain)?,
    };
    let mut answers = answers_of_args(args, domain)?;
    let encrypted = "Does the Flow have an endpoint, which shows free times in the form (y/n)";
    let default = if answers.is_encrypted { "y" } else { "n" };
    answers.is_encrypted = terminal.ask_yes_no(encrypted, default)?;
    if answers.calendar.is_some()
        && !terminal.ask_yes_no("Do the forms book appointments (y/n)", "y")?
    {
        answers.calendar = None;
    }
    if answers.calendar.is_some() {
        let part = "Time zone of the business";
        terminal.ask_valid(&mut answers, part, |answers| {
            calendar(answers, |c| &mut c.time_zone)
        })?;
        let part = "Opening hours";
        terminal.ask_valid(&mut answers, part, |answers| {
            calendar(answers, |c| &mut c.hours)
        })?;
        let part = "Length of one appointment";
        terminal.ask_valid(&mut answers, part, |answers| {
            calendar(answers, |c| &mut c.slot_length)
        })?;
    }
    let part = "Language of texts for customers (de, en, es, fr, id, it, nl, pt)";
    terminal.ask_valid(&mut answers, part, |answers| &mut answers.language)?;
    let part = "Team that gets the leads";
    terminal.ask_valid(&mut answers, part, |answers| &mut answers.team)?;
    if answers.app_secret.is_none() {
        let part = "App secret of the Meta app (hidden; empty: later)";
        answers.app_secret = terminal.ask_secret(part)?;
    }
    if answers.access_token.is_none() {
        let part = "Access token of a system user, for keys and messages (hidden; empty: none)";
        answers.access_token = terminal.ask_secret(part)?;
    }
    Ok(answers)
}

/// Checks that the answers make a valid config.
fn check(answers: &Answers) -> Result<(), String> {
    let text = config_text::render(answers)?;
    match Config::parse(Path::new(CONFIG_FILE), &text) {
        Ok(_) => Ok(()),
        Err(ConfigError::Invalid { problems, .. }) => {
            let lines: Vec<String> = problems
                .into_iter()
                .map(|problem| problem.message)
                .collect();
            Err(lines.join("\n"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Returns a field of the calendar. Without a calendar, nobody is asked for the field.
fn calendar(answers: &mut Answers, field: fn(&mut CalendarAnswers) -> &mut String) -> &mut String {
    match &mut answers.calendar {
        Some(calendar) => field(calendar),
        None => &mut answers.team,
    }
}

fn resolve(option: &'static str, location: Option<&String>) -> Result<Option<Secret>, AnswerError> {
    let Some(location) = location else {
        return Ok(None);
    };
    let location = SecretRef::parse(location, Path::new(""))
        .map_err(|why| AnswerError::Location { option, why })?;
    let not_set = || AnswerError::SecretNotSet {
        option,
        location: location.location(),
    };
    location.resolve()?.ok_or_else(not_set).map(Some)
}

/// Returns the time zone of this machine, or UTC.
fn local_time_zone() -> String {
    let zone = TimeZone::system();
    zone.iana_name().unwrap_or("UTC").to_owned()
}

/// Terminal on which a person answers.
struct Terminal<R, W> {
    input: R,
    output: W,
    /// Reads a line with this function while the terminal shows no input.
    hide: fn(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>,
}

impl<R: BufRead, W: Write> Terminal<R, W> {
    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim().to_owned())
    }

    fn ask_line(&mut self, question: &str, default: &str) -> io::Result<String> {
        write!(self.output, "{question} [{default}]: ")?;
        self.output.flush()?;
        let line = self.read_line()?;
        Ok(if line.is_empty() {
            default.to_owned()
        } else {
            line
        })
    }

    fn ask_parsed<T>(
        &mut self,
        question: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> io::Result<T> {
        loop {
            write!(self.output, "{question}: ")?;
            self.output.flush()?;
            match parse(&self.read_line()?) {
                Ok(value) => return Ok(value),
                Err(why) => writeln!(self.output, "  {why}")?,
            }
        }
    }

    fn ask_yes_no(&mut self, question: &str, default: &str) -> io::Result<bool> {
        loop {
            match self.ask_line(question, default)?.to_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => writeln!(self.output, "  answer y or n")?,
            }
        }
    }

    /// Asks for one field until the config with the answer is valid.
    fn ask_valid(
        &mut self,
        answers: &mut Answers,
        question: &str,
        field: impl Fn(&mut Answers) -> &mut String,
    ) -> io::Result<()> {
        let default = field(answers).clone();
        loop {
            *field(answers) = self.ask_line(question, &default)?;
            match check(answers) {
                Ok(()) => return Ok(()),
                Err(why) => writeln!(self.output, "  {}", why.replace('\n', "\n  "))?,
            }
        }
    }

    fn ask_secret(&mut self, question: &str) -> io::Result<Option<Secret>> {
        write!(self.output, "{question}: ")?;
        self.output.flush()?;
        let mut line = String::new();
        let hide = self.hide;
        hide(&mut || {
            line = self.read_line()?;
            Ok(())
        })?;
        writeln!(self.output)?;
        Ok(Some(line).filter(|line| !line.is_empty()).map(Secret::new))
    }
}

/// Calls `read` while the terminal does not show what is typed.
fn hide_input(read: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
    let shown = tcgetattr(io::stdin())?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
    let result = read();
    tcsetattr(io::stdin(), OptionalActions::Flush, &shown)?;
    result
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct TestCommand {
        #[command(flatten)]
        args: InitArgs,
    }

    fn args(line: &str) -> InitArgs {
        TestCommand::parse_from(format!("init {line}").split_whitespace()).args
    }

    fn ask(line: &str, typed: &str) -> (Result<Answers, AnswerError>, String) {
        let mut output = Vec::new();
        let mut terminal = Terminal {
            input: typed.as_bytes(),
            output: &mut output,
            hide: |read| read(),
        };
        let answers = super::ask(&args(line), &mut terminal);
        (answers, String::from_utf8(output).unwrap())
    }

    #[test]
    fn wrong_answer_is_asked_again() {
        let typed = "https://forms.example\nForms.Example.com\nmaybe\ny\n\nberlin\nEurope/Berlin\n\
                     mon-fri 9-17\nmon-fri 09:00-17:00, sat 10:00-12:00\n\n\nsales\nhush\n\n";
        let (answers, output) = ask("", typed);
        let answers = answers.unwrap();
        assert_eq!(answers.domain, "forms.example.com");
        assert!(answers.is_encrypted);
        let calendar = answers.calendar.unwrap();
        assert_eq!(calendar.time_zone, "Europe/Berlin");
        assert_eq!(calendar.hours, "mon-fri 09:00-17:00, sat 10:00-12:00");
        assert_eq!(answers.app_secret.unwrap().expose(), "hush");
        assert!(answers.access_token.is_none());
        for hint in [
            "without https://",
            "answer y or n",
            "did you mean \"Europe/Berlin\"?",
            "9-17",
        ] {
            assert!(output.contains(hint), "{hint}: {output}");
        }
    }

    #[test]
    fn end_of_input_is_an_error() {
        let (answers, _) = ask("--domain forms.example.com", "y\n");
        assert!(matches!(answers, Err(AnswerError::Io(_))));
    }
}
