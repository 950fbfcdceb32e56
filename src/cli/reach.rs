//! How a command reaches what it asks about: the running server's socket or, where none runs, the file itself.

use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::test_send::Test;
use crate::admin::{AdminError, Client, Desk, ErrorCode, Question, StatusView, socket_path, tell_test};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Verify};
use crate::current::Current;
use crate::domain::refusals;
use crate::intake::Catalog;
use crate::store::{Store, StoreError, StoreOptions};

/// Time that a command waits for a server that is starting, or for another process that has the file open.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time after which the command says what it waits for.
const QUIET: Duration = Duration::from_secs(1);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks, and hands on each row as it comes, until `out` says that nobody reads them any more.
///
/// # Errors
/// [`AdminError`] with what was wrong, and what to type.
pub fn ask(config: &Config, question: &Question, out: &mut dyn FnMut(Value) -> bool) -> Result<(), AdminError> {
    let socket = socket_path(&config.data);
    patiently(&SystemClock::new(), &mut io::stderr(), || match Client::connect(&socket)? {
        Some(server) => server.ask(question, out),
        None => match question {
            Question::Reload | Question::RestartGateway { .. } | Question::Sign { .. } | Question::PublicKey { .. } => {
                Err(AdminError::no_server())
            }
            // It needs nothing of the file.
            Question::TestDestination { name, to, event } => {
                tell_test(Test::here(config, name.clone(), to.clone(), *event)?.send()?, out)
            }
            question => ask_file(config, question.clone(), out),
        },
    })
}

/// Asks the server of the data file `data`, and only the server; `None` where none runs.
///
/// # Errors
/// As for [`ask`].
pub(super) fn ask_server(
    data: &Path,
    question: &Question,
    out: &mut dyn FnMut(Value) -> bool,
) -> Result<Option<()>, AdminError> {
    patiently(&SystemClock::new(), &mut io::stderr(), || match Client::connect(&socket_path(data))? {
        Some(server) => server.ask(question, out).map(Some),
        None => Ok(None),
    })
}

/// The warning of the server of the data file `data` that its app secret looks wrong: only the server sees the signatures.
/// `None`: no server runs or answers, or the secret has proved right.
pub(super) fn app_secret_warning(data: &Path) -> Option<String> {
    let server = Client::connect(&socket_path(data)).ok()??;
    let mut warning = None;
    let answered = server.ask(&Question::Status, &mut |row| {
        let status = serde_json::from_value::<StatusView>(row).ok();
        warning = status.and_then(|status| status.hints.into_iter().find(|hint| refusals::is_about_app_secret(hint)));
        true
    });
    answered.ok().and(warning).map(|warning| format!("the running server warns: {warning}"))
}

/// Repeats `attempt` while it is [`ErrorCode::Busy`], for [`PATIENCE`] at most, and tells `told` once what it waits for.
fn patiently<T>(
    clock: &dyn Clock,
    told: &mut dyn Write,
    mut attempt: impl FnMut() -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    let began = clock.elapsed();
    let mut has_told = false;
    loop {
        let busy = match attempt() {
            Err(error) if error.code == ErrorCode::Busy => error,
            done => return done,
        };
        let waited = clock.elapsed().saturating_sub(began);
        if waited >= PATIENCE {
            let message = format!("{}: tried for {} s; try again later", busy.message, PATIENCE.as_secs());
            return Err(AdminError { message, ..busy });
        }
        if waited >= QUIET && !mem::replace(&mut has_told, true) {
            // Nobody need read this.
            let _ = writeln!(told, "{}: waiting up to {} s", busy.message, PATIENCE.as_secs());
        }
        thread::park_timeout(PAUSE);
    }
}

/// The same code as the server's, on the file of a server that has ended.
fn ask_file(config: &Config, question: Question, out: &mut dyn FnMut(Value) -> bool) -> Result<(), AdminError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut options = store_options(config, false)?;
    // It is to say what is wrong with a file, also with one that the store would not serve.
    options.read_only = matches!(question, Question::Check);
    let store = Store::start(options, Arc::clone(&clock))?;
    let answered = store.wait_open().map_err(AdminError::from).and_then(|()| {
        let desk = Desk::new(store.clone(), clock, Current::new(Catalog::from(config)), None);
        desk.answer(question, out)
    });
    let closed = store.close();
    answered?;
    Ok(closed?)
}

/// The store that the config asks for. `serving`: for the server itself, which makes a file that is missing.
///
/// # Errors
/// [`StoreError::File`] where a bound is more than this machine can count.
pub(super) fn store_options(config: &Config, serving: bool) -> Result<StoreOptions, StoreError> {
    let mut options = StoreOptions::new(config.data.clone());
    options.serving = serving;
    options.intake = config.limits.intake;
    options.batch = config.limits.batch;
    options.cache_bytes = usize::try_from(config.store.cache).map_err(|error| StoreError::File {
        operation: "take `store.cache` of memory for",
        path: config.data.clone(),
        error: error.to_string(),
    })?;
    options.keys_max = config.limits.idempotency_keys;
    options.token_ttl = config.retention.idempotency;
    options.message_ttl = config.retention.message_ids;
    options.free_space_min = config.limits.free_space;
    options.jobs_out_max = config.workers.queue;
    options.routes = Current::new(config.routes.clone());
    options.verify_always = config.store.verify == Verify::Always;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::{Millis, Timestamp};

    /// Asks a server that is starting for so many tries of a quarter of a second.
    fn asked(tries_until_ready: usize) -> (Result<usize, AdminError>, String) {
        let clock = ManualClock::at(Timestamp::ZERO);
        let (mut tries, mut told) = (0, Vec::new());
        let answer = patiently(&clock, &mut told, || {
            tries += 1;
            clock.advance(Millis::new(250));
            if tries > tries_until_ready { Ok(tries) } else { Err(AdminError::starting(0)) }
        });
        (answer, String::from_utf8(told).unwrap())
    }

    #[test]
    fn a_command_waits_for_a_server_that_is_starting_and_says_so_once() {
        assert_eq!(asked(2), (Ok(3), String::new()), "not worth a word");
        let told = "the server is starting (verifying the data file): waiting up to 30 s\n";
        assert_eq!(asked(20), (Ok(21), told.to_owned()));
        let (refused, _) = asked(usize::MAX);
        let why = "the server is starting (verifying the data file): tried for 30 s; try again later";
        assert_eq!(refused, Err(AdminError { code: ErrorCode::Busy, message: why.to_owned() }));
    }

    #[test]
    fn any_other_error_is_told_at_once() {
        let mut tries = 0;
        let refused: Result<(), _> = patiently(&ManualClock::at(Timestamp::ZERO), &mut Vec::new(), || {
            tries += 1;
            Err(AdminError::no_server())
        });
        assert_eq!((refused, tries), (Err(AdminError::no_server()), 1));
    }
}
