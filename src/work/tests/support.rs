//! A feeder, a worker and a store that are moved by hand.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock::{Clock, ManualClock, SeededEntropy};
use crate::config::Config;
use crate::current::Current;
use crate::domain::arrival::{Arrival, Form};
use crate::domain::ids::{AgentName, Customer, FlowName, JobId, TeamName};
use crate::domain::job::Job;
use crate::domain::retry::RetryPolicy;
use crate::domain::routes::Routes;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Accept, Accepted, AddAgent, Distribute, LeadOrder, Snapshot, Store, StoreOptions};
use crate::work::Rules;
use crate::work::feeder::Feeder;
use crate::work::out::Task;
use crate::work::process::{JobError, Outcome};
use crate::work::worker::{Handler, Worker};

/// 2026-11-24T08:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

pub const POLICY: RetryPolicy =
    RetryPolicy { first: Millis::from_secs(5), ceiling: Millis::from_secs(6 * 60 * 60), attempts: 3 };

type Run = fn(JobId, &Job) -> Result<Outcome, JobError>;

/// A handler that is one function.
struct Double(Run);

impl Handler for Double {
    fn run(&self, _: &Snapshot, id: JobId, job: &Job) -> Result<Outcome, JobError> {
        (self.0)(id, job)
    }
}

/// What a job does if a test does not say otherwise: it leads to a lead.
#[expect(clippy::unnecessary_wraps, reason = "a handler may fail")]
pub fn carry(_: JobId, _: &Job) -> Result<Outcome, JobError> {
    let lead = LeadOrder { flow: flow(), team: team(), sticky: false, customer: Customer::default(), chosen: None };
    Ok(Outcome::Carried { lead: Some(lead) })
}

pub struct Desk {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub feeder: Feeder,
    pub tasks: Receiver<Task>,
    pub worker: Worker,
    pub stop: Option<Sender<std::convert::Infallible>>,
    pub routes: Current<Routes>,
}

impl Desk {
    pub fn new() -> Self {
        Self::with(carry)
    }

    pub fn with(run: Run) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(folder, "data.redb", 100, run)
    }

    pub fn at(folder: tempfile::TempDir, file: &str, out_max: usize, run: Run) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let as_clock: Arc<dyn Clock> = clock.clone();
        let routes = Current::new(Routes::default());
        let store = start(&folder.path().join(file), Arc::clone(&as_clock), routes.clone());
        let rules = Current::new(Rules { retry: POLICY, ..Rules::from(&config()) });
        let (feeder, tasks) = Feeder::new(store.clone(), Arc::clone(&as_clock), out_max, rules.clone());
        let (stop, stopped) = bounded(0);
        let worker = Worker {
            store: store.clone(),
            clock: as_clock,
            entropy: Arc::new(SeededEntropy::new(1)),
            rules,
            handler: Arc::new(Double(run)),
            tasks: tasks.clone(),
            stop: stopped,
        };
        Self { folder, clock, store, feeder, tasks, worker, stop: Some(stop), routes }
    }

    /// One step of the feeder, and what it handed out, not yet run.
    pub fn hand_out(&mut self) -> Vec<Task> {
        self.feeder.step();
        self.tasks.try_iter().collect()
    }

    /// Runs `tasks` and waits until their outcomes are on disk and the feeder could hear of it.
    pub fn run(&self, tasks: Vec<Task>) -> Vec<JobId> {
        let run = tasks.into_iter().map(|task| {
            let job = task.hold.job();
            self.worker.run_one(task);
            job
        });
        let jobs = run.collect();
        self.settle();
        jobs
    }

    /// Hands out, runs, waits.
    pub fn work(&mut self) -> Vec<JobId> {
        let tasks = self.hand_out();
        self.run(tasks)
    }

    /// Waits for the writer: it answers in order.
    pub fn settle(&self) {
        self.store.ask(Distribute).unwrap();
    }

    pub fn accept(&self, token: &str) -> JobId {
        let arrivals = vec![Arrival::Form(Box::new(form(token)))];
        match self.store.ask(Accept { arrivals }).unwrap().remove(0) {
            Accepted::New { job, .. } => job,
            other => panic!("{token}: {other:?}"),
        }
    }

    pub fn job(&self, id: JobId) -> Job {
        self.store.read().unwrap().job(id).unwrap().unwrap()
    }
}

pub fn add_agent(store: &Store, name: &str) {
    let name = AgentName::new(name).unwrap();
    store.ask(AddAgent { name, team: team(), weight: 1, max: None, max_per_day: None }).unwrap();
}

/// Starts a store on the file at `path`, which need not be there yet.
pub fn start(path: &Path, clock: Arc<dyn Clock>, routes: Current<Routes>) -> Store {
    let mut options = StoreOptions::new(path.to_owned());
    options.free_space_min = 0;
    options.routes = routes;
    let store = Store::start(options, clock).unwrap();
    store.wait_open().unwrap();
    store
}

/// A config with the flow whose forms [`form`] makes.
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

pub fn flow() -> FlowName {
    FlowName::new("appointment").unwrap()
}

pub fn team() -> TeamName {
    TeamName::new("sales").unwrap()
}

pub fn form(token: &str) -> Form {
    Form::plain(&flow(), token, "{}")
}
