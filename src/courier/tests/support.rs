//! A store whose forms are told to one destination, and all that a lane needs.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::{Clock, Entropy, ManualClock};
use crate::config::{Config, Destination};
use crate::courier::next::Since;
use crate::courier::suspects::Suspects;
use crate::courier::way::Ways;
use crate::courier::{Credentials, Endpoint, Recipient, Recipients, Sender, Tools};
use crate::domain::arrival::{Arrival, Form};
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::job::Job;
use crate::domain::time::Timestamp;
use crate::outgoing::Clients;
use crate::store::tests::support::rows;
use crate::store::{Accept, Store, StoreOptions};

/// 2026-11-24T08:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

/// Chance that is always the same, and fails once where a test asks for it: whoever asks for it then panics.
#[derive(Default)]
pub struct Chance {
    fails: AtomicBool,
}

impl Chance {
    pub fn fail_once(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }
}

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        assert!(!self.fails.swap(false, Ordering::SeqCst), "chance fails, as the test wants it");
        bytes.fill(0);
    }
}

pub struct Bench {
    _folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub chance: Arc<Chance>,
    pub store: Store,
    config: Config,
}

impl Bench {
    /// Forms of flow `form` are told to `crm` at `address`. `more` goes into its table.
    pub fn new(address: SocketAddr, more: &str) -> Self {
        let text = format!(
            "[flows.form]\ndeliver = [{{ to = \"crm\", events = [\"submission.accepted\"] }}]\n\
             [destinations.crm]\nurl = \"http://{address}/\"\nallow_private = true\n{more}"
        );
        let config = Config::parse("config.toml".as_ref(), &text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let mut options = StoreOptions::new(folder.path().join("data.redb"));
        options.free_space_min = 0;
        options.routes.set(config.routes.clone());
        let as_clock: Arc<dyn Clock> = clock.clone();
        let store = Store::start(options, as_clock).unwrap();
        store.wait_open().unwrap();
        Self { _folder: folder, clock, chance: Arc::default(), store, config }
    }

    pub fn crm() -> DestinationName {
        DestinationName::new("crm").unwrap()
    }

    pub fn recipients(&self) -> Recipients {
        let ready = |(name, rule): (&DestinationName, &_)| {
            let rule: &Destination = rule;
            let endpoint = Endpoint::new(rule.means.url().unwrap().clone(), false);
            let recipient = Recipient {
                rule: rule.clone(),
                credentials: Credentials::Webhook { endpoint, keys: Vec::new(), headers: Vec::new() },
                proxy: None,
            };
            (name.clone(), Arc::new(recipient))
        };
        self.config.destinations.iter().map(ready).collect()
    }

    pub fn tools(&self) -> Tools {
        Tools {
            store: self.store.clone(),
            clock: self.clock.clone(),
            entropy: self.chance.clone(),
            sender: Sender::new(Clients::load().unwrap()),
            ways: Ways::default(),
            since: Since::now(&*self.clock),
            suspects: Suspects::of(&self.store),
        }
    }

    /// Takes a form: there is one more delivery.
    pub fn accept(&self, token: &str) {
        let form = Form::plain(&FlowName::new("form").unwrap(), token, "{}");
        self.store.ask(Accept { arrivals: vec![Arrival::Form(Box::new(form))] }).unwrap();
    }

    /// All jobs, oldest first, by their numbers.
    pub fn job_ids(&self) -> Vec<JobId> {
        rows::<Job>(&self.store.read().unwrap()).into_iter().rev().map(|(id, _)| id).collect()
    }

    /// All jobs, oldest first.
    pub fn jobs(&self) -> Vec<Job> {
        let snapshot = self.store.read().unwrap();
        self.job_ids().into_iter().map(|id| snapshot.job(id).unwrap().unwrap()).collect()
    }

    /// How many deliveries wait.
    pub fn waiting(&self) -> u64 {
        self.store.read().unwrap().lanes().unwrap().values().map(|waiting| waiting.count).sum()
    }
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
