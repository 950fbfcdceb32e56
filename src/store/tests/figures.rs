//! Figures of what waits: the same as a count of all rows, at a cost that does not grow with them. And lists without gaps.

use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::ids::AgentName;
use crate::domain::lead::Agent;
use crate::store::batch::{Batch, Transaction};
use crate::store::{PauseDestination, StoreError, codec, schedule};

use super::stray::ThenFail;
use super::support::{Bench, destination, team};

const MANY: u64 = 50_000;

/// Lets so many deliveries wait, for three destinations.
#[derive(Debug)]
struct Wait(u64);

impl Transaction for Wait {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        for _ in 0..self.0 {
            let id = batch.memory.counters.next_job();
            let name = ["crm", "sheet", "ops"][usize::try_from(id.get() % 3).unwrap()];
            schedule::insert(batch, Some(&destination(name)), batch.now, id)?;
        }
        Ok(())
    }
}

/// The quickest of twenty looks.
fn look(bench: &Bench) -> Duration {
    let clock = SystemClock::new();
    let one = |_| {
        let began = clock.elapsed();
        let read = bench.store.read().unwrap();
        let (lanes, teams) = (read.lanes().unwrap(), read.waiting_teams().unwrap());
        assert_eq!((lanes.len(), teams.len()), (3, 0));
        clock.elapsed().saturating_sub(began)
    };
    (0..20).map(one).min().unwrap()
}

#[test]
fn figures_cost_the_same_with_ten_and_with_many_deliveries_waiting() {
    let bench = Bench::new();
    bench.store.ask(Wait(9)).unwrap();
    let few = look(&bench);
    for _ in 0..10 {
        bench.store.ask(Wait(MANY / 10)).unwrap();
    }
    let many = look(&bench);
    let waiting: u64 = bench.store.read().unwrap().lanes().unwrap().values().map(|waiting| waiting.count).sum();
    assert_eq!(waiting, MANY + 9);
    // A walk would take some thousand times as long.
    assert!(many < few * 20, "{few:?} with 9 waiting, {many:?} with {MANY}");
}

#[test]
fn an_aborted_change_leaves_no_trace_in_the_figures() {
    let bench = Bench::new();
    bench.store.ask(Wait(3)).unwrap();
    let counts = |bench: &Bench| -> Vec<u64> {
        bench.store.read().unwrap().lanes().unwrap().values().map(|waiting| waiting.count).collect()
    };
    for _ in 0..3 {
        let (failing, beside) = (bench.store.clone(), bench.store.clone());
        let failing = std::thread::spawn(move || failing.ask(ThenFail(Wait(30))).is_err());
        beside.ask(Wait(3)).unwrap();
        assert!(failing.join().unwrap());
    }
    assert_eq!(counts(&bench), [4, 4, 4]);
    let bench = bench.reopen();
    assert_eq!(counts(&bench), [4, 4, 4]);
}

#[test]
fn teams_are_told_with_their_agents_and_with_the_leads_that_wait() {
    let bench = Bench::new();
    for token in ["a", "b"] {
        bench.finish(bench.accept_new(token));
    }
    let teams = |bench: &Bench| {
        let read = bench.store.read().unwrap();
        (read.waiting_teams().unwrap(), read.team_sizes().unwrap())
    };
    assert_eq!(teams(&bench), (vec![(team(), 2)], vec![]));
    bench.add_agent("ann", Some(1));
    bench.add_agent("bob", Some(0));
    assert_eq!(teams(&bench), (vec![(team(), 1)], vec![(team(), 2)]));
    let bench = bench.reopen();
    assert_eq!(teams(&bench), (vec![(team(), 1)], vec![(team(), 2)]));
    bench.check();
}

/// Spoils what stands against a destination.
#[derive(Debug)]
struct SpoilStandstill;

impl Transaction for SpoilStandstill {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        batch.tables.standstills.insert("crm", &b"damaged"[..])?;
        batch.dirty = true;
        Ok(())
    }
}

#[test]
fn a_destination_whose_standstill_can_not_be_read_hides_no_other_and_is_mended_by_a_resume() {
    let bench = Bench::new();
    for name in ["crm", "sheet"] {
        bench.store.ask(PauseDestination { destination: destination(name), paused: true }).unwrap();
    }
    bench.store.ask(SpoilStandstill).unwrap();
    let stand = bench.store.read().unwrap().standstills().unwrap();
    assert_eq!((stand[0].0.as_str(), stand[1].0.as_str()), ("crm", "sheet"));
    let why = stand[0].1.disabled.as_ref().map(|(_, why)| why.to_string()).unwrap();
    assert!(why.contains("standstills"), "{why}");
    bench.store.ask(PauseDestination { destination: destination("crm"), paused: false }).unwrap();
    assert_eq!(bench.store.read().unwrap().standstills().unwrap().len(), 1);
    bench.check();
}

/// Writes so many agents, with the longest of names.
#[derive(Debug)]
struct Crowd(u64);

impl Transaction for Crowd {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        for number in 1..=self.0 {
            let name = AgentName::new(&format!("{number:060}")).unwrap();
            let row = codec::encode(&Agent::new(name, team(), 1, batch.now))?;
            batch.tables.agents.insert(number, row.as_slice())?;
        }
        batch.dirty = true;
        Ok(())
    }
}

#[test]
fn no_agent_is_left_out_however_many_there_are() {
    const AGENTS: u64 = 60_000;
    let bench = Bench::new();
    bench.store.ask(Crowd(AGENTS)).unwrap();
    let agents = bench.store.read().unwrap().agents().unwrap();
    assert_eq!((agents[0].0.get(), u64::try_from(agents.len()).unwrap()), (1, AGENTS));
}
