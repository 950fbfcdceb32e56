//! `flowgate follow`: keeps the data file of a second machine ready, and becomes the server when an
//! admin promotes it.
//!
//! The process does not listen for forms until then. The admin socket answers `status` and
//! `promote`. After the promotion the process replaces itself by `flowgate serve`, and keeps its
//! process ID and the sockets of the service manager.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, never};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::error::ServeError;
use super::signals::Signals;
use crate::admin::{AdminError, AdminHandler, FollowerHooks};
use crate::admin_server::{SocketServer, socket_path};
use crate::backup::{BackupError, FOLLOW_INTERVAL, FollowStatus, Follower, Promotion, is_promoted};
use crate::clock::{Clock, SystemClock};
use crate::config::{BackupLocation, Config};
use crate::store::StoreError;
use crate::telemetry::LogGuard;

/// Time to wait for another process that has the data file open, as `flowgate serve` waits.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two tries to open the data file.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Result of a promotion, for the admin who asked for it.
type PromotionReply = Sender<Result<Promotion, AdminError>>;

/// Follows the backup at `location` until a stop signal, or until the file is promoted. Then, or if
/// the file was promoted before, replaces the process by a server. `named` is the path of the
/// config on the command line.
///
/// # Errors
/// Returns `ServeError` if the file can't follow the backup.
pub fn run(
    config: &Config,
    named: Option<&Path>,
    location: &BackupLocation,
) -> Result<(), ServeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    if !wait_and_check_promoted(&config.data, &clock)? {
        let log = LogGuard::start(&config.log).map_err(ServeError::System)?;
        let runtime = Runtime::new().map_err(ServeError::System)?;
        let is_promoted = runtime.block_on(follow(config, location, clock))?;
        runtime.shutdown_background();
        drop(log);
        if !is_promoted {
            return Ok(());
        }
    }
    Err(ServeError::System(become_server(named)))
}

/// Calls [`is_promoted`]. Waits up to [`LOCK_TIMEOUT`] for another process that has the file open,
/// such as a command or the server before a restart.
fn wait_and_check_promoted(data: &Path, clock: &Arc<dyn Clock>) -> Result<bool, BackupError> {
    let deadline = clock.elapsed().saturating_add(LOCK_TIMEOUT);
    loop {
        match is_promoted(data, clock) {
            Err(BackupError::Store(StoreError::InUse(_))) if clock.elapsed() < deadline => {
                // Nothing is ever received: this is a pause.
                let _ = never::<()>().recv_timeout(LOCK_RETRY_INTERVAL);
            }
            result => return result,
        }
    }
}

/// Replaces the process by a server. Returns only if that fails.
fn become_server(named: Option<&Path>) -> io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = Command::new(program);
    if let Some(config) = named {
        command.arg("--config").arg(config);
    }
    command.arg("serve").exec()
}

/// Follows until a stop signal or a promotion. Returns `true` after a promotion.
async fn follow(
    config: &Config,
    location: &BackupLocation,
    clock: Arc<dyn Clock>,
) -> Result<bool, ServeError> {
    let Signals { mut stop, .. } = Signals::install().map_err(ServeError::System)?;
    let mut follower = Follower::new(location, &config.backup.s3, &config.data, clock)?;
    let status = Arc::new(Mutex::new(follower.status()));
    let (promote_tx, mut promotions) = mpsc::channel(1);
    let socket = start_socket(&config.data, Arc::clone(&status), promote_tx)?;
    tracing::info!(
        backup.url = location.to_string(),
        "following the backup; `flowgate promote` makes this machine serve"
    );
    loop {
        follower.step().await;
        *status.lock() = follower.status();
        let reply = tokio::select! {
            () = stop.next_signal() => return Ok(false),
            () = tokio::time::sleep(FOLLOW_INTERVAL) => continue,
            reply = promotions.recv() => reply,
        };
        let promoted = follower.promote().await;
        let has_promoted = promoted.is_ok();
        if let Some(reply) = reply {
            let _ = reply.send(promoted.map_err(|error| AdminError::failed(error.to_string())));
        }
        if has_promoted {
            tracing::info!("this machine was promoted: it becomes the server");
            // The process is replaced. Without this, the command would get no response.
            let _ = tokio::task::spawn_blocking(move || socket.finish()).await;
            return Ok(true);
        }
    }
}

/// Opens the admin socket.
fn start_socket(
    data: &Path,
    status: Arc<Mutex<FollowStatus>>,
    promote_tx: mpsc::Sender<PromotionReply>,
) -> Result<SocketServer, ServeError> {
    let hooks = FollowerHooks {
        status: Arc::new(move || status.lock().clone()),
        promote: Arc::new(move || {
            let (reply_tx, reply) = bounded(1);
            let busy = || AdminError::failed("the promotion is in progress");
            promote_tx.try_send(reply_tx).map_err(|_| busy())?;
            reply.recv().unwrap_or_else(|_| Err(busy()))
        }),
    };
    let handler = AdminHandler::following(hooks);
    SocketServer::start(socket_path(data), Arc::new(move || Ok(handler.clone())))
        .map_err(ServeError::Socket)
}

impl From<BackupError> for AdminError {
    fn from(error: BackupError) -> Self {
        Self::failed(error.to_string())
    }
}
