//! Test harness: a store whose forms are delivered to one destination, with the dependencies of a
//! worker.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::{Clock, Entropy, ManualClock};
use crate::config::{Config, Destination};
use crate::delivery::eligibility::ProcessStart;
use crate::delivery::shared_rate_limit::SharedLimiters;
use crate::delivery::suspect_deliveries::SuspectDeliveries;
use crate::delivery::{
    DeliveryClient, DeliveryContext, DeliveryTarget, DeliveryTargets, DestinationCredentials,
    WebhookEndpoint,
};
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::job::Job;
use crate::domain::submission::inbound::{Inbound, InboundSubmission};
use crate::domain::time::Timestamp;
use crate::net::HttpClients;
use crate::store::tests::support::rows;
use crate::store::{AcceptInbound, Store, StoreOptions};

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
            "[flows.form]\ndeliver = [{{ to = \"crm\", events = [\"submission.accepted\"] }}]\n\
             [destinations.crm]\nurl = \"http://{address}/\"\nallow_private = true\n{more}"
        );
        let config = Config::parse("config.toml".as_ref(), &text).unwrap();
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
        let ready = |(name, settings): (&DestinationName, &_)| {
            let settings: &Destination = settings;
            let endpoint = WebhookEndpoint::new(settings.kind.url().unwrap().clone(), false);
            let target = DeliveryTarget {
                settings: settings.clone(),
                credentials: DestinationCredentials::Webhook {
                    endpoint,
                    keys: Vec::new(),
                    headers: Vec::new(),
                },
                proxy: None,
            };
            (name.clone(), Arc::new(target))
        };
        self.config.destinations.iter().map(ready).collect()
    }

    pub fn context(&self) -> DeliveryContext {
        DeliveryContext {
            store: self.store.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            client: DeliveryClient::new(HttpClients::load().unwrap()),
            limiters: SharedLimiters::default(),
            process_start: ProcessStart::capture(&*self.clock),
            suspects: SuspectDeliveries::load(&self.store),
        }
    }

    /// Accepts a form, which adds one delivery.
    pub fn accept(&self, token: &str) {
        let form = InboundSubmission::plain(&FlowName::new("form").unwrap(), token, "{}");
        self.store
            .execute_blocking(AcceptInbound {
                inbound: vec![Inbound::Submission(Box::new(form))],
            })
            .unwrap();
    }

    /// Returns the IDs of all jobs, oldest first.
    pub fn job_ids(&self) -> Vec<JobId> {
        rows::<Job>(&self.store.read().unwrap())
            .into_iter()
            .rev()
            .map(|(id, _)| id)
            .collect()
    }

    /// Returns all jobs, oldest first.
    pub fn jobs(&self) -> Vec<Job> {
        let snapshot = self.store.read().unwrap();
        self.job_ids()
            .into_iter()
            .map(|id| snapshot.job(id).unwrap().unwrap())
            .collect()
    }

    /// Returns the number of waiting deliveries.
    pub fn waiting(&self) -> u64 {
        self.store
            .read()
            .unwrap()
            .delivery_queues()
            .unwrap()
            .values()
            .map(|waiting| waiting.count)
            .sum()
    }
}

/// Returns an address without a listener.
pub fn closed_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
