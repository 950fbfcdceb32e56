//! Receives the signals of the process: `SIGTERM` and `SIGINT` stop the server, `SIGHUP` reloads
//! its config.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::ServeError;
use crate::store::{Store, StoreError};

/// Receivers of all signals that the server handles.
pub(super) struct Signals {
    pub(super) stop: StopSignals,
    /// Receiver of `SIGHUP`, which reloads the config.
    pub(super) hangup: Signal,
}

/// Receivers of the stop signals `SIGTERM` and `SIGINT`.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// Returns the error of the system if a handler can't be installed.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            stop: StopSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl StopSignals {
    /// Waits for the store with `wait`. Returns `false` if a stop signal arrived first.
    pub(super) async fn wait_for_store(
        &mut self,
        store: &Store,
        wait: fn(&Store) -> Result<(), StoreError>,
    ) -> Result<bool, ServeError> {
        let store = store.clone();
        let waiting = tokio::task::spawn_blocking(move || wait(&store));
        tokio::select! {
            () = self.next_signal() => Ok(false),
            waited = waiting => {
                waited.map_err(|error| ServeError::System(io::Error::other(error)))??;
                Ok(true)
            }
        }
    }

    /// Waits for the next stop signal.
    pub(super) async fn next_signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ends the process on the next stop signal. Acknowledged submissions are on disk, and the next
    /// start continues from there.
    pub(super) async fn exit_on_next_signal(mut self) -> Infallible {
        self.next_signal().await;
        std::process::exit(1)
    }
}
