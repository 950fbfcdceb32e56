//! How a command reaches what it asks about: the running server's socket or, where none runs, the file itself.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::test_send::Test;
use crate::admin::{AdminError, Client, Desk, Question, socket_path, tell_test};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError, Verify};
use crate::current::Current;
use crate::intake::Catalog;
use crate::store::{Store, StoreError, StoreOptions};

/// Asks, and hands on each row as it comes, until `out` says that nobody reads them any more.
///
/// # Errors
/// [`AdminError`] with what was wrong, and what to type.
pub fn ask(config: &Config, question: Question, out: &mut dyn FnMut(Value) -> bool) -> Result<(), AdminError> {
    match Client::connect(&socket_path(&config.data))? {
        Some(server) => server.ask(&question, out),
        None => match question {
            Question::Reload | Question::RestartGateway { .. } => Err(AdminError::no_server()),
            // It needs nothing of the file.
            Question::TestDestination { name, to, event } => {
                tell_test(Test::here(config, name, to, event)?.send()?, out)
            }
            question => ask_file(config, question, out),
        },
    }
}

/// The running server of a config that is wrong: it goes on with the one it has, and answers while somebody is changing
/// the file. `wrong` comes back where there is no such server.
///
/// # Errors
/// `wrong`.
pub(super) fn server_despite(wrong: ConfigError, named: Option<&Path>) -> Result<Client, ConfigError> {
    let server = Config::data_of(named).and_then(|data| Client::connect(&socket_path(&data)).ok().flatten());
    server.ok_or(wrong)
}

/// The same code as the server's, on the file of a server that has ended.
fn ask_file(config: &Config, question: Question, out: &mut dyn FnMut(Value) -> bool) -> Result<(), AdminError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = Store::start(store_options(config, false)?, Arc::clone(&clock))?;
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
