//! The threads that do the work: started together, ended together.
//!
//! At the end nothing is interrupted: the feeder hands out no more, each worker ends the job it has, and what was only
//! handed out stays due. Which thread does what is in the files beside this one.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::clock::{Clock, Entropy};
use crate::config::Workers;
use crate::current::Current;
use crate::domain::ids::JobId;
use crate::store::Store;

use super::WorkError;
use super::feeder::Feeder;
use super::out::Out;
use super::process::Carrier;
use super::rules::Rules;
use super::sweeper::Sweeper;
use super::worker::{Handler, Worker};

/// The threads that do the work, until it is dropped or [`Work::stop`] is called.
#[derive(Debug)]
pub struct Work {
    out: Out,
    /// Nothing is ever sent: it closes when it is time to end.
    stop: Sender<Infallible>,
    /// Nothing is ever received: it closes when the last thread has ended.
    ended: Receiver<Infallible>,
    threads: Vec<JoinHandle<()>>,
}

impl Work {
    /// Starts the feeder, the workers and the sweeper, which go by `rules` as they are at each moment. `store` must be open: what was under way when the process died
    /// is known from then on.
    ///
    /// # Errors
    /// [`WorkError::Thread`]; the threads that were started end again.
    pub fn start(
        workers: &Workers,
        rules: &Current<Rules>,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, WorkError> {
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded(0);
        let (feeder, tasks) = Feeder::new(store.clone(), Arc::clone(clock), workers.queue, rules.clone());
        let handler: Arc<dyn Handler> = Arc::new(Carrier { rules: rules.clone() });
        let mut work = Self { out: feeder.out(), stop, ended, threads: Vec::new() };
        for number in 1..=workers.threads.max(1) {
            let worker = Worker {
                store: store.clone(),
                clock: Arc::clone(clock),
                entropy: Arc::clone(entropy),
                rules: rules.clone(),
                handler: Arc::clone(&handler),
                tasks: tasks.clone(),
                stop: stopped.clone(),
            };
            work.spawn(format!("worker-{number}"), &alive, move || worker.run())?;
        }
        let sweeper = Sweeper::new(store.clone(), Arc::clone(clock), rules.clone());
        let stop_sweeper = stopped.clone();
        work.spawn("sweeper".to_owned(), &alive, move || sweeper.run(&stop_sweeper))?;
        work.spawn("feeder".to_owned(), &alive, move || feeder.run(&stopped))?;
        Ok(work)
    }

    /// Jobs handed out and not yet over: running, about to run, or about to be committed.
    #[must_use]
    pub fn running(&self) -> usize {
        self.out.len()
    }

    /// Something to ask which ones, in ascending order, at any time from anywhere, also after the end.
    pub fn watch(&self) -> impl Fn() -> Vec<JobId> + Send + Sync + use<> {
        let out = self.out.clone();
        move || out.ids()
    }

    /// Hands out nothing more and waits until the jobs that run have run, `deadline` at the most. Those that were only
    /// handed out stay due. What the last ones led to is committed when the store closes.
    pub fn stop(self, deadline: Duration) {
        drop(self.stop);
        match self.ended.recv_timeout(deadline) {
            Err(RecvTimeoutError::Disconnected) => {
                for thread in self.threads {
                    if thread.join().is_err() {
                        tracing::error!("a thread of the workers panicked");
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(
                    jobs.out = self.out.len(),
                    "some jobs did not end in time: they run again at the next start"
                );
            }
            Ok(never) => match never {},
        }
    }

    fn spawn(
        &mut self,
        name: String,
        alive: &Sender<Infallible>,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), WorkError> {
        let alive = alive.clone();
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            run();
            drop(alive);
        });
        self.threads.push(thread.map_err(|error| WorkError::Thread { name, error })?);
        Ok(())
    }
}
