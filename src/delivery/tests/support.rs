//! Test harness: a store whose forms are delivered to one destination, with the dependencies of a
//! worker.

use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::{Clock, Entropy, ManualClock};
use crate::config::{Config, Destination};
use crate::delivery::channel::Channel;
use crate::delivery::context::DeliveryContext;
use crate::delivery::eligibility::ProcessStart;
use crate::delivery::shared_rate_limit::SharedLimiters;
use crate::delivery::suspect_deliveries::SuspectDeliveries;
use crate::delivery::{DeliveryTarget, DeliveryTargets};
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::job::{Job, JobState};
use crate::domain::submission::inbound::{Inbound, InboundSubmission};
use crate::domain::time::Timestamp;
use crate::net::HttpClients;
use crate::store::tests::support::rows;
use crate::store::{AcceptInbound, Store, StoreOptions, Transaction};

/// Start time of the manual clock: 2026-11-24T08:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

/// Constant entropy that fails once if a test asks for it. Its caller then panics.
#[derive(Default)]
pub struct FailingEntropy {
    will_fail: AtomicBool,
}

impl FailingEntropy {
    pub fn fail_once(&self) {
        self.will_fail.store(true, Ordering::SeqCst);
    }
}

impl Entropy for FailingEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        assert!(
            !self.will_fail.swap(false, Ordering::SeqCst),
            "chance fails, as the test wants it"
        );
        bytes.fill(0);
    }
}

pub struct DeliveryHarness {
    _folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub entropy: Arc<FailingEntropy>,
    pub store: Store,
    config: Config,
}

impl DeliveryHarness {
    /// Creates a store. Forms of flow `form` are delivered to `crm` at `address`. The text `more`
    /// is added to the table of `crm`.
    pub fn new(address: SocketAddr, more: &str) -> Self {
        let text = format!(
            "[flows.form]\ndeliver = [{{ to = \"crm\", events = [\"submission.accepted\"] }}]\n{}",
            crm_table(address, more)
        );
        let config = parse(&text);
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let mut options = StoreOptions::new(folder.path().join("data.redb"));
        options.min_free_bytes = 0;
        options.subscriptions = config.subscriptions.clone().into();
        let as_clock: Arc<dyn Clock> = clock.clone();
        let store = Store::start(options, as_clock).unwrap();
        store.wait_open().unwrap();
        Self {
            _folder: folder,
            clock,
            entropy: Arc::default(),
            store,
            config,
        }
    }

    pub fn crm() -> DestinationName {
        DestinationName::new("crm").unwrap()
    }

    pub fn targets(&self) -> DeliveryTargets {
        resolve(&self.config)
    }

    pub fn context(&self) -> DeliveryContext {
        DeliveryContext {
            store: self.store.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            clients: HttpClients::load().unwrap(),
            limiters: SharedLimiters::default(),
            process_start: ProcessStart::capture(&*self.clock),
            suspects: SuspectDeliveries::load(&self.store),
        }
    }

    /// Executes a transaction, which must succeed.
    pub fn execute(&self, transaction: impl Transaction) {
        self.store.execute_blocking(transaction).unwrap();
    }

    /// Accepts a form, which adds one delivery.
    pub fn accept(&self, token: &str) {
        let form = InboundSubmission::plain(&FlowName::new("form").unwrap(), token, "{}");
        let inbound = vec![Inbound::Submission(Box::new(form))];
        self.execute(AcceptInbound { inbound });
    }

    /// Returns the IDs of all jobs, oldest first.
    pub fn job_ids(&self) -> Vec<JobId> {
        self.job_rows().into_iter().map(|(id, _)| id).collect()
    }

    /// Returns all jobs, oldest first.
    pub fn jobs(&self) -> Vec<Job> {
        self.job_rows().into_iter().map(|(_, job)| job).collect()
    }

    fn job_rows(&self) -> Vec<(JobId, Job)> {
        let mut rows = rows::<Job>(&self.store.read().unwrap());
        rows.reverse();
        rows
    }

    /// Returns the number of expired deliveries.
    pub fn expired(&self) -> usize {
        let jobs = self.jobs();
        jobs.iter()
            .filter(|job| job.state == JobState::Expired)
            .count()
    }

    /// Returns the number of waiting deliveries.
    pub fn waiting(&self) -> u64 {
        let queues = self.store.read().unwrap().delivery_queues().unwrap();
        queues.values().map(|waiting| waiting.count).sum()
    }
}

/// Returns the table of `crm` at `address`.
pub fn crm_table(address: SocketAddr, more: &str) -> String {
    format!("[destinations.crm]\nurl = \"http://{address}/\"\nallow_private = true\n{more}")
}

fn parse(config: &str) -> Config {
    Config::parse("config.toml".as_ref(), config).unwrap()
}

fn resolve(config: &Config) -> DeliveryTargets {
    let resolved = |(name, settings): (&DestinationName, &Destination)| {
        let target = DeliveryTarget::resolve(name, settings).unwrap();
        (name.clone(), Arc::new(target))
    };
    config.destinations.iter().map(resolved).collect()
}

/// Returns the channel of the only destination of a config. Its kind must be `C`.
pub fn resolve_channel<C: Channel>(config: &str) -> C {
    let target = resolve_targets(config).into_values().next().unwrap();
    let channel: Box<dyn Any> = Arc::into_inner(target).unwrap().channel;
    *channel.downcast().unwrap()
}

/// Returns the targets of all destinations of a config. Its secrets must be `text:` values.
pub fn resolve_targets(config: &str) -> DeliveryTargets {
    resolve(&parse(config))
}

/// Returns an address without a listener.
pub fn closed_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
