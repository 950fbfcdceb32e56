//! A store on a file of its own, and things to put into it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::ManualClock;
use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::ids::{AgentName, Customer, FlowName, JobId, MessageId, TeamName};
use crate::domain::job::Attempt;
use crate::domain::submission::{Channel, IdempotencyKey};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Accept, Accepted, AddAgent, Finish, Finished, LeadOrder, Store, StoreOptions};

/// 2026-11-24T08:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

pub struct Bench {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Store,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut StoreOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let store = open(folder.path().join("data.redb"), &clock, change);
        Self { folder, clock, store }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data.redb")
    }

    /// Closes the file and opens it again.
    pub fn reopen(self) -> Self {
        self.store.close().unwrap();
        let store = open(self.path(), &self.clock, |_| {});
        Self { store, ..self }
    }

    pub fn accept(&self, form: Form) -> Accepted {
        let arrivals = vec![Arrival::Form(Box::new(form))];
        self.store.ask(Accept { arrivals }).unwrap().remove(0)
    }

    /// A message of which nothing can be made.
    pub fn accept_unreadable(&self, message: &str) -> Accepted {
        let unreadable = Unreadable {
            message_key: Some(IdempotencyKey::of_message(&MessageId::new(message).unwrap())),
            elsewhere: Vec::new(),
            join: None,
            reason: "it makes no sense".to_owned(),
            payload: "{}".to_owned(),
        };
        let arrivals = vec![Arrival::Unreadable(Box::new(unreadable))];
        self.store.ask(Accept { arrivals }).unwrap().remove(0)
    }

    pub fn accept_new(&self, token: &str) -> JobId {
        match self.accept(form(token, "{}")) {
            Accepted::New { job, .. } => job,
            other => panic!("{token}: {other:?}"),
        }
    }

    pub fn finish(&self, job: JobId) -> Finished {
        let order = LeadOrder { flow: flow(), team: team(), sticky: true, customer: Customer::default(), chosen: None };
        self.store.ask(Finish { job, attempt: attempt(None), lead: Some(order) }).unwrap()
    }

    pub fn add_agent(&self, name: &str, max: Option<u32>) {
        let name = AgentName::new(name).unwrap();
        self.store.ask(AddAgent { name, team: team(), weight: 1, max, max_per_day: None }).unwrap();
    }

    /// Every invariant holds.
    #[track_caller]
    pub fn check(&self) {
        let report = crate::store::check(&self.store.read().unwrap()).unwrap();
        assert_eq!(report.findings, []);
    }
}

pub fn open(path: PathBuf, clock: &Arc<ManualClock>, change: impl FnOnce(&mut StoreOptions)) -> Store {
    let mut options = StoreOptions { free_space_min: 0, ..StoreOptions::new(path) };
    change(&mut options);
    let clock: Arc<dyn crate::clock::Clock> = clock.clone();
    let store = Store::start(options, clock).unwrap();
    store.wait_open().unwrap();
    store
}

pub fn flow() -> FlowName {
    FlowName::new("appointment").unwrap()
}

pub fn team() -> TeamName {
    TeamName::new("sales").unwrap()
}

pub fn attempt(error: Option<&str>) -> Attempt {
    Attempt { number: 0, started_at: START, took: Millis::new(1), error: error.map(str::to_owned) }
}

/// A plain form with a token.
pub fn form(token: &str, data: &str) -> Form {
    Form::plain(&flow(), token, data)
}

/// The same form, come by webhook.
pub fn by_webhook(token: &str, message: &str, data: &str) -> Form {
    let mut form = form(token, data);
    let message = MessageId::new(message).unwrap();
    form.message_key = Some(IdempotencyKey::of_message(&message));
    form.submission.message_id = Some(message);
    form.submission.channel = Channel::Webhook;
    form.answerable = false;
    form
}
