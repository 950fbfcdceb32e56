//! Test harness: a store on a temporary file, and functions that add data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::store::engine::Rows;

use crate::clock::{Clock, ManualClock};
use crate::domain::delivery::{Delivery, Event, ResponseRecord};
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::ids::{
    AgentId, AgentName, Customer, DestinationName, FlowName, JobId, MessageId, TeamName,
};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Attempt, Job, JobKind};
use crate::domain::submission::draft::AbandonTimeouts;
use crate::domain::submission::inbound::{Inbound, InboundSubmission, UnparsableMessage};
use crate::domain::submission::{IdempotencyKey, SubmissionChannel};
use crate::domain::time::{Millis, Timestamp};
use crate::reloadable::Reloadable;
use crate::store::rows::schema::{CUSTOMER_AGENTS, RETENTION};
use crate::store::{
    AcceptInbound, AcceptOutcome, AddAgent, FinishJob, FinishOutcome, ListedRow, NewLead,
    PurgeCursor, PurgeSlice, RecordAttempt, RetentionQueue, Snapshot, Store, StoreOptions,
};

/// Start time of the manual clock: 2026-11-24T08:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

/// Store on a temporary file.
///
/// With [`StoreBench::with_subscribers`], `crm` and `sheet` are subscribed to all events of
/// [`flow`], and `ops` to all alerts.
pub struct StoreBench {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub subscriptions: Arc<ArcSwap<Subscriptions>>,
}

impl StoreBench {
    pub fn new() -> Self {
        Self::with_options(|_| {})
    }

    pub fn with_options(change: impl FnOnce(&mut StoreOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let subscriptions: Arc<ArcSwap<Subscriptions>> = Arc::default();
        let store = open_store(folder.path().join("data.redb"), &clock, |options| {
            options.subscriptions = Reloadable::part_of(&subscriptions, Arc::clone);
            change(options);
        });
        Self {
            folder,
            clock,
            store,
            subscriptions,
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data.redb")
    }

    /// Closes the file and opens it again.
    pub fn reopen(self) -> Self {
        self.store.close().unwrap();
        let store = open_store(self.path(), &self.clock, |options| {
            options.subscriptions = Reloadable::part_of(&self.subscriptions, Arc::clone);
        });
        Self { store, ..self }
    }

    /// Store with subscribers of all events and alerts.
    pub fn with_subscribers() -> Self {
        let bench = Self::new();
        bench.subscribe(&["crm", "sheet"], &["ops"]);
        bench
    }

    /// Subscribes `events` to all events of [`flow`], and `alerts` to all alerts.
    pub fn subscribe(&self, events: &[&str], alerts: &[&str]) {
        let route = |to: &&str| Subscription {
            destination: destination(to),
            events: EventKind::ALL.into_iter().collect(),
        };
        let flows = BTreeMap::from([(flow(), events.iter().map(route).collect())]);
        self.subscriptions.store(Arc::new(Subscriptions {
            flows,
            alerts: alerts.iter().map(route).collect(),
            ..Subscriptions::default()
        }));
    }

    /// Lists all stored deliveries in order.
    pub fn deliveries(&self) -> Vec<(JobId, Job, Delivery)> {
        let read = self.store.read().unwrap();
        let jobs = rows::<Job>(&read)
            .into_iter()
            .filter(|(_, job)| job.kind == JobKind::Deliver);
        let mut found: Vec<_> = jobs
            .map(|(id, job)| (id, job, read.delivery(id).unwrap().unwrap()))
            .collect();
        found.sort_by_key(|(id, ..)| *id);
        found
    }

    /// Lists all stored events in the order in which they became true.
    pub fn events(&self) -> Vec<Event> {
        let read = self.store.read().unwrap();
        let ids: BTreeSet<JobId> = self
            .deliveries()
            .into_iter()
            .map(|(_, _, delivery)| delivery.event_id)
            .collect();
        ids.into_iter()
            .map(|id| read.event(id).unwrap().unwrap())
            .collect()
    }

    /// Lists the kinds of all stored events in order.
    pub fn event_kinds(&self) -> Vec<&'static str> {
        self.events()
            .iter()
            .map(|event| event.kind.as_str())
            .collect()
    }

    /// Records an attempt of a delivery that is made now, with `failure` or as a success.
    pub fn record_attempt(
        &self,
        job: JobId,
        failure: Option<RetryDecision>,
        disable_reason: Option<&str>,
    ) -> FinishOutcome {
        let status = if failure.is_none() { 200 } else { 500 };
        let record = RecordAttempt {
            job_id: job,
            attempt: Attempt {
                started_at: self.clock.now(),
                ..attempt(failure.map(|_| "responded with 500"))
            },
            response: ResponseRecord {
                status: Some(status),
                body_excerpt: "so it is".into(),
            },
            failure,
            disable_reason: disable_reason.map(Into::into),
            message_outcome: None,
        };
        self.store.execute_blocking(record).unwrap()
    }

    /// Purges one whole round, in slices of `max_rows`.
    pub fn purge(
        &self,
        max_rows: usize,
        submission_retention: Millis,
        attempt_retention: Millis,
        abandon_after: Millis,
    ) {
        let abandon_after: AbandonTimeouts = [(flow(), abandon_after)].into_iter().collect();
        let mut from = Some(PurgeCursor::Keys);
        while let Some(cursor) = from {
            let slice = PurgeSlice {
                cursor,
                max_rows,
                submission_retention,
                attempt_retention,
                abandon_timeouts: abandon_after.clone(),
            };
            from = self.store.execute_blocking(slice).unwrap().next;
        }
    }

    pub fn accept(&self, form: InboundSubmission) -> AcceptOutcome {
        let arrivals = vec![Inbound::Submission(Box::new(form))];
        self.store
            .execute_blocking(AcceptInbound { inbound: arrivals })
            .unwrap()
            .remove(0)
    }

    /// Accepts a message that is not parsable.
    pub fn accept_unparsable(&self, message: &str) -> AcceptOutcome {
        let unreadable = UnparsableMessage {
            message_key: Some(IdempotencyKey::for_message(
                &MessageId::new(message).unwrap(),
            )),
            cross_flow_keys: Vec::new(),
            late_arrival: None,
            reason: "it makes no sense".to_owned(),
            payload: "{}".to_owned(),
        };
        let arrivals = vec![Inbound::Unparsable(Box::new(unreadable))];
        self.store
            .execute_blocking(AcceptInbound { inbound: arrivals })
            .unwrap()
            .remove(0)
    }

    pub fn accept_new(&self, token: &str) -> JobId {
        match self.accept(form(token, "{}")) {
            AcceptOutcome::New { job_id: job, .. } => job,
            other => panic!("{token}: {other:?}"),
        }
    }

    pub fn finish_job(&self, job: JobId) -> FinishOutcome {
        let order = NewLead {
            flow: flow(),
            team: team(),
            is_sticky: true,
            customer: Customer::default(),
            chosen_agent: None,
        };
        self.store
            .execute_blocking(FinishJob {
                job_id: job,
                attempt: attempt(None),
                lead: Some(order),
            })
            .unwrap()
    }

    pub fn add_agent(&self, name: &str, max: Option<u32>) {
        let name = AgentName::new(name).unwrap();
        self.store
            .execute_blocking(AddAgent {
                name,
                team: team(),
                weight: 1,
                max_leads: max,
                max_leads_per_day: None,
            })
            .unwrap();
    }

    /// Asserts that every invariant holds.
    #[track_caller]
    pub fn assert_invariants(&self) {
        let report = crate::store::check_integrity(&self.store).unwrap();
        assert_eq!(report.violations, []);
        self.assert_retention_queues();
    }

    /// Asserts that every row that retention may remove is in its queue. So no row is stored
    /// forever.
    #[track_caller]
    fn assert_retention_queues(&self) {
        let read = self.store.read().unwrap();
        let entries = read.with_read_txn(|txn| txn.open(RETENTION)).unwrap();
        let queued: BTreeSet<(u8, u128)> = entries
            .all_rows()
            .unwrap()
            .map(|entry| {
                let (queue, _, row) = entry.unwrap().key();
                (queue, row)
            })
            .collect();
        let assert_queued = |queue: RetentionQueue, row: u128| {
            assert!(queued.contains(&(queue.code(), row)), "{queue:?} {row}");
        };
        for (id, job) in rows::<Job>(&read) {
            match job.submission_id.filter(|_| job.kind == JobKind::Process) {
                _ if !job.state.is_terminal() => {}
                Some(submission) => {
                    assert_queued(RetentionQueue::Submissions, submission.get().into());
                }
                None => assert_queued(RetentionQueue::Jobs, id.get().into()),
            }
        }
        for (_, key) in read.drafts(None, |_| true).unwrap().0 {
            assert_queued(RetentionQueue::Drafts, u128::from_be_bytes(*key.as_bytes()));
        }
        for row in read
            .with_read_txn(|txn| txn.open(CUSTOMER_AGENTS))
            .unwrap()
            .all_rows()
            .unwrap()
        {
            let row = row.unwrap();
            // The row of a customer without a name is removed with the submission.
            if row.value().unwrap().0 != AgentId::MIN {
                assert_queued(RetentionQueue::Customers, u128::from_be_bytes(*row.key()));
            }
        }
    }
}

/// Lists all rows of a kind, newest first. Each row must be readable.
pub fn rows<L: ListedRow>(read: &Snapshot) -> Vec<(L::Id, L)> {
    let rows = read.list_all_rows::<L>().unwrap().into_iter();
    rows.map(|(number, row)| (L::id(number), row.unwrap()))
        .collect()
}

pub fn open_store(
    path: PathBuf,
    clock: &Arc<ManualClock>,
    change: impl FnOnce(&mut StoreOptions),
) -> Store {
    let mut options = StoreOptions {
        min_free_bytes: 0,
        ..StoreOptions::new(path)
    };
    change(&mut options);
    let clock: Arc<dyn crate::clock::Clock> = clock.clone();
    let store = Store::start(options, clock).unwrap();
    store.wait_open().unwrap();
    store
}

/// Opens the file at `path` read-only.
pub fn open_read_only(path: PathBuf, clock: &Arc<ManualClock>) -> Store {
    open_store(path, clock, |options| options.is_read_only = true)
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
    Attempt {
        number: 0,
        started_at: START,
        duration: Millis::new(1),
        error: error.map(str::to_owned),
    }
}

/// Plain form with a token.
pub fn form(token: &str, data: &str) -> InboundSubmission {
    InboundSubmission::plain(&flow(), token, data)
}

/// Form with the same token, received by webhook.
pub fn webhook_form(token: &str, message: &str, data: &str) -> InboundSubmission {
    let mut form = form(token, data);
    let message = MessageId::new(message).unwrap();
    form.message_key = Some(IdempotencyKey::for_message(&message));
    form.submission.message_id = Some(message);
    form.submission.channel = SubmissionChannel::Webhook;
    form.allows_new_choice = false;
    form
}
