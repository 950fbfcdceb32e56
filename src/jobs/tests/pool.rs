//! Tests the whole job system with its threads and the system clock.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::never;

use super::support::{add_agent, config, form, settings, start};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::lead::{Lead, LeadState};
use crate::domain::submission::inbound::Inbound;
use crate::jobs::JobSystem;
use crate::reloadable::Reloadable;
use crate::store::tests::support::rows;
use crate::store::{
    AcceptInbound, AcceptOutcome, AssignWaitingLeads, Snapshot, Store, check_integrity,
};

struct RunningServer {
    _folder: tempfile::TempDir,
    store: Store,
    system: JobSystem,
}

impl RunningServer {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let store = start(
            &folder.path().join("data.redb"),
            Arc::clone(&clock),
            Reloadable::new(Subscriptions::default()),
        );
        let config = config();
        let system = JobSystem::start(
            &config.workers,
            &Reloadable::new(settings(&config)),
            &store,
            &clock,
            &entropy,
        )
        .unwrap();
        Self {
            _folder: folder,
            store,
            system,
        }
    }

    fn accept(&self, tokens: impl IntoIterator<Item = String>) {
        let inbound = tokens
            .into_iter()
            .map(|token| Inbound::Submission(Box::new(form(&token))))
            .collect();
        let accepted = self.store.execute_blocking(AcceptInbound { inbound });
        let is_new = |accepted: &AcceptOutcome| matches!(accepted, AcceptOutcome::New { .. });
        assert!(accepted.unwrap().iter().all(is_new));
    }

    /// Waits until `is_so` returns `true` for a snapshot, at most ten seconds. Returns this
    /// snapshot.
    #[track_caller]
    fn wait_for(&self, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
        for _ in 0..2000 {
            let snapshot = self.store.read().unwrap();
            if is_so(&snapshot) {
                return snapshot;
            }
            let _ = never::<()>().recv_timeout(Duration::from_millis(5));
        }
        let counts = self.store.read().unwrap().counts();
        panic!("not within ten seconds: {counts:?}");
    }
}

#[test]
fn every_submission_becomes_one_lead_shared_among_agents() {
    let shop = RunningServer::open();
    for name in ["ann", "bob", "cleo"] {
        add_agent(&shop.store, name);
    }
    for round in 0..30 {
        shop.accept((0..10).map(|number| format!("{round}-{number}")));
    }
    let snapshot = shop.wait_for(|snapshot| snapshot.counts().unwrap().jobs_scheduled == 0);
    let leads = rows::<Lead>(&snapshot);
    assert_eq!(leads.len(), 300);
    assert!(leads.iter().all(|(_, lead)| lead.state == LeadState::Open));
    let counts: Vec<u32> = snapshot
        .agents()
        .unwrap()
        .iter()
        .map(|(_, agent)| agent.current_leads)
        .collect();
    assert_eq!(counts, [100, 100, 100]);
    assert_eq!(check_integrity(&shop.store).unwrap().violations, []);
    drop(snapshot);
    shop.system.stop(Duration::from_secs(5));
    shop.store.close().unwrap();
}

#[test]
fn jobs_not_run_at_shutdown_stay_due() {
    let shop = RunningServer::open();
    shop.accept((0..500).map(|number| number.to_string()));
    let RunningServer {
        store,
        system,
        _folder,
    } = shop;
    let watch = system.watch_in_flight();
    system.stop(Duration::from_secs(5));
    // The writer processes transactions in order. After this one, earlier outcomes of the workers
    // are on disk.
    store.execute_blocking(AssignWaitingLeads).unwrap();
    let snapshot = store.read().unwrap();
    let counts = snapshot.counts().unwrap();
    assert_eq!(counts.jobs_done + counts.jobs_scheduled, 500);
    assert_eq!(counts.jobs_dead, 0);
    assert_eq!(counts.leads_open, counts.jobs_done);
    assert!(watch().len() <= 16, "no more than `workers.queue`");
    assert_eq!(check_integrity(&store).unwrap().violations, []);
}
