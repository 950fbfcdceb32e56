//! Runs at most one task for each name of the config. A reload of the config starts, ends and
//! awaits tasks.
//!
//! The callers define the tasks. See [`crate::delivery`] for destination workers and
//! [`crate::gateways`] for session monitors.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Tasks by name. `H` is the handle that sends commands to a task. Dropping the handle asks the
/// task to end.
#[derive(Debug)]
pub struct Tasks<N, H> {
    is_stopped: bool,
    running: BTreeMap<N, (H, JoinHandle<()>)>,
    /// Tasks that were asked to end and may still run.
    ending: BTreeMap<N, JoinHandle<()>>,
}

impl<N, H> Default for Tasks<N, H> {
    fn default() -> Self {
        Self {
            is_stopped: false,
            running: BTreeMap::new(),
            ending: BTreeMap::new(),
        }
    }
}

impl<N: Ord, H> Tasks<N, H> {
    /// Returns `true` after [`Self::stop`]. No task may start after that, because no caller would
    /// wait for it.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Returns the handle of a task that runs and was not asked to end.
    #[must_use]
    pub fn get(&self, name: &N) -> Option<&H> {
        self.running.get(name).map(|(handle, _)| handle)
    }

    /// Asks all tasks to end for which `stays` returns `false`.
    pub fn retain(&mut self, stays: impl Fn(&N, &H) -> bool) {
        self.ending.retain(|_, task| !task.is_finished());
        let gone = self
            .running
            .extract_if(.., |name, (handle, _)| !stays(name, handle));
        self.ending
            .extend(gone.map(|(name, (_, task))| (name, task)));
    }

    /// Starts a task on `runtime`. `task` runs as soon as the previous task with this name has
    /// ended.
    pub fn begin(
        &mut self,
        runtime: &Handle,
        name: N,
        handle: H,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let before = self.ending.remove(&name);
        let task = runtime.spawn(async move {
            if let Some(before) = before {
                // The panic hook has already logged a panic.
                let _ = before.await;
            }
            task.await;
        });
        self.running.insert(name, (handle, task));
    }

    /// Asks all tasks to end and prevents new tasks. Returns the tasks, for [`finish`].
    #[must_use]
    pub fn stop(&mut self) -> Vec<JoinHandle<()>> {
        let stopped = std::mem::replace(
            self,
            Self {
                is_stopped: true,
                ..Self::default()
            },
        );
        stopped
            .running
            .into_values()
            .map(|(_, task)| task)
            .chain(stopped.ending.into_values())
            .collect()
    }
}

/// Waits until all of `tasks` have ended, at most for `deadline`. Returns `false` if some still
/// run.
pub async fn finish(tasks: Vec<JoinHandle<()>>, deadline: Duration) -> bool {
    let all = async {
        for task in tasks {
            // The panic hook has already logged a panic.
            let _ = task.await;
        }
    };
    timeout(deadline, all).await.is_ok()
}
