//! Test harness: a store on a temporary file, and functions that add data.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::{Clock, ManualClock};
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::ids::{
    AgentName, Customer, DestinationName, FlowName, FlowToken, JobId, LeadId, MessageId,
    SubmissionId, TeamName,
};
use crate::domain::job::Attempt;
use crate::domain::job::retry::RetryDecision;
use crate::domain::submission::draft::Draft;
use crate::domain::submission::inbound::{Inbound, InboundSubmission, UnparsableMessage};
use crate::domain::submission::{IdempotencyKey, SubmissionChannel};
use crate::domain::time::{Millis, Timestamp};
use crate::reloadable::Reloadable;
use crate::store::engine::{Rows, TableDef, TableKey, TableValue};
use crate::store::{
    AcceptInbound, AcceptOutcome, AddAgent, AgentChange, ChangeAgent, CloseLead, DeadLetterOutcome,
    DraftOutcome, FailAttempt, FinishJob, FinishMessageJob, FinishOutcome, LateArrival, ListedRow,
    NewLead, RetryDeadLetter, SaveDraft, Snapshot, Store, StoreCounts, StoreOptions, StoreResult,
    StoredSubmission, Transaction,
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
        self.reopen_with(|_| {})
    }

    /// Closes the file and opens it again with changed options.
    pub fn reopen_with(self, change: impl FnOnce(&mut StoreOptions)) -> Self {
        self.store.close().unwrap();
        let store = open_store(self.path(), &self.clock, |options| {
            options.subscriptions = Reloadable::part_of(&self.subscriptions, Arc::clone);
            change(options);
        });
        Self { store, ..self }
    }

    /// Executes a transaction that must succeed.
    #[track_caller]
    pub fn execute<T: Transaction>(&self, transaction: T) -> T::Outcome {
        self.store.execute_blocking(transaction).unwrap()
    }

    #[track_caller]
    pub fn read(&self) -> Snapshot {
        self.store.read().unwrap()
    }

    #[track_caller]
    pub fn submission(&self, id: u64) -> StoredSubmission {
        let id = SubmissionId::new(id);
        self.read().submission(id).unwrap().unwrap()
    }

    #[track_caller]
    pub fn late_arrivals(&self, submission: u64) -> Vec<LateArrival> {
        let id = SubmissionId::new(submission);
        self.read().late_arrivals(id).unwrap()
    }

    #[track_caller]
    pub fn counts(&self) -> StoreCounts {
        self.read().counts().unwrap()
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

    pub fn accept_all(&self, inbound: Vec<Inbound>) -> Vec<AcceptOutcome> {
        self.execute(AcceptInbound { inbound })
    }

    pub fn try_accept(&self, form: InboundSubmission) -> StoreResult<Vec<AcceptOutcome>> {
        let inbound = vec![inbound(form)];
        self.store.execute_blocking(AcceptInbound { inbound })
    }

    pub fn accept(&self, form: InboundSubmission) -> AcceptOutcome {
        self.accept_all(vec![inbound(form)]).remove(0)
    }

    /// Accepts a form that must be a copy of submission `number`.
    #[track_caller]
    pub fn assert_copy(&self, form: InboundSubmission, number: u64) {
        assert_eq!(self.accept(form), copy_of(number));
    }

    pub fn is_duplicate(&self, form: InboundSubmission) -> bool {
        matches!(self.accept(form), AcceptOutcome::Duplicate { .. })
    }

    pub fn is_new(&self, form: InboundSubmission) -> bool {
        matches!(self.accept(form), AcceptOutcome::New { .. })
    }

    /// Accepts a form that must be new. Returns its job.
    #[track_caller]
    pub fn accept_job(&self, form: InboundSubmission) -> JobId {
        match self.accept(form) {
            AcceptOutcome::New { job_id, .. } => job_id,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn accept_new(&self, token: &str) -> JobId {
        self.accept_job(form(token, "{}"))
    }

    pub fn accept_unparsable_message(&self, message: UnparsableMessage) -> AcceptOutcome {
        self.accept_all(vec![Inbound::Unparsable(Box::new(message))])
            .remove(0)
    }

    /// Accepts a message that is not parsable.
    pub fn accept_unparsable(&self, message: &str) -> AcceptOutcome {
        let key = IdempotencyKey::for_message(&MessageId::new(message).unwrap());
        self.accept_unparsable_message(unparsable(Some(key)))
    }

    /// Accepts a message that must become a dead letter. Returns its job.
    #[track_caller]
    pub fn accept_dead_letter(&self, message: &str) -> JobId {
        match self.accept_unparsable(message) {
            AcceptOutcome::DeadLetter { job_id } => job_id,
            other => panic!("{other:?}"),
        }
    }

    pub fn save_draft(&self, key: IdempotencyKey, draft: Draft) -> DraftOutcome {
        self.execute(SaveDraft {
            key,
            draft,
            encrypted_request_key: None,
            reject_resubmission: false,
        })
    }

    /// Finishes a job. Its lead goes to [`team`], and to the agent of an earlier lead.
    pub fn finish_job(&self, job: JobId) -> FinishOutcome {
        self.finish(job, Some(new_lead(Customer::default())))
    }

    pub fn finish_without_lead(&self, job: JobId) -> FinishOutcome {
        self.finish(job, None)
    }

    pub fn finish(&self, job: JobId, lead: Option<NewLead>) -> FinishOutcome {
        self.execute(FinishJob {
            job_id: job,
            attempt: attempt(None),
            lead,
        })
    }

    /// Finishes the job of a message that became parsable as `form`.
    pub fn finish_message(&self, job: JobId, form: InboundSubmission) -> FinishOutcome {
        self.execute(FinishMessageJob {
            job_id: job,
            attempt: attempt(None),
            form: Box::new(form),
        })
    }

    pub fn fail_job(&self, job: JobId, error: &str, decision: RetryDecision) -> FinishOutcome {
        self.execute(FailAttempt {
            job_id: job,
            attempt: attempt(Some(error)),
            decision,
        })
    }

    pub fn retry_dead_letter(&self, job: JobId) -> DeadLetterOutcome {
        self.execute(RetryDeadLetter {
            job_id: job,
            payload: None,
        })
    }

    /// Asserts that the number of idempotency keys in memory is in this range.
    #[track_caller]
    pub fn assert_keys_in_memory(&self, expected: impl RangeBounds<u64>) {
        let stats = self.store.writer_stats();
        assert!(expected.contains(&stats.keys), "{stats:?}");
    }

    pub fn close_lead(&self, lead: u64) {
        self.execute(CloseLead {
            lead_id: LeadId::new(lead),
        });
    }

    pub fn change_agent(&self, name: &str, change: AgentChange) {
        let name = AgentName::new(name).unwrap();
        self.execute(ChangeAgent { name, change });
    }

    pub fn add_agent(&self, name: &str, max: Option<u32>) {
        self.add_agent_to(team(), name, max);
    }

    pub fn add_agent_to(&self, team: TeamName, name: &str, max: Option<u32>) {
        let name = AgentName::new(name).unwrap();
        self.execute(AddAgent {
            name,
            team,
            weight: 1,
            max_leads: max,
            max_leads_per_day: None,
        });
    }
}

/// Returns the number of rows of a table.
#[track_caller]
pub fn row_count<K: TableKey, V: TableValue>(read: &Snapshot, table: TableDef<K, V>) -> u64 {
    read.with_read_txn(|txn| txn.open(table)?.len()).unwrap()
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
    let clock: Arc<dyn Clock> = clock.clone();
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

/// Lead of this customer, who returns to the agent of an earlier lead.
pub fn new_lead(customer: Customer) -> NewLead {
    NewLead {
        flow: flow(),
        team: team(),
        is_sticky: true,
        customer,
        chosen_agent: None,
    }
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

/// Message that is not parsable.
pub fn unparsable(message_key: Option<IdempotencyKey>) -> UnparsableMessage {
    UnparsableMessage {
        message_key,
        cross_flow_keys: Vec::new(),
        late_arrival: None,
        reason: "it makes no sense".to_owned(),
        payload: "{}".to_owned(),
    }
}

pub fn inbound(form: InboundSubmission) -> Inbound {
    Inbound::Submission(Box::new(form))
}

/// Draft with this token, if any.
pub fn draft(token: Option<&str>, customer: Customer, data: &str) -> Draft {
    Draft {
        flow: flow(),
        flow_token: token.map(|token| FlowToken::new(token).unwrap()),
        customer,
        screen: "FIRST".into(),
        data: data.into(),
        updated_at: START,
    }
}

/// Key of a form with this token, and of its draft.
pub fn token_key(token: &str) -> IdempotencyKey {
    IdempotencyKey::for_token(&flow(), &FlowToken::new(token).unwrap())
}

/// Outcome of a copy of submission `number`.
pub fn copy_of(number: u64) -> AcceptOutcome {
    AcceptOutcome::Duplicate {
        original: Some(SubmissionId::new(number)),
    }
}

/// Outcome of a job that made submission `number`, or found it, and no lead.
pub fn done_without_lead(number: u64) -> FinishOutcome {
    FinishOutcome::without_lead(Some(SubmissionId::new(number)))
}

/// Returns the agent who got the lead of a finished job.
#[track_caller]
pub fn assigned_agent(finished: FinishOutcome) -> Option<AgentName> {
    match finished {
        FinishOutcome::Done { agent, .. } => agent,
        other => panic!("{other:?}"),
    }
}
