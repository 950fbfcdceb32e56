//! Sends admin requests to the running server over its socket, or executes them on the data file if
//! no server runs.

use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::admin::{
    AdminError, AdminHandler, AdminQuery, AdminRequest, ErrorCode, ServerCommand, StatusRow,
    write_test_result,
};
use crate::admin_server::{AdminClient, socket_path};
use crate::bootstrap::destination_test::DestinationTest;
use crate::bootstrap::store_options::store_options;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::access::Principal;
use crate::domain::health::wrong_app_secret;
use crate::intake::Catalog;
use crate::reloadable::Reloadable;
use crate::store::Store;

/// Maximum time that a command waits for a starting server, or for another process that has the
/// data file open.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time after which the command prints why it waits.
const NOTICE_DELAY: Duration = Duration::from_secs(1);
/// Pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Sends `request` and passes each row of the response to `sink`, until `sink` returns `false`.
///
/// # Errors
/// Returns [`AdminError`] with the cause and a suggestion.
pub fn send(
    config: &Config,
    request: &AdminRequest,
    sink: &mut dyn FnMut(Value) -> bool,
) -> Result<(), AdminError> {
    let socket = socket_path(&config.data);
    retry_while_busy(
        &SystemClock::new(),
        &mut io::stderr(),
        || match AdminClient::connect(&socket)? {
            Some(server) => server.send(request, sink),
            None => match request {
                // A test of a destination needs nothing from the data file.
                AdminRequest::ServerCommand(ServerCommand::TestDestination { name, to, event }) => {
                    write_test_result(
                        DestinationTest::send_offline(config, name.clone(), to.clone(), *event)?,
                        sink,
                    )
                }
                AdminRequest::ServerCommand(_) => Err(AdminError::server_required()),
                AdminRequest::Query(_) | AdminRequest::Command(_) => {
                    execute_offline(config, request.clone(), sink)
                }
            },
        },
    )
}

/// Sends `request` only to the server of the data file `data`. Returns `None` if no server runs.
///
/// # Errors
/// Returns the same errors as [`send`].
pub(super) fn send_to_server(
    data: &Path,
    request: &AdminRequest,
    sink: &mut dyn FnMut(Value) -> bool,
) -> Result<Option<()>, AdminError> {
    retry_while_busy(
        &SystemClock::new(),
        &mut io::stderr(),
        || match AdminClient::connect(&socket_path(data))? {
            Some(server) => server.send(request, sink).map(Some),
            None => Ok(None),
        },
    )
}

/// Returns the warning of the running server that its app secret looks wrong. Only the server
/// receives the signatures of requests.
///
/// Returns `None` if no server runs for the data file `data`, if the server does not respond, or if
/// it has no such warning.
pub(super) fn app_secret_warning(data: &Path) -> Option<String> {
    let server = AdminClient::connect(&socket_path(data)).ok()??;
    let mut warning = None;
    let answered = server.send(&AdminQuery::Status.into(), &mut |row| {
        let status = serde_json::from_value::<StatusRow>(row).ok();
        let mut warnings = status.into_iter().flat_map(|status| status.warnings);
        warning = warnings.find(|text| wrong_app_secret::is_app_secret_warning(text));
        true
    });
    let warning = answered.ok().and(warning)?;
    Some(format!("the running server warns: {warning}"))
}

/// Repeats `attempt` while it returns [`ErrorCode::Busy`], for at most [`BUSY_TIMEOUT`]. Writes
/// once to `notices` what the command waits for.
fn retry_while_busy<T>(
    clock: &dyn Clock,
    notices: &mut dyn Write,
    mut attempt: impl FnMut() -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    let (began, seconds) = (clock.elapsed(), BUSY_TIMEOUT.as_secs());
    let mut has_notified = false;
    loop {
        let busy = match attempt() {
            Err(error) if error.code == ErrorCode::Busy => error,
            done => return done,
        };
        let waited = clock.elapsed().saturating_sub(began);
        if waited >= BUSY_TIMEOUT {
            let message = format!("{}: tried for {seconds} s; try again later", busy.message);
            return Err(AdminError { message, ..busy });
        }
        if waited >= NOTICE_DELAY && !mem::replace(&mut has_notified, true) {
            // The notice is optional, so an error of the writer is ignored.
            let _ = writeln!(notices, "{}: waiting up to {seconds} s", busy.message);
        }
        thread::park_timeout(RETRY_INTERVAL);
    }
}

/// Executes `request` on the data file of a stopped server, with the same code as the server.
fn execute_offline(
    config: &Config,
    request: AdminRequest,
    sink: &mut dyn FnMut(Value) -> bool,
) -> Result<(), AdminError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut options = store_options(config, false)?;
    // `check` must report what is wrong with a file that the store would refuse to serve. A copy
    // changes nothing.
    options.is_read_only = matches!(
        request,
        AdminRequest::Query(AdminQuery::CheckIntegrity | AdminQuery::CopyData)
    );
    let store = Store::start(options, Arc::clone(&clock))?;
    let answered = store.wait_open().map_err(AdminError::from).and_then(|()| {
        let handler = AdminHandler::new(
            store.clone(),
            clock,
            Reloadable::new(Catalog::from(config)),
            None,
        );
        handler.handle(&Principal::Shell, request, sink)
    });
    let closed = store.close();
    answered?;
    Ok(closed?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::{Millis, Timestamp};

    /// Runs a request against a server that is starting. Each of the first `tries_until_ready`
    /// attempts returns busy, and each attempt takes 250 ms.
    fn retry(tries_until_ready: usize) -> (Result<usize, AdminError>, String) {
        let clock = ManualClock::at(Timestamp::ZERO);
        let (mut tries, mut notices) = (0, Vec::new());
        let result = retry_while_busy(&clock, &mut notices, || {
            tries += 1;
            clock.advance(Millis::new(250));
            (tries > tries_until_ready)
                .then_some(tries)
                .ok_or_else(|| AdminError::starting(0))
        });
        (result, String::from_utf8(notices).unwrap())
    }

    #[test]
    fn command_waits_for_starting_server_and_notifies_once() {
        assert_eq!(retry(2), (Ok(3), String::new()), "not worth a word");
        let notice = "the server is starting (verifying the data file): waiting up to 30 s\n";
        assert_eq!(retry(20), (Ok(21), notice.to_owned()));
        let (refused, _) = retry(usize::MAX);
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Busy);
        let why = "(verifying the data file): tried for 30 s; try again later";
        assert_eq!(refused.message, format!("the server is starting {why}"));
    }

    #[test]
    fn other_errors_are_returned_immediately() {
        let mut tries = 0;
        let refused: Result<(), _> =
            retry_while_busy(&ManualClock::at(Timestamp::ZERO), &mut Vec::new(), || {
                tries += 1;
                Err(AdminError::server_required())
            });
        assert_eq!((refused, tries), (Err(AdminError::server_required()), 1));
    }
}
