//! Starts and stops the threads of the job system.
//!
//! At shutdown no job is interrupted. The dispatcher dispatches no more jobs, and each worker
//! finishes its current job. Dispatched jobs that have not started stay due.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::clock::{Clock, Entropy};
use crate::config::WorkerSettings;
use crate::domain::ids::JobId;
use crate::reloadable::Reloadable;
use crate::store::Store;

use super::JobSystemError;
use super::dispatcher::Dispatcher;
use super::handler::{JobHandler, SubmissionHandler};
use super::lease::InFlightJobs;
use super::retention_task::RetentionTask;
use super::settings::JobSettings;
use super::worker::Worker;

/// Threads of the job system. The threads run until the value is dropped or [`JobSystem::stop`] is
/// called.
#[derive(Debug)]
pub struct JobSystem {
    in_flight: InFlightJobs,
    /// Channel without messages. It closes at shutdown.
    stop: Sender<Infallible>,
    /// Channel without messages. It closes when the last thread has ended.
    ended: Receiver<Infallible>,
    threads: Vec<JoinHandle<()>>,
}

impl JobSystem {
    /// Starts the dispatcher, the workers and the retention task, which always use the current
    /// settings. `store` must be open, because only then the suspect jobs of a crash are known.
    ///
    /// # Errors
    /// [`JobSystemError::Thread`]. The threads that were already started stop again.
    pub fn start(
        workers: &WorkerSettings,
        settings: &Reloadable<JobSettings>,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, JobSystemError> {
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded(0);
        let (dispatcher, tasks) = Dispatcher::new(
            store.clone(),
            Arc::clone(clock),
            workers.queue,
            settings.clone(),
        );
        let handler: Arc<dyn JobHandler> = Arc::new(SubmissionHandler {
            settings: settings.clone(),
        });
        let mut system = Self {
            in_flight: dispatcher.in_flight(),
            stop,
            ended,
            threads: Vec::new(),
        };
        for number in 1..=workers.threads.max(1) {
            let worker = Worker {
                store: store.clone(),
                clock: Arc::clone(clock),
                entropy: Arc::clone(entropy),
                settings: settings.clone(),
                handler: Arc::clone(&handler),
                tasks: tasks.clone(),
                stop: stopped.clone(),
            };
            system.spawn_thread(format!("worker-{number}"), &alive, move || worker.run())?;
        }
        let retention_task = RetentionTask::new(store.clone(), Arc::clone(clock), settings.clone());
        let stop_retention = stopped.clone();
        system.spawn_thread("retention_task".to_owned(), &alive, move || {
            retention_task.run(&stop_retention);
        })?;
        system.spawn_thread("dispatcher".to_owned(), &alive, move || {
            dispatcher.run(&stopped);
        })?;
        Ok(system)
    }

    /// Returns a function that lists the IDs of the jobs in flight, in ascending order. Any thread
    /// may call it at any time, even after shutdown.
    pub fn watch_in_flight(&self) -> impl Fn() -> Vec<JobId> + Send + Sync + use<> {
        let out = self.in_flight.clone();
        move || out.ids()
    }

    /// Stops the dispatcher and waits for running jobs, at most for `deadline`. Dispatched jobs
    /// that have not started stay due. The store commits the last outcomes when it closes.
    pub fn stop(self, deadline: Duration) {
        drop(self.stop);
        match self.ended.recv_timeout(deadline) {
            Err(RecvTimeoutError::Disconnected) => {
                for thread in self.threads {
                    if thread.join().is_err() {
                        tracing::error!("a thread of the job system panicked");
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(
                    jobs.out = self.in_flight.len(),
                    "some jobs did not finish in time: they run again at the next start"
                );
            }
            Ok(never) => match never {},
        }
    }

    fn spawn_thread(
        &mut self,
        name: String,
        alive: &Sender<Infallible>,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), JobSystemError> {
        let alive = alive.clone();
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            run();
            drop(alive);
        });
        self.threads
            .push(thread.map_err(|error| JobSystemError::Thread {
                name,
                source: error,
            })?);
        Ok(())
    }
}
