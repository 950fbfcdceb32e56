//! All of it together, on threads and by the machine's clock.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::never;

use super::support::{add_agent, config, form, start};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::current::Current;
use crate::domain::arrival::Arrival;
use crate::domain::lead::{Lead, LeadState};
use crate::domain::routes::Routes;
use crate::store::tests::support::rows;
use crate::store::{Accept, Accepted, Distribute, Snapshot, Store, check};
use crate::work::{Rules, Work};

struct Shop {
    _folder: tempfile::TempDir,
    store: Store,
    work: Work,
}

impl Shop {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let store = start(&folder.path().join("data.redb"), Arc::clone(&clock), Current::new(Routes::default()));
        let config = config();
        let work = Work::start(&config.workers, &Current::new(Rules::from(&config)), &store, &clock, &entropy).unwrap();
        Self { _folder: folder, store, work }
    }

    fn accept(&self, tokens: impl IntoIterator<Item = String>) {
        let arrivals = tokens.into_iter().map(|token| Arrival::Form(Box::new(form(&token)))).collect();
        let accepted = self.store.ask(Accept { arrivals }).unwrap();
        assert!(accepted.iter().all(|accepted| matches!(accepted, Accepted::New { .. })));
    }

    /// The file once `is_so`, within ten seconds.
    #[track_caller]
    fn once(&self, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
        for _ in 0..2000 {
            let snapshot = self.store.read().unwrap();
            if is_so(&snapshot) {
                return snapshot;
            }
            let _ = never::<()>().recv_timeout(Duration::from_millis(5));
        }
        panic!("not within ten seconds: {:?}", self.store.read().unwrap().counts());
    }
}

#[test]
fn every_submission_is_carried_to_one_lead_and_the_agents_share_them() {
    let shop = Shop::open();
    for name in ["ann", "bob", "cleo"] {
        add_agent(&shop.store, name);
    }
    for round in 0..30 {
        shop.accept((0..10).map(|number| format!("{round}-{number}")));
    }
    let snapshot = shop.once(|snapshot| snapshot.counts().unwrap().jobs_scheduled == 0);
    let leads = rows::<Lead>(&snapshot);
    assert_eq!(leads.len(), 300);
    assert!(leads.iter().all(|(_, lead)| lead.state == LeadState::Open));
    let counts: Vec<u32> = snapshot.agents().unwrap().iter().map(|(_, agent)| agent.current).collect();
    assert_eq!(counts, [100, 100, 100]);
    assert_eq!(check(&shop.store).unwrap().findings, []);
    drop(snapshot);
    shop.work.stop(Duration::from_secs(5));
    shop.store.close().unwrap();
}

#[test]
fn what_is_not_run_when_it_all_ends_stays_due() {
    let shop = Shop::open();
    shop.accept((0..500).map(|number| number.to_string()));
    let Shop { store, work, _folder } = shop;
    let watch = work.watch();
    work.stop(Duration::from_secs(5));
    // The writer works in order: what the workers sent before is on disk with this.
    store.ask(Distribute).unwrap();
    let snapshot = store.read().unwrap();
    let counts = snapshot.counts().unwrap();
    assert_eq!((counts.jobs_done + counts.jobs_scheduled, counts.jobs_dead), (500, 0));
    assert_eq!(counts.leads_open, counts.jobs_done);
    assert!(watch().len() <= 16, "no more than `workers.queue`");
    assert_eq!(check(&store).unwrap().findings, []);
}
