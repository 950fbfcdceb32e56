//! Runs the backups of a server: the upload of the log and of bases, and the copies in a folder.
//! Emits an alert for each new problem.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::runtime::Handle;

use super::base_upload::{BASE_CHECK_INTERVAL, BaseUpload};
use super::context::BackupContext;
use super::continuity::LocalLog;
use super::copies::{copy_store, list_names, remove_old_copies};
use super::error::BackupError;
use super::log_upload::{LogUpload, UPLOAD_INTERVAL};
use super::state::BackupStatus;
use super::status::{BackupMonitor, list_problems};
use crate::clock::{Clock, Entropy};
use crate::config::{BackupSettings, CopySettings};
use crate::domain::backup::copies::parse_copy_name;
use crate::domain::time::Timestamp;
use crate::store::{ChangeLogState, EndChangeLog, Store, StoreError};

/// Pause between two looks at the time of the next copy, and at the problems.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Backups of a running server.
pub struct BackupService {
    context: BackupContext,
    /// Dropping this end stops the threads.
    stop: Option<Sender<()>>,
    /// Closed when all threads have ended.
    ended: Receiver<()>,
}

impl BackupService {
    /// Starts the backups that `settings` ask for. `store` must be open.
    ///
    /// # Errors
    /// [`BackupError`] if the store can't commit, or the system can't start a thread.
    pub fn start(
        settings: BackupSettings,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
        runtime: Handle,
    ) -> Result<Self, BackupError> {
        let context = BackupContext {
            settings: Arc::new(settings),
            store: store.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            runtime,
            state: Arc::default(),
        };
        end_unused_log(&context)?;
        if context.settings.location.is_some() {
            // The upload corrects this as soon as it reaches the store.
            let uploaded = LocalLog::read(store)?.probably_uploaded();
            context.state.update(|state| state.uploaded = uploaded);
        }
        let ((stop_tx, stop), (ended_tx, ended)) = (bounded::<()>(0), bounded::<()>(0));
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let ended_tx = ended_tx.clone();
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
                work();
                drop(ended_tx);
            });
            let failed = BackupError::file("start the thread of", Path::new(name));
            thread.map(drop).map_err(failed)
        };
        if let Some(location) = &context.settings.location {
            let mut log = LogUpload::new(context.clone(), location.clone());
            let log_stop = stop.clone();
            spawn(
                "backup log",
                Box::new(move || {
                    repeat(&log_stop, UPLOAD_INTERVAL, || log.step());
                    // The last commits of the server.
                    log.step();
                }),
            )?;
            let mut base = BaseUpload::new(context.clone(), location.clone(), stop.clone());
            let base_stop = stop.clone();
            spawn(
                "backup base",
                Box::new(move || {
                    repeat(&base_stop, BASE_CHECK_INTERVAL, || base.step());
                }),
            )?;
        }
        if let Some(copies) = context.settings.copies.clone() {
            let (context, copies_stop) = (context.clone(), stop.clone());
            spawn(
                "backup copies",
                Box::new(move || {
                    repeat(&copies_stop, CHECK_INTERVAL, || {
                        copy_if_due(&context, &copies);
                    });
                }),
            )?;
        }
        let mut monitor = BackupMonitor::new(context.clone());
        spawn(
            "backup monitor",
            Box::new(move || {
                repeat(&stop, CHECK_INTERVAL, || monitor.step());
            }),
        )?;
        Ok(Self {
            context,
            stop: Some(stop_tx),
            ended,
        })
    }

    /// Returns a function that returns the status. The status is `None` if no backups are
    /// configured.
    pub fn status(&self) -> impl Fn() -> Option<BackupStatus> + Send + Sync + use<> {
        let context = self.context.clone();
        move || {
            let settings = &context.settings;
            if settings.location.is_none() && settings.copies.is_none() {
                return None;
            }
            let state = context.state.read();
            Some(BackupStatus {
                url: settings.location.as_ref().map(ToString::to_string),
                behind_seconds: super::status::seconds_behind(&context, &state),
                base_at: state.base_at,
                copied_at: state.copied_at,
                problems: list_problems(&context, &state)
                    .into_iter()
                    .map(|problem| problem.text)
                    .collect(),
            })
        }
    }

    /// Uploads the last commits and stops, within `timeout`.
    pub fn stop(mut self, timeout: Duration) {
        drop(self.stop.take());
        // The threads send nothing: the channel closes when they end.
        let _ = self.ended.recv_timeout(timeout);
    }
}

/// Calls `step` until the other end of `ended` is closed.
fn repeat(ended: &Receiver<()>, interval: Duration, mut step: impl FnMut()) {
    loop {
        step();
        if ended.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Ends a log that a copy or an earlier config left.
fn end_unused_log(context: &BackupContext) -> Result<(), StoreError> {
    let (header, _) = context.store.change_log_state()?;
    let is_used = matches!(header.state, ChangeLogState::Generation { .. })
        && context.settings.location.is_some();
    if !is_used && header.state.is_recording() {
        context.store.execute_blocking(EndChangeLog)?;
    }
    context.store.tidy_change_log()
}

/// Makes a copy if the last one is old enough, and removes old ones.
fn copy_if_due(context: &BackupContext, copies: &CopySettings) {
    let now = context.clock.now();
    let made = find_last_copy(copies, now).and_then(|last| {
        context.state.update(|state| state.copied_at = last);
        if last.is_some_and(|last| now.since(last) < copies.every) {
            return Ok(());
        }
        let new = copy_store(&context.store, &copies.folder, &context.clock)?;
        tracing::info!(
            backup.file = new.file.display().to_string(),
            backup.rows = new.summary.rows,
            "the data file was copied"
        );
        remove_old_copies(&copies.folder, copies.keep, context.clock.now())?;
        context.state.update(|state| state.copied_at = Some(now));
        Ok(())
    });
    let error = made.err().map(|error| error.to_string());
    let is_new = error.is_some() && context.state.read().copy_error != error;
    if let Some(error) = error.as_ref().filter(|_| is_new) {
        tracing::warn!(error, "the copy of the data file failed: it is tried again");
    }
    context.state.update(|state| {
        state.is_copy_known |= error.is_none();
        state.copy_error = error;
    });
}

/// Returns the time of the last copy. A time that is ahead is from a wrong clock, and does not
/// count.
fn find_last_copy(copies: &CopySettings, now: Timestamp) -> Result<Option<Timestamp>, BackupError> {
    let folder = &copies.folder;
    std::fs::create_dir_all(folder).map_err(BackupError::file("create", folder))?;
    let names = list_names(folder)?;
    let times = names.iter().filter_map(|name| parse_copy_name(name));
    Ok(times.filter(|at| *at <= now).max())
}
