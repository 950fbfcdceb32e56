//! Test harness: a dispatcher, a worker and a store that a test drives step by step.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock::{Clock, ManualClock, SeededEntropy};
use crate::config::Config;
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::ids::{AgentName, Customer, FlowName, JobId, TeamName};
use crate::domain::job::Job;
use crate::domain::job::retry::RetryPolicy;
use crate::domain::submission::inbound::{Inbound, InboundSubmission};
use crate::domain::time::{Millis, Timestamp};
use crate::intake::Catalog;
use crate::jobs::JobSettings;
use crate::jobs::dispatcher::Dispatcher;
use crate::jobs::handler::{JobError, JobHandler, JobOutcome};
use crate::jobs::lease::{JobTask, LeaseResult};
use crate::jobs::worker::Worker;
use crate::reloadable::Reloadable;
use crate::store::{
    AcceptInbound, AcceptOutcome, AddAgent, AssignWaitingLeads, NewLead, Snapshot, Store,
    StoreOptions, Transaction,
};

/// Start time of the manual clock: 2026-11-24T08:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

pub const POLICY: RetryPolicy = RetryPolicy {
    initial_delay: Millis::from_secs(5),
    max_delay: Millis::from_secs(6 * 60 * 60),
    max_attempts: 3,
};

type Run = fn(JobId, &Job) -> Result<JobOutcome, JobError>;

/// Handler that calls a function.
struct StubHandler(Run);

impl JobHandler for StubHandler {
    fn run(&self, _: &Snapshot, id: JobId, job: &Job) -> Result<JobOutcome, JobError> {
        (self.0)(id, job)
    }
}

/// Default outcome of a job in tests: a lead.
#[expect(clippy::unnecessary_wraps, reason = "a handler may fail")]
pub fn lead_outcome(_: JobId, _: &Job) -> Result<JobOutcome, JobError> {
    let lead = NewLead {
        flow: flow(),
        team: team(),
        is_sticky: false,
        customer: Customer::default(),
        chosen_agent: None,
    };
    Ok(JobOutcome::SubmissionProcessed { lead: Some(lead) })
}

pub struct JobHarness {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub dispatcher: Dispatcher,
    pub tasks: Receiver<JobTask>,
    pub worker: Worker,
    pub stop: Option<Sender<std::convert::Infallible>>,
    pub routes: Arc<ArcSwap<Subscriptions>>,
}

impl JobHarness {
    pub fn new() -> Self {
        Self::with(lead_outcome)
    }

    pub fn with(run: Run) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(folder, "data.redb", 100, run)
    }

    pub fn at(folder: tempfile::TempDir, file: &str, max_in_flight: usize, run: Run) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let as_clock: Arc<dyn Clock> = clock.clone();
        let routes: Arc<ArcSwap<Subscriptions>> = Arc::default();
        let store = start(
            &folder.path().join(file),
            Arc::clone(&as_clock),
            Reloadable::part_of(&routes, Arc::clone),
        );
        let settings = Reloadable::new(JobSettings {
            retry: POLICY,
            ..settings(&config())
        });
        let (dispatcher, tasks) = Dispatcher::new(
            store.clone(),
            Arc::clone(&as_clock),
            max_in_flight,
            settings.clone(),
        );
        let (stop, stopped) = bounded(0);
        let worker = Worker {
            store: store.clone(),
            clock: as_clock,
            entropy: Arc::new(SeededEntropy::new(1)),
            settings,
            handler: Arc::new(StubHandler(run)),
            tasks: tasks.clone(),
            stop: stopped,
        };
        Self {
            folder,
            clock,
            store,
            dispatcher,
            tasks,
            worker,
            stop: Some(stop),
            routes,
        }
    }

    /// Runs one step of the dispatcher. Returns the dispatched jobs, which have not run yet.
    pub fn dispatch(&mut self) -> Vec<JobTask> {
        self.dispatcher.step();
        self.tasks.try_iter().collect()
    }

    /// Runs `tasks` and waits until their outcomes are on disk and reported to the dispatcher.
    pub fn run(&self, tasks: Vec<JobTask>) -> Vec<JobId> {
        let run = tasks.into_iter().map(|task| {
            let job = task.lease.job_id();
            self.worker.run_task(task);
            job
        });
        let jobs = run.collect();
        self.settle();
        jobs
    }

    /// Dispatches due jobs, runs them and waits for their outcomes.
    pub fn run_due(&mut self) -> Vec<JobId> {
        let tasks = self.dispatch();
        self.run(tasks)
    }

    /// Executes a transaction, which must succeed.
    pub fn execute<T: Transaction>(&self, transaction: T) -> T::Outcome {
        self.store.execute_blocking(transaction).unwrap()
    }

    /// Waits for the writer, which processes transactions in order.
    pub fn settle(&self) {
        self.execute(AssignWaitingLeads);
    }

    pub fn accept(&self, token: &str) -> JobId {
        let inbound = vec![Inbound::Submission(Box::new(form(token)))];
        match self.execute(AcceptInbound { inbound }).remove(0) {
            AcceptOutcome::New { job_id: job, .. } => job,
            other => panic!("{token}: {other:?}"),
        }
    }

    /// Advances the clock by a number of seconds.
    pub fn advance_secs(&self, seconds: u64) {
        self.clock.advance(Millis::from_secs(seconds));
    }

    /// Returns a snapshot of the store.
    pub fn read(&self) -> Snapshot {
        self.store.read().unwrap()
    }

    pub fn job(&self, id: JobId) -> Job {
        self.read().job(id).unwrap().unwrap()
    }

    /// Stops this process without a clean shutdown, and opens the store's file as it was.
    pub fn crash(self, run: Run) -> Self {
        let path = self.folder.path();
        std::fs::copy(path.join("data.redb"), path.join("crashed.redb")).unwrap();
        self.store.close().unwrap();
        Self::at(self.folder, "crashed.redb", 100, run)
    }

    /// Runs one step of the dispatcher, and ends all dispatched jobs with this result.
    pub fn finish_all(&mut self, result: impl Fn() -> LeaseResult) {
        for task in self.dispatch() {
            task.lease.finish(result());
        }
    }
}

pub fn add_agent(store: &Store, name: &str) {
    let name = AgentName::new(name).unwrap();
    store
        .execute_blocking(AddAgent {
            name,
            team: team(),
            weight: 1,
            max_leads: None,
            max_leads_per_day: None,
        })
        .unwrap();
}

/// Starts a store on the file at `path`. Creates the file if it does not exist.
pub fn start(path: &Path, clock: Arc<dyn Clock>, routes: Reloadable<Subscriptions>) -> Store {
    let mut options = StoreOptions::new(path.to_owned());
    options.min_free_bytes = 0;
    options.subscriptions = routes;
    let store = Store::start(options, clock).unwrap();
    store.wait_open().unwrap();
    store
}

/// Returns a config with the flow of the forms that [`form`] creates.
pub fn config() -> Config {
    let text = r#"
        [workers]
        threads = 2
        queue = 16
        [flows.appointment]
        path = "/form"
        encryption = "none"
        lead = { team = "sales" }
    "#;
    Config::parse(Path::new("config.toml"), text).unwrap()
}

pub fn settings(config: &Config) -> JobSettings {
    JobSettings::new(config, Arc::new(Catalog::from(config)))
}

pub fn flow() -> FlowName {
    FlowName::new("appointment").unwrap()
}

pub fn team() -> TeamName {
    TeamName::new("sales").unwrap()
}

pub fn form(token: &str) -> InboundSubmission {
    InboundSubmission::plain(&flow(), token, "{}")
}
