//! A store on a file of its own, and things to put into it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use redb::ReadableTable;

use crate::clock::{Clock, ManualClock};
use crate::current::Current;
use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::delivery::{Delivery, Event, Exchange};
use crate::domain::draft::Patience;
use crate::domain::event::EventKind;
use crate::domain::ids::{AgentName, Customer, DestinationName, FlowName, JobId, MessageId, TeamName};
use crate::domain::job::{Attempt, Job, JobKind};
use crate::domain::retry::Verdict;
use crate::domain::routes::{Route, Routes};
use crate::domain::submission::{Channel, IdempotencyKey};
use crate::domain::time::{Millis, Timestamp};
use crate::store::tables::{CUSTOMERS, RETENTION};
use crate::store::{
    Accept, Accepted, AddAgent, Finish, Finished, LeadOrder, Listed, NoteDelivery, Place, Queue, Snapshot, Store,
    StoreOptions, Sweep,
};

/// 2026-11-24T08:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

/// A store on a file of its own. Every event of [`flow`] is told to `crm` and `sheet`, every alert to `ops`, where
/// [`Bench::telling`] says so.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub routes: Current<Routes>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut StoreOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let routes = Current::new(Routes::default());
        let store = open(folder.path().join("data.redb"), &clock, |options| {
            options.routes = routes.clone();
            change(options);
        });
        Self { folder, clock, store, routes }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data.redb")
    }

    /// Closes the file and opens it again.
    pub fn reopen(self) -> Self {
        self.store.close().unwrap();
        let store = open(self.path(), &self.clock, |options| options.routes = self.routes.clone());
        Self { store, ..self }
    }

    /// One that tells the outside everything.
    pub fn telling() -> Self {
        let bench = Self::new();
        bench.tell(&["crm", "sheet"], &["ops"]);
        bench
    }

    /// Tells every event of [`flow`] to `events` from now on, and every alert to `alerts`.
    pub fn tell(&self, events: &[&str], alerts: &[&str]) {
        let route = |to: &&str| Route { to: destination(to), events: EventKind::ALL.into_iter().collect() };
        let flows = BTreeMap::from([(flow(), events.iter().map(route).collect())]);
        self.routes.set(Routes { flows, alerts: alerts.iter().map(route).collect(), ..Routes::default() });
    }

    /// All deliveries that are kept, in order.
    pub fn deliveries(&self) -> Vec<(JobId, Job, Delivery)> {
        let read = self.store.read().unwrap();
        let jobs = rows::<Job>(&read).into_iter().filter(|(_, job)| job.kind == JobKind::Deliver);
        let mut found: Vec<_> = jobs.map(|(id, job)| (id, job, read.delivery(id).unwrap().unwrap())).collect();
        found.sort_by_key(|(id, ..)| *id);
        found
    }

    /// All events that are kept, in the order in which they became true.
    pub fn events(&self) -> Vec<Event> {
        let read = self.store.read().unwrap();
        let ids: BTreeSet<JobId> = self.deliveries().into_iter().map(|(_, _, delivery)| delivery.event).collect();
        ids.into_iter().map(|id| read.event(id).unwrap().unwrap()).collect()
    }

    /// What the outside was told, in order.
    pub fn told(&self) -> Vec<&'static str> {
        self.events().iter().map(|event| event.kind.as_str()).collect()
    }

    /// One attempt to deliver was made now and came to `failed`, or to a success.
    pub fn note(&self, job: JobId, failed: Option<Verdict>, disable: Option<&str>) -> Finished {
        let status = if failed.is_none() { 200 } else { 500 };
        let note = NoteDelivery {
            job,
            attempt: Attempt { started_at: self.clock.now(), ..attempt(failed.map(|_| "answered 500")) },
            exchange: Exchange { status: Some(status), answer: "so it is".into() },
            failed,
            disable: disable.map(Into::into),
            trace: None,
        };
        self.store.ask(note).unwrap()
    }

    /// Sweeps a whole round, in slices of `most`.
    pub fn sweep(&self, most: usize, submissions: Millis, attempts: Millis, patience: Millis) {
        let patience: Patience = [(flow(), patience)].into_iter().collect();
        let mut from = Some(Place::Keys);
        while let Some(place) = from {
            let slice = Sweep { from: place, most, submissions, attempts, patience: patience.clone() };
            from = self.store.ask(slice).unwrap().next;
        }
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
        let report = crate::store::check(&self.store).unwrap();
        assert_eq!(report.findings, []);
        self.check_queues();
    }

    /// Every row that retention may remove stands in its queue: no row is kept for ever.
    #[track_caller]
    fn check_queues(&self) {
        let read = self.store.read().unwrap();
        let entries = read.reading(|txn| Ok(txn.open_table(RETENTION)?)).unwrap();
        let queued: BTreeSet<(u8, u128)> =
            entries.iter().unwrap().map(|entry| entry.unwrap().0.value()).map(|(queue, _, row)| (queue, row)).collect();
        let stands = |queue: Queue, row: u128| assert!(queued.contains(&(queue.code(), row)), "{queue:?} {row}");
        for (id, job) in rows::<Job>(&read) {
            match job.submission.filter(|_| job.kind == JobKind::Process) {
                _ if !job.state.is_over() => {}
                Some(submission) => stands(Queue::Submissions, submission.get().into()),
                None => stands(Queue::Jobs, id.get().into()),
            }
        }
        for (_, key) in read.drafts(None, |_| true).unwrap().0 {
            stands(Queue::Drafts, u128::from_be_bytes(*key.as_bytes()));
        }
        for row in read.reading(|txn| Ok(txn.open_table(CUSTOMERS)?)).unwrap().iter().unwrap() {
            let (key, row) = row.unwrap();
            // One whom nothing names yet goes with their submission.
            if row.value().0 != 0 {
                stands(Queue::Customers, u128::from_be_bytes(*key.value()));
            }
        }
    }
}

/// All rows of a kind, newest first. Each of them can be read.
pub fn rows<L: Listed>(read: &Snapshot) -> Vec<(L::Id, L)> {
    let rows = read.list_all::<L>().unwrap().into_iter();
    rows.map(|(number, row)| (L::id(number), row.unwrap())).collect()
}

pub fn open(path: PathBuf, clock: &Arc<ManualClock>, change: impl FnOnce(&mut StoreOptions)) -> Store {
    let mut options = StoreOptions { free_space_min: 0, ..StoreOptions::new(path) };
    change(&mut options);
    let clock: Arc<dyn crate::clock::Clock> = clock.clone();
    let store = Store::start(options, clock).unwrap();
    store.wait_open().unwrap();
    store
}

/// Opens the file only to read it.
pub fn open_to_look(path: PathBuf, clock: &Arc<ManualClock>) -> Store {
    open(path, clock, |options| options.read_only = true)
}

pub fn flow() -> FlowName {
    FlowName::new("appointment").unwrap()
}

pub fn destination(name: &str) -> DestinationName {
    DestinationName::new(name).unwrap()
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
